"""Latency within a CPU quota: the threads that it can run, against a thread for each core.

    docker run --cpus=1 IMAGE python -m fer_edge.benchmarks.studies.cpu_quota [--bundle FOLDER]

Engines start a thread for each core by themselves: they do not see the quota. Both Predictors of
a variant answer one face after the other, a 200x200 BGR crop, for a second in turns, with a rest
in between: a period of a quota usually takes 0.1 s.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import click
import numpy as np

from fer_edge import DEFAULT_BUNDLE, Predictor, TargetError, open_bundle
from fer_edge.benchmarks.job import CROP_PX, noise
from fer_edge.benchmarks.machine.environment import environment, machine
from fer_edge.benchmarks.measure.percentile_ratio import percentile_ratio
from fer_edge.benchmarks.studies.options import bundle_option, json_option, print_report
from fer_edge.cores import cores_of_the_machine, times_throttled, usable_cores
from fer_edge.module_command import ModuleCommand
from fer_edge.preprocess import Image

_TURN_S, _REST_S = 1.0, 0.3
_WARM_UP = 20


@click.command("cpu_quota", cls=ModuleCommand)
@click.option("--turns", type=click.IntRange(1), default=20, show_default=True)
@bundle_option
@json_option
def main(turns: int, bundle: Path | None, as_json: bool) -> None:
    """Measure what the threads of engines cost within a CPU quota."""
    env = environment()
    report: dict[str, Any] = {
        "machine": machine(env),
        "time": env["time"],
        "rows": list(rows(bundle or DEFAULT_BUNDLE, turns)),
    }
    lines = [f"{report['machine']}, {report['time']}"]
    for row in report["rows"]:
        ends = f"{row['p99_ratio']:.3f}x ({row['low']:.3f} to {row['high']:.3f})"
        lines.append(f"{row['variant']}: p99 {ends}")
        lines += [
            f"  {threads} thread(s): p50 {row[name]['p50_ms']:.3f}, p99 {row[name]['p99_ms']:.3f}, "
            f"most {row[name]['most_ms']:.1f} ms; {row[name]['hz']:.0f} faces/s, "
            f"stopped {row[name]['stops']} times"
            for name, threads in (("few", usable_cores()), ("all", cores_of_the_machine()))
        ]
    print_report(report, as_json, "\n".join(lines))


def rows(path: Path, turns: int) -> Iterator[dict[str, Any]]:
    """Yield the figures of each variant that runs here: ``few`` threads, and ``all``.

    Args:
        path: Bundle.
        turns: Seconds that each Predictor answers.

    Raises:
        BundleError: The bundle is damaged.
        TargetError: No quota limits this process, or no variant runs here.
    """
    cores = cores_of_the_machine()
    if usable_cores() >= cores:
        raise TargetError(
            f"expected a CPU quota below the {cores} cores of this machine, found none. Run "
            "this in a container with one: docker run --cpus=1"
        )
    crop, refusals = noise(1, CROP_PX)[0], []
    variants = open_bundle(path).variants
    for variant in variants:
        with ExitStack() as stack:
            try:
                both = {
                    name: stack.enter_context(
                        Predictor(path, variant.target, variant.precision, threads=threads)
                    )
                    for name, threads in (("few", None), ("all", cores))
                }
            except TargetError as error:
                refusals.append(f"{variant.name}: {error}")
                continue
            yield {"variant": variant.name, **_measured(both, crop, turns)}
    if len(refusals) == len(variants):
        raise TargetError(
            f"expected a variant of {path} that runs here, but {'; '.join(refusals)}. To see what "
            "runs here: fer-edge doctor"
        )


def _measured(both: dict[str, Predictor], crop: Image, turns: int) -> dict[str, Any]:
    times: dict[str, list[int]] = {name: [] for name in both}
    stops = dict.fromkeys(both, 0)
    for predictor in both.values():
        for _ in range(_WARM_UP):
            predictor(crop)
    for _ in range(turns):
        for name, predictor in both.items():
            time.sleep(_REST_S)
            before, end_ns = times_throttled(), time.perf_counter_ns() + int(_TURN_S * 1e9)
            while (start_ns := time.perf_counter_ns()) < end_ns:
                predictor(crop)
                times[name].append(time.perf_counter_ns() - start_ns)
            stops[name] += times_throttled() - before
    taken = {name: np.array(ns) for name, ns in times.items()}
    ratio, low, high = percentile_ratio(taken["all"], taken["few"], 99)
    return {"p99_ratio": ratio, "low": low, "high": high} | {
        name: {
            "p50_ms": float(np.percentile(ns, 50)) / 1e6,
            "p99_ms": float(np.percentile(ns, 99)) / 1e6,
            "most_ms": float(ns.max()) / 1e6,
            "hz": len(ns) / (float(ns.sum()) / 1e9),
            "stops": stops[name],
        }
        for name, ns in taken.items()
    }


if __name__ == "__main__":
    main()
