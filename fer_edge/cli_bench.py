"""``fer-edge bench`` and what is below it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from fer_edge.cli_common import numbers, print_json
from fer_edge.errors import InputError
from fer_edge.shipped import DEFAULT_CHECKPOINT

SCENARIOS = ("batch", "single", "stream", "multistream")


class _Bench(click.Group):
    """Takes ``bench BUNDLE`` for ``bench run BUNDLE``, as it was before there was anything below.

    A bundle called ``compare`` or ``run`` is reached as ``./compare``.
    """

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        return super().parse_args(ctx, args if args[:1] in self._names() else ["run", *args])

    def _names(self) -> list[list[str]]:
        return [[name] for name in self.commands]


@click.group(cls=_Bench)
def bench() -> None:
    """Latency, streams and throughput of every variant that runs here; compare two reports."""


@bench.command()
@click.argument("bundle", type=click.Path(path_type=Path), required=False)
@click.option("--scenario", type=click.Choice(SCENARIOS), default="batch", show_default=True)
@click.option("--batch-sizes", metavar="N,N,…", help="Faces per call [1,8,16,32,64; 1; 8 cameras].")
@click.option("--target", default="all", show_default=True, help="Only this target.")
@click.option("--precision", default="all", show_default=True, help="Only this precision.")
@click.option("--hz", default=30.0, show_default=True, help="Frames per second of a stream.")
@click.option("--deadline-ms", type=float, help="From a frame's arrival to its answer [1/hz].")
@click.option("--checkpoint", type=click.Path(path_type=Path),
              help="Run in torch eager beside it [shipped].")  # fmt: skip
@click.option("--budget-s", default=20.0, show_default=True, help="Seconds per batch size.")
@click.option("-o", "--out", type=click.Path(path_type=Path), help="Write the JSON report here.")
@click.option("--json", "as_json", is_flag=True, help="JSON on standard output.")
def run(
    bundle: Path | None,
    scenario: str,
    batch_sizes: str | None,
    target: str,
    precision: str,
    hz: float,
    deadline_ms: float | None,
    checkpoint: Path | None,
    budget_s: float,
    out: Path | None,
    as_json: bool,
) -> None:
    """Measure the variants that run here; 'run' may be left out.

    \b
    Example: fer-edge bench driver.fer --batch-sizes 1,8,32
             fer-edge bench driver.fer --scenario single --target openvino
             fer-edge bench driver.fer --scenario stream --hz 30 --budget-s 240
    """
    from fer_edge.benchmarks.bench import bench as work
    from fer_edge.benchmarks.report import print_table
    from fer_edge.progress import progress

    sizes = None if batch_sizes is None else numbers(batch_sizes)
    if bundle is None and checkpoint is None and _has_torch():
        checkpoint = DEFAULT_CHECKPOINT
    with progress() as (_, step):
        report = work(
            bundle,
            sizes,
            scenario=scenario,
            target=None if target == "all" else target,
            precision=None if precision == "all" else precision,
            checkpoint=checkpoint,
            budget_s=budget_s,
            hz=hz,
            deadline_ms=deadline_ms,
            step=step,
        )
    if out is not None:
        _write(out, json.dumps(report, indent=1) + "\n")
    if as_json:
        print_json(report)
    else:
        print_table(report)


def _write(path: Path, text: str) -> Any:
    try:
        path.write_text(text, "utf-8")
    except OSError as error:
        raise InputError(f"cannot write {path}: {error.strerror}") from error


def _has_torch() -> bool:
    import importlib.util

    return importlib.util.find_spec("torch") is not None
