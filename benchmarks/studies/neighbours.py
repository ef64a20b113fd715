"""Rate of processes with one engine thread each: one alone, and one for each core.

    python -m fer_edge.benchmarks.studies.neighbours [--bundle FOLDER] [--processes N]

This is how ``fer-edge score`` and containers with one core run. Each process answers one 200x200
BGR crop after the other. In each turn, first one process answers for a second, then all at once.
Without obstacles, N processes on N cores give N times the faces.
"""

from __future__ import annotations

import statistics
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import click

from fer_edge import DEFAULT_BUNDLE, Predictor, TargetError, open_bundle
from fer_edge.benchmarks.job import CROP_PX
from fer_edge.benchmarks.machine.environment import environment, machine, noise_note
from fer_edge.benchmarks.studies.options import bundle_option, json_option, print_report
from fer_edge.child import answer_on, python_command
from fer_edge.cores import usable_cores
from fer_edge.errors import EngineError
from fer_edge.module_command import ModuleCommand

_TURN_S = 1.0
_ENDED = (
    "a process ended before it answered. Its own message is above. Run again with fewer --processes"
)
_CHILD = """
import sys, time
from fer_edge import Predictor
from fer_edge.benchmarks.job import noise
from fer_edge.child import answer, end_with_parent
end_with_parent()
bundle, target, precision, side, turn_s = sys.argv[1:]
crop = noise(1, int(side))[0]
predictor = Predictor(bundle, target, precision, threads=1)
for _ in range(50):
    predictor(crop)
answer("ready")
for _ in sys.stdin:
    count, end = 0, time.perf_counter() + float(turn_s)
    while time.perf_counter() < end:
        predictor(crop)
        count += 1
    answer(str(count))
"""


@click.command("neighbours", cls=ModuleCommand)
@click.option("--processes", type=click.IntRange(2), help="Run so many (default: one a core).")
@click.option("--turns", type=click.IntRange(1), default=10, show_default=True)
@bundle_option
@json_option
def main(processes: int | None, turns: int, bundle: Path | None, as_json: bool) -> None:
    """Measure what processes with one engine thread cost each other."""
    env = environment()
    count = processes or max(2, usable_cores())
    report: dict[str, Any] = {
        "machine": machine(env),
        "time": env["time"],
        "noise": noise_note(env),
        "processes": count,
        "rows": list(rows(bundle or DEFAULT_BUNDLE, count, turns)),
    }
    lines = [f"{report['machine']}, {report['time']}\n{report['noise'] or ''}"]
    lines += [
        f"  {row['variant']:22s} alone {row['alone_hz']:,.0f} faces/s, {count} processes "
        f"{row['together_hz']:,.0f}: {row['ratio']:.2f} times"
        for row in report["rows"]
    ]
    print_report(report, as_json, "\n".join(lines))


def rows(path: Path, processes: int, turns: int, turn_s: float = _TURN_S) -> Iterator[Any]:
    """Yield the rates of each variant that runs here.

    Args:
        path: Bundle.
        processes: Number of processes that answer at once.
        turns: Turns; figures are medians.
        turn_s: Seconds of each measurement.

    Raises:
        BundleError: The bundle is damaged.
        EngineError: A process ended early.
    """
    for variant in open_bundle(path).variants:
        try:
            Predictor(path, variant.target, variant.precision).close()
        except TargetError:
            continue
        arguments = str(path), variant.target, variant.precision, str(CROP_PX), str(turn_s)
        with ExitStack() as stack:
            children = [
                stack.enter_context(
                    subprocess.Popen(
                        python_command("-c", _CHILD, *arguments),
                        stdin=subprocess.PIPE,
                        stdout=subprocess.PIPE,
                        text=True,
                    )
                )
                for _ in range(processes)
            ]
            for child in children:
                stack.callback(child.kill)
                _answer(child)
            alone, together = [], []
            for _ in range(turns):
                alone += _counts(children[:1])
                together.append(sum(_counts(children)))
        alone_hz = statistics.median(alone) / turn_s
        together_hz = statistics.median(together) / turn_s
        yield {
            "variant": variant.name,
            "alone_hz": alone_hz,
            "together_hz": together_hz,
            "ratio": together_hz / alone_hz,
        }


def _counts(children: list[subprocess.Popen[str]]) -> list[int]:
    """Let processes answer at the same time, and return how many faces each answered.

    Raises:
        EngineError: A process ended early.
    """
    for child in children:
        assert child.stdin
        try:
            print("go", file=child.stdin, flush=True)
        except OSError as error:
            with suppress(OSError):  # what was not sent
                child.stdin.close()
            raise EngineError(_ENDED) from error
    return [int(_answer(child)) for child in children]


def _answer(child: subprocess.Popen[str]) -> str:
    """Return the next answer of a process. Raises EngineError."""
    assert child.stdout
    for line in child.stdout:
        if (text := answer_on(line)) is not None:
            return text
    raise EngineError(_ENDED)


if __name__ == "__main__":
    main()
