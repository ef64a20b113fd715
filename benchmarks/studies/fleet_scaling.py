"""Cost of ``fer-edge score``: a plain loop over DriverMonitor against 1, 2, … workers.

python -m fer_edge.benchmarks.studies.fleet_scaling drives/ --detector yunet.onnx --workers 1,2,4
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import click
import cv2

from fer_edge import Predictor
from fer_edge.benchmarks.machine.environment import (
    cpu_counters,
    environment,
    machine,
    noise,
    noise_note,
)
from fer_edge.benchmarks.studies.options import (
    PATH,
    bundle_option,
    chosen_detector,
    json_option,
    print_report,
)
from fer_edge.fleet import Clip, DriveScorer, find_clips, score_drives
from fer_edge.module_command import ModuleCommand
from fer_edge.monitor import Detector, DriverMonitor, YuNet
from fer_edge.page import markdown_table
from fer_edge.progress import Step, silent

METHOD = (
    "plain: one process, a Predictor with one thread and a detector that are loaded once, a "
    "DriverMonitor for each clip, nothing written. in process: DriveScorer.score of each clip, "
    "which writes the tables. N workers: score_drives, with the start of the processes, the "
    "summaries and the page. Each round measures all rows in turn; figures are medians of the "
    "rounds. CPU time includes all threads and processes, and shows the cost on a busy machine. "
    "A plain loop decodes in a thread of its own. More workers than cores share them."
)


def measure(
    clips: Sequence[Clip],
    workers: Sequence[int],
    *,
    bundle: Path | None = None,
    detector: Detector | Path | None = None,
    rounds: int = 3,
    step: Step = silent,
) -> dict[str, Any]:
    """Return seconds of each way, and the overheads and speed-ups that follow.

    Args:
        clips: Clips that can be read.
        workers: Numbers of processes.
        bundle: Folder of the bundle; None is the shipped one.
        detector: Detector, or YuNet's file; None takes the fetched one.
        rounds: Rounds of measuring.
        step: Progress callback.
    """
    scorer = DriveScorer(bundle, detector=detector)
    ways: dict[str, Callable[[Path], object]] = {
        "plain": lambda out: _plain(clips, bundle, detector),
        "in process": lambda out: _in_process(clips, DriveScorer(bundle, detector=detector), out),
    }
    for number in workers:
        name = f"{number} worker{'s' if number > 1 else ''}"
        ways[name] = lambda out, number=number: score_drives(clips, out, scorer, workers=number)  # type: ignore[misc]
    env, before = environment(), cpu_counters()
    seconds: dict[str, list[tuple[float, float]]] = {name: [] for name in ways}
    for number in range(rounds):
        for place, (name, run) in enumerate(ways.items()):
            with tempfile.TemporaryDirectory() as folder:
                began_s, cpu_s = time.monotonic(), cpu_counters()["own"]
                run(Path(folder) / "out")
                spent_s = cpu_counters()["own"] - cpu_s
                seconds[name].append((time.monotonic() - began_s, spent_s))
            step("fleet", number * len(ways) + place + 1, rounds * len(ways))
    disturbance = noise(before, cpu_counters(), [])
    return {
        "clips": len(clips),
        "rounds": rounds,
        "rows": rows({name: _medians(values) for name, values in seconds.items()}),
        "environment": env,
        "note": noise_note(env, disturbance),
        "method": METHOD,
    }


def rows(seconds: dict[str, tuple[float, float]]) -> list[dict[str, Any]]:
    """Return the overhead and speed-up of each way.

    The overhead is over the plain loop, the speed-up over one worker.

    Args:
        seconds: Seconds that passed, and CPU seconds, of each way.
    """
    plain, one = seconds["plain"], seconds.get("1 worker")
    return [
        {
            "way": name,
            "wall_s": wall_s,
            "cpu_s": cpu_s,
            "overhead": wall_s / plain[0] - 1 if name in ("in process", "1 worker") else None,
            "cpu_overhead": cpu_s / plain[1] - 1 if name != "plain" and plain[1] else None,
            "speed_up": one[0] / wall_s if one and name.endswith(("worker", "workers")) else None,
        }
        for name, (wall_s, cpu_s) in seconds.items()
    ]


def _medians(values: Sequence[tuple[float, float]]) -> tuple[float, float]:
    walls, cpus = zip(*values, strict=True)
    return statistics.median(walls), statistics.median(cpus)


def table(report: dict[str, Any]) -> str:
    """Return the rows as a Markdown table."""
    cells = [
        [
            row["way"],
            f"{row['wall_s']:.2f}",
            "" if row["overhead"] is None else f"{row['overhead']:+.1%}",
            "" if row["speed_up"] is None else f"{row['speed_up']:.2f}",
            f"{row['cpu_s']:.2f}",
            "" if row["cpu_overhead"] is None else f"{row['cpu_overhead']:+.1%}",
        ]
        for row in report["rows"]
    ]
    header = ["", "s", "over the plain loop", "times one worker", "CPU s", "over the plain loop"]
    return markdown_table(header, cells)


def _in_process(clips: Sequence[Clip], scorer: DriveScorer, out: Path) -> None:
    for clip in clips:
        scorer.score(clip, out)
    scorer.close()


def _plain(clips: Sequence[Clip], bundle: Path | None, detector: Detector | Path | None) -> None:
    cv2.setNumThreads(1)
    faces = YuNet(detector) if isinstance(detector, Path) else detector
    with Predictor(bundle, threads=1) as predictor:
        for clip in clips:
            with DriverMonitor(predictor, clip.path, detector=faces) as monitor:
                for _ in monitor:
                    pass


@click.command("fleet_scaling", cls=ModuleCommand)
@click.argument("paths", nargs=-1, required=True)
@bundle_option
@click.option("--detector", type=PATH, metavar="FILE", help="Detect faces with this YuNet.")
@click.option("--whole-frame", is_flag=True, help="Take each frame as one face.")
@click.option(
    "--workers", default="1,2", show_default=True, metavar="N,N,…", help="Numbers of workers."
)
@click.option("--rounds", default=3, show_default=True, type=click.IntRange(1), help="Rounds.")
@json_option
def main(
    paths: tuple[str, ...],
    bundle: Path | None,
    detector: Path | None,
    whole_frame: bool,
    workers: str,
    rounds: int,
    as_json: bool,
) -> None:
    """Measure ``fer-edge score`` over PATHS against a plain loop over DriverMonitor.

    \b
    Example: python -m fer_edge.benchmarks.studies.fleet_scaling drives/ \\
                 --detector yunet.onnx --workers 1,2,4,8
    """
    from fer_edge.progress_bar import progress

    try:
        numbers = [int(part) for part in workers.split(",")]
    except ValueError:
        raise click.BadParameter(f"expected numbers like 1,2,4, got {workers!r}") from None
    clips = find_clips(paths)
    with progress() as (_, step):
        faces = chosen_detector(detector, whole_frame)
        report = measure(clips, numbers, bundle=bundle, detector=faces, rounds=rounds, step=step)
    env = report["environment"]
    about = f"{report['clips']} clips, {report['rounds']} rounds; {machine(env)}, {env['time']}"
    lines = filter(None, (about, report["note"], table(report), report["method"]))
    print_report(report, as_json, "\n".join(lines))


if __name__ == "__main__":
    main()
