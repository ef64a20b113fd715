"""Endurance of a monitor: memory and open descriptors over hours.

    python -m fer_edge.benchmarks.studies.endurance --frames 108000 driver.mp4

A clip runs in a loop at full speed and is opened again each time, so hours of a camera pass in
minutes. 108,000 frames are an hour at 30 per second.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import click

from fer_edge import InputError, LimitError
from fer_edge.benchmarks.machine.environment import environment, machine
from fer_edge.benchmarks.scenarios.memory import memory_figures
from fer_edge.benchmarks.studies.clips import Watched
from fer_edge.benchmarks.studies.options import (
    chosen_detector,
    json_option,
    monitor_options,
    print_report,
)
from fer_edge.module_command import ModuleCommand
from fer_edge.monitor import Frames
from fer_edge.option_types import FiniteRange

_READINGS = 100
_MIN_FRAMES = 2_000
"""Least frames: the growth is a slope over the second half, which needs a thousand."""
_TOO_FEW = (
    f"expected at least {_MIN_FRAMES:,} frames, got {{:,}}: growth is a slope over the second "
    "half, which needs a thousand"
)
_CLIP_HZ = 30.0

METHOD = (
    "Growth: the Theil-Sen slope of the resident memory over the second half of the frames, times "
    "those frames; pools that fill in the first half do not count. Descriptors: those at the end "
    "against those after the first tenth, when everything was opened once."
)


def endure(watched: Watched, frames: int) -> dict[str, Any]:
    """Watch a clip and read memory and descriptors; see METHOD.

    Args:
        watched: Clip and monitor.
        frames: Number of frames, at least 2,000.

    Returns:
        ``readings`` of ``[frames, rss_bytes, descriptors]``, and their figures.

    Raises:
        InputError: Too few frames are requested, or the clip cannot be read.
    """
    import psutil

    if frames < _MIN_FRAMES:
        raise InputError(_TOO_FEW.format(frames))
    list(watched.frames(1))  # refuse an unreadable clip before anything is loaded
    process = psutil.Process()
    readings: list[list[int]] = []
    persons = events = 0
    lost: set[str] = set()
    with watched.monitor(Frames(watched.frames(frames), hz=_CLIP_HZ)) as monitor:
        for done, state in enumerate(monitor, 1):
            persons = max([persons, *(person.person for person in state.persons)])
            events += len(state.events)
            if state.health.status == "lost":
                lost.update(state.health.reasons)
            if done == 1 or done * _READINGS // frames > (done - 1) * _READINGS // frames:
                readings.append([done, process.memory_info().rss, _descriptors(process)])
                watched.step("endurance", done, frames)
    received = readings[-1][0] if readings else 0
    if received < frames:
        reason = "; ".join(sorted(lost)) or "the source ended"
        raise InputError(f"only {received} of {frames} frames were received: {reason}")
    return {"readings": readings, **judge(readings), "persons": persons, "events": events}


def judge(readings: list[list[int]]) -> dict[str, Any]:
    """Return growth over the second half, and new descriptors.

    Descriptors are counted from the end of the first tenth.
    """
    figures = memory_figures([[done, rss, rss] for done, rss, _ in readings])
    total = readings[-1][0]
    slope = figures["growth_bytes_per_100k_calls"]
    settled = next(row for row in readings if row[0] >= total / 10)
    return {
        "frames": total,
        "growth_bytes": None if slope is None else slope / 100_000 * total / 2,
        "descriptors_more": readings[-1][2] - settled[2],
    }


def check(report: dict[str, Any], limit_bytes: float) -> None:
    """Check the growth.

    Raises:
        LimitError: Memory grew beyond the limit, or a descriptor was left open.
        InputError: The readings are too few.
    """
    broken = []
    if report["growth_bytes"] is None:
        raise InputError("expected more readings for a slope: raise --frames")
    if report["growth_bytes"] > limit_bytes:
        broken.append(
            f"resident memory grew by {report['growth_bytes'] / 2**20:.1f} MiB over the second "
            f"half, expected at most {limit_bytes / 2**20:.1f}"
        )
    if report["descriptors_more"] > 0:
        broken.append(
            f"{report['descriptors_more']} more descriptors are open than after the first tenth"
        )
    if broken:
        raise LimitError("; ".join(broken))


def _descriptors(process: Any) -> int:
    return int(process.num_handles() if os.name == "nt" else process.num_fds())


def _enough(_context: click.Context, _parameter: click.Parameter, frames: int) -> int:
    if frames < _MIN_FRAMES:
        raise click.BadParameter(_TOO_FEW.format(frames))
    return frames


@click.command("endurance", cls=ModuleCommand)
@monitor_options
@click.option(
    "--frames",
    default=108_000,
    show_default=True,
    type=int,
    callback=_enough,
    help="Feed this many frames, at least 2,000.",
)
@click.option(
    "--max-growth-mib",
    default=4.0,
    show_default=True,
    type=FiniteRange(0),
    metavar="MIB",
    help="Exit with 8 if memory grows by more than MIB in the second half.",
)
@json_option
def main(
    clip: Path,
    frames: int,
    bundle: Path | None,
    detector: Path | None,
    whole_frame: bool,
    max_growth_mib: float,
    as_json: bool,
) -> None:
    """Measure resident memory and open descriptors while CLIP runs in a loop.

    \b
    Example: python -m fer_edge.benchmarks.studies.endurance --frames 108000 driver.mp4
    Exit code 8: memory or descriptors grew.
    """
    from fer_edge.progress_bar import progress

    with progress() as (_, step):
        faces = chosen_detector(detector, whole_frame)
        report = endure(Watched(clip, bundle, faces, step), frames)
    env = environment()
    report.update(method=METHOD, environment=env)
    lines = [
        f"{machine(env)}, {env['time']}",
        f"{'frames':>12s} {'resident MiB':>14s} {'descriptors':>12s}",
    ]
    for done, rss, descriptors in tenths(report["readings"]):
        lines.append(f"{done:12,d} {rss / 2**20:14.1f} {descriptors:12d}")
    lines.append(
        f"growth {(report['growth_bytes'] or 0) / 2**20:+.2f} MiB over the second half, "
        f"{report['descriptors_more']:+d} descriptors; {report['persons']} persons and "
        f"{report['events']} events"
    )
    print_report(report, as_json, "\n".join([*lines, METHOD]))
    check(report, max_growth_mib * 2**20)


def tenths(readings: list[list[int]]) -> list[list[int]]:
    """Return the first reading, and one after every tenth of the frames."""
    total = readings[-1][0]
    rows = [readings[0]]
    for tenth in range(1, 11):
        rows.append(next(row for row in readings if row[0] >= total * tenth // 10))
    return rows


if __name__ == "__main__":
    main()
