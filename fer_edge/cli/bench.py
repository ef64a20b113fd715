"""``fer-edge bench`` and its subcommands ``run`` and ``compare``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from fer_edge.benchmarks.bounds import MAX_BUDGET_S, MAX_DEADLINE_MS, MAX_HZ, MIN_HZ
from fer_edge.benchmarks.scenarios.base import names as scenario_names
from fer_edge.cli.options import (
    PATH,
    batch_sizes_option,
    check_needs,
    check_outs,
    data_option,
    json_option,
    out_option,
    print_json,
    quiet_option,
    split_option,
    variant_options,
    write_outs,
)
from fer_edge.errors import DataError, LimitError
from fer_edge.option_types import FiniteRange
from fer_edge.shipped import bundle_path, checkpoint_path

SCENARIOS = scenario_names()


class _Bench(click.Group):
    """Group that reads ``bench BUNDLE`` as ``bench run BUNDLE``.

    A bundle called ``compare`` or ``run`` is reached as ``./compare``.
    """

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        named = args[:1] in [[name] for name in self.commands]
        return super().parse_args(ctx, args if named else ["run", *args])


@click.group(cls=_Bench)
def bench() -> None:
    """Measure latency and throughput, or compare two reports.

    \b
    Example: fer-edge bench driver.fer --batch-sizes 1,8,32
             fer-edge bench compare old.json new.json --fail-if "p99>+5%"

    'run' may be left out.
    """


@bench.command()
@click.argument("bundle", type=bundle_path, required=False)
@click.option(
    "--scenario",
    type=click.Choice(SCENARIOS),
    metavar="NAME",
    default="batch",
    show_default=True,
    help=f"Measure this scenario: {', '.join(SCENARIOS)}.",
)
@batch_sizes_option(
    "Measure these faces per call, or cameras in multistream (default: the scenario's own)."
)
@variant_options
@click.option(
    "--hz",
    type=FiniteRange(MIN_HZ, MAX_HZ),
    help="Send this many frames per second to a stream (default: 30).",
)
@click.option(
    "--deadline-ms",
    type=FiniteRange(0, MAX_DEADLINE_MS, min_open=True),
    metavar="MS",
    help="Count answers later than MS after the frame's arrival as missed (default: one period).",
)
@click.option(
    "--checkpoint",
    type=checkpoint_path,
    metavar="FOLDER",
    help="Also time this checkpoint in eager PyTorch (default: the shipped one, if all variants "
    "run in 'batch').",
)
@click.option(
    "--against",
    metavar="WHAT",
    help="Also time, in turns: torch.compile; benchmark_app or trtexec on the same file; or your "
    "MODULE:FUNCTION of uint8 [N, S, S, 3].",
)
@data_option("Also measure accuracy on these labelled faces.")
@split_option
@click.option("--loadgen", is_flag=True, help="Also run MLPerf LoadGen (single, offline).")
@click.option(
    "--loadgen-logs",
    default="loadgen-logs",
    show_default=True,
    type=PATH,
    metavar="FOLDER",
    help="Write LoadGen's logs to this folder.",
)
@click.option(
    "--budget-s",
    type=FiniteRange(0, MAX_BUDGET_S, min_open=True),
    default=20.0,
    show_default=True,
    metavar="S",
    help="Measure each batch size for S seconds, all variants together; longer if 24 calls of each "
    "take longer.",
)
@click.option(
    "--budget",
    metavar="LIMITS",
    help="Exit with 8 if a limit is broken, e.g. 'p99<10ms,rss<200MB'.",
)
@out_option("Write the report to this file, .json, .md or .html. Repeatable.", multiple=True)
@quiet_option
@json_option
def run(
    bundle: Path | None,
    scenario: str,
    batch_sizes: list[int] | None,
    target: str | None,
    precision: str | None,
    hz: float | None,
    deadline_ms: float | None,
    checkpoint: Path | None,
    against: str | None,
    data: Path | None,
    split: str | None,
    loadgen: bool,
    loadgen_logs: Path,
    budget_s: float,
    budget: str | None,
    outs: tuple[Path, ...],
    as_json: bool,
) -> None:
    """Measure every variant of BUNDLE that runs here.

    \b
    Example: fer-edge bench driver.fer --batch-sizes 1,8,32
             fer-edge bench driver.fer --scenario single --target openvino
             fer-edge bench driver.fer --scenario stream --hz 30 --budget-s 240
             fer-edge bench driver.fer --data fer2013/ -o report.html
             fer-edge bench driver.fer --budget "p99<10ms,rss<200MB"

    'run' may be left out. Without BUNDLE, the command measures default, a shipped model.

    To compare two reports: fer-edge bench compare --help
    """
    from fer_edge.benchmarks.bench import bench as measure
    from fer_edge.benchmarks.reports.budget import judge, least_samples, parse_budget
    from fer_edge.benchmarks.reports.terminal import print_table
    from fer_edge.progress_bar import progress

    check_needs("split", "data")
    check_needs("loadgen_logs", "loadgen")
    check_outs(outs, (".json", ".md", ".html"))
    limits = None if budget is None else parse_budget(budget, scenario, with_data=data is not None)
    with progress() as (_, step):
        report = measure(
            bundle,
            batch_sizes,
            scenario=scenario,
            target=_restriction(target),
            precision=_restriction(precision),
            checkpoint=checkpoint,
            against=against,
            data=data,
            split=split,
            loadgen_logs=loadgen_logs if loadgen else None,
            budget_s=budget_s,
            hz=hz,
            deadline_ms=deadline_ms,
            samples=least_samples(limits or []),
            step=step,
        )
    if limits is not None:
        report["budget"] = judge(report, limits)
    # Plots take seconds: a kill meanwhile must not leave the figures of two runs side by side.
    write_outs({out: _rendered(report, out.suffix) for out in outs})
    if as_json:
        print_json(report)
    else:
        print_table(report)
    if broken := [item["sentence"] for item in report.get("budget", []) if not item["held"]]:
        raise LimitError("; ".join(broken))


def _restriction(name: str | None) -> str | None:
    """Return None for ``all``, which earlier scripts pass."""
    return None if name == "all" else name


def _rendered(report: dict[str, Any], suffix: str) -> str:
    if suffix not in (".md", ".html"):
        return json.dumps(report, indent=1, allow_nan=False) + "\n"
    from fer_edge.benchmarks.reports.html import html, markdown

    return html(report) if suffix == ".html" else markdown(report)


@bench.command()
@click.argument("old", type=PATH)
@click.argument("new", type=PATH)
@click.option(
    "--fail-if",
    metavar="CONDITIONS",
    help="Exit with 8 if a condition holds, e.g. 'p99>+5%' or, of a stream, 'misses>+0.5pp' "
    "(percentage points) and 'drops>+0.5pp'.",
)
@click.option(
    "--different-machines", is_flag=True, help="Compare reports of different machines as well."
)
@quiet_option
@json_option
def compare(
    old: Path, new: Path, fail_if: str | None, different_machines: bool, as_json: bool
) -> None:
    """Report if NEW is faster or slower than OLD, with confidence.

    \b
    Example: fer-edge bench compare old.json new.json --fail-if "p99>+5%"

    OLD and NEW are reports of 'fer-edge bench -o'. Exit codes: 8 slower, or more frames missed
    or dropped, than a limit allows, with confidence; 3 a limit that cannot be judged (too few
    samples or frames, or a missing row).
    """
    from fer_edge.benchmarks.reports.compare_reports import compare as compare_reports
    from fer_edge.benchmarks.reports.limits import parse_limits
    from fer_edge.benchmarks.reports.stored import load_report

    limits = None if fail_if is None else parse_limits(fail_if)
    report = compare_reports(
        load_report(old), load_report(new), limits, different_machines=different_machines
    )
    if as_json:
        print_json(report)
    else:
        for line in (*report["sentences"], *report["notes"], report["method"]):
            click.echo(line)
        for side in ("old", "new"):
            for row in report[f"only_{side}"]:
                click.echo(f"only in {side.upper()}: {row}")
    if report["alarms"]:
        raise LimitError("; ".join(report["alarms"]))
    if limits and (missing := [*report["unjudged"], *report["only_old"]]):
        raise DataError("cannot be judged: " + "; ".join(missing))
