"""``fer-edge bench`` and what is below it."""

from __future__ import annotations

import json
from pathlib import Path

import click

from fer_edge.cli.options import numbers, print_json, write_out
from fer_edge.errors import DataError, LimitError
from fer_edge.shipped import DEFAULT_CHECKPOINT

SCENARIOS = (
    *("batch", "single", "stream", "multistream", "offline"),
    *("sustained", "contended", "memory", "coldstart"),
)


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
@click.option(
    "--batch-sizes", metavar="N,N,…", help="Faces per call, or cameras; else the scenario's own."
)
@click.option("--target", default="all", show_default=True, help="Only this target.")
@click.option("--precision", default="all", show_default=True, help="Only this precision.")
@click.option("--hz", default=30.0, show_default=True, help="Frames per second of a stream.")
@click.option("--deadline-ms", type=float, help="From a frame's arrival to its answer [1/hz].")
@click.option("--checkpoint", type=click.Path(path_type=Path),
              help="Run in torch eager beside it [shipped, in a whole batch run].")  # fmt: skip
@click.option("--against", metavar="WHAT",
              help="In turns: torch.compile; benchmark_app or trtexec on the same file; or your "
                   "MODULE:FUNCTION of a uint8 [N,S,S,3].")  # fmt: skip
@click.option("--data", type=click.Path(path_type=Path), help="Labelled faces: accuracy as well.")
@click.option("--split", default="val", show_default=True, help="train, val, test, or none.")
@click.option("--loadgen", is_flag=True, help="MLPerf's LoadGen as well (single, offline).")
@click.option("--loadgen-logs", default="loadgen-logs", show_default=True,
              type=click.Path(path_type=Path), help="Where its logs stay.")  # fmt: skip
@click.option("--budget-s", default=20.0, show_default=True, help="Seconds per batch size.")
@click.option(
    "--budget", metavar="LIMITS", help="E.g. 'p99<10ms,rss<200MB'; exit code 8 if broken."
)
@click.option("-o", "--out", "outs", multiple=True, type=click.Path(path_type=Path),
              help="Write the report here: .json, .md or .html; may be repeated.")  # fmt: skip
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
    against: str | None,
    data: Path | None,
    split: str,
    loadgen: bool,
    loadgen_logs: Path,
    budget_s: float,
    budget: str | None,
    outs: tuple[Path, ...],
    as_json: bool,
) -> None:
    """Measure the variants that run here; 'run' may be left out.

    \b
    Example: fer-edge bench driver.fer --batch-sizes 1,8,32
             fer-edge bench driver.fer --scenario single --target openvino
             fer-edge bench driver.fer --scenario stream --hz 30 --budget-s 240
             fer-edge bench driver.fer --data fer2013/ -o report.json -o report.html
             fer-edge bench driver.fer --target openvino --budget "p99<10ms,rss<200MB"
    Two reports against each other: fer-edge bench compare --help
    """
    from fer_edge.benchmarks.bench import bench as work
    from fer_edge.benchmarks.reports.budget import judge, parse_budget
    from fer_edge.benchmarks.reports.terminal import print_table
    from fer_edge.progress import progress

    limits = None if budget is None else parse_budget(budget, scenario, with_data=data is not None)
    sizes = None if batch_sizes is None else numbers(batch_sizes)
    # One variant, or a long single stream, shall not share its budget with torch unasked.
    whole = scenario == "batch" and (target, precision) == ("all", "all")
    whole |= against == "torch.compile"
    if bundle is None and checkpoint is None and whole and _has_torch():
        checkpoint = DEFAULT_CHECKPOINT
    with progress() as (_, step):
        report = work(
            bundle,
            sizes,
            scenario=scenario,
            target=None if target == "all" else target,
            precision=None if precision == "all" else precision,
            checkpoint=checkpoint,
            against=against,
            data=data,
            split=None if split == "none" else split,
            loadgen_logs=loadgen_logs if loadgen else None,
            budget_s=budget_s,
            hz=hz,
            deadline_ms=deadline_ms,
            step=step,
        )
    if limits is not None:
        report["budget"] = judge(report, limits)
    for out in outs:
        if out.suffix in (".md", ".html"):
            from fer_edge.benchmarks.reports.html import html, markdown

            write_out(out, html(report) if out.suffix == ".html" else markdown(report))
        else:
            write_out(out, json.dumps(report, indent=1) + "\n")
    if as_json:
        print_json(report)
    else:
        print_table(report)
    if broken := [item["sentence"] for item in report.get("budget", []) if not item["held"]]:
        raise LimitError("; ".join(broken))


@bench.command()
@click.argument("old", type=click.Path(path_type=Path))
@click.argument("new", type=click.Path(path_type=Path))
@click.option("--fail-if", metavar="CONDITIONS", help="E.g. 'p99>+5%'; exit code 8 if one holds.")
@click.option("--different-machines", is_flag=True, help="Compare reports of unlike machines.")
@click.option("--json", "as_json", is_flag=True, help="JSON on standard output.")
def compare(
    old: Path, new: Path, fail_if: str | None, different_machines: bool, as_json: bool
) -> None:
    """Say whether NEW is faster or slower than OLD, or not shown to differ.

    \b
    Example: fer-edge bench compare old.json new.json --fail-if "p99>+5%"
    Both are reports of 'fer-edge bench -o'. Exit codes: 8 slower, beyond a limit and with
    confidence; 3 a limit that cannot be judged (too few samples, a row that is gone).
    """
    from fer_edge.benchmarks.reports.compare_reports import compare as work
    from fer_edge.benchmarks.reports.compare_reports import load_report, parse_limits

    limits = None if fail_if is None else parse_limits(fail_if)
    found = work(load_report(old), load_report(new), limits, different_machines=different_machines)
    if as_json:
        print_json(found)
    else:
        for line in (*found["sentences"], *found["notes"], found["method"]):
            click.echo(line)
        for where in ("old", "new"):
            for row in found[f"only_{where}"]:
                click.echo(f"only in {where.upper()}: {row}")
    if found["alarms"]:
        raise LimitError("; ".join(found["alarms"]))
    if limits and (lost := [*found["unjudged"], *found["only_old"]]):
        raise DataError("cannot be judged: " + "; ".join(lost))


def _has_torch() -> bool:
    import importlib.util

    return importlib.util.find_spec("torch") is not None
