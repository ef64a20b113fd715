"""Whether a monitor that runs on and on keeps its memory and descriptors.

    python -m fer_edge.benchmarks.studies.endurance --frames 108000 driver.mp4

A clip is fed in a loop, opened anew each time, at full speed, so that hours of a camera pass in
minutes. 108,000 frames are an hour at 30 per second.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from fer_edge import InputError, LimitError
from fer_edge.benchmarks.machine.environment import environment, machine
from fer_edge.benchmarks.scenarios.memory import memory_figures
from fer_edge.benchmarks.studies.clips import repeated
from fer_edge.benchmarks.studies.command import Command
from fer_edge.monitor import Detector, DriverMonitor, Frames, WholeFrame
from fer_edge.progress import silent

_READINGS = 100
_MIN_FRAMES = 2_000
"""The growth is a slope over the second half, and that needs a thousand (memory.memory_figures)."""
_CLIP_HZ = 30.0

METHOD = (
    "Growth: the Theil-Sen slope of the resident memory over the second half of the frames, times "
    "those frames; a pool that fills in the first half is none. Descriptors at the end against "
    "those after the first tenth, when everything was opened once."
)


def endure(
    clip: str | Path,
    frames: int,
    *,
    bundle: str | Path | None = None,
    detector: Detector | str | Path | None = None,
    step: Callable[[str, int, int], None] = silent,
) -> dict[str, Any]:
    """Readings ``[frames, rss_bytes, descriptors]`` and what they say; see METHOD.

    Raises InputError for fewer than 2,000 frames or a clip that cannot be read.
    """
    import psutil

    if frames < _MIN_FRAMES:
        raise InputError(f"expected at least {_MIN_FRAMES:,} frames to tell growth, got {frames:,}")
    list(repeated(clip, 1))  # a file that is no clip is told before anything is loaded
    process = psutil.Process()
    readings: list[list[int]] = []
    persons = events = 0
    lost: set[str] = set()
    with DriverMonitor(
        bundle, Frames(repeated(clip, frames), hz=_CLIP_HZ), detector=detector
    ) as monitor:
        for done, state in enumerate(monitor, 1):
            persons = max([persons, *(person.person for person in state.persons)])
            events += len(state.events)
            if state.health.status == "lost":
                lost.update(state.health.reasons)
            if done == 1 or done * _READINGS // frames > (done - 1) * _READINGS // frames:
                readings.append([done, process.memory_info().rss, _descriptors(process)])
                step("endurance", done, frames)
    if not readings or readings[-1][0] < frames:
        why = "; ".join(sorted(lost)) or "the source ended"
        raise InputError(
            f"only {readings[-1][0] if readings else 0} of {frames} frames came: {why}"
        )
    return {"readings": readings, **judge(readings), "persons": persons, "events": events}


def judge(readings: list[list[int]]) -> dict[str, Any]:
    """``growth_bytes`` over the second half, and ``descriptors_more`` since the first tenth."""
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
    """Raises LimitError for growth beyond the limit, or any descriptor more."""
    broken = []
    if report["growth_bytes"] is None:
        raise InputError("too few readings to tell growth")
    if report["growth_bytes"] > limit_bytes:
        broken.append(
            f"resident memory grew by {report['growth_bytes'] / 2**20:.1f} MiB over the second "
            f"half, expected at most {limit_bytes / 2**20:.1f}"
        )
    if report["descriptors_more"] > 0:
        broken.append(f"{report['descriptors_more']} more descriptors are open than at a tenth")
    if broken:
        raise LimitError("; ".join(broken))


def _descriptors(process: Any) -> int:
    return int(process.num_handles() if os.name == "nt" else process.num_fds())


@click.command("endurance", cls=Command)
@click.argument("source", type=click.Path(path_type=Path))
@click.option("--frames", default=108_000, show_default=True, type=click.IntRange(_MIN_FRAMES))
@click.option("--bundle", type=click.Path(path_type=Path), help="A .fer folder [shipped model].")
@click.option("--detector", type=click.Path(path_type=Path), help="YuNet's file.")
@click.option("--whole-frame", is_flag=True, help="Each frame is one face: no detector.")
@click.option("--max-growth-mib", default=4.0, show_default=True, type=click.FloatRange(0),
              help="In the second half.")  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="JSON on standard output.")
def main(
    source: Path,
    frames: int,
    bundle: Path | None,
    detector: Path | None,
    whole_frame: bool,
    max_growth_mib: float,
    as_json: bool,
) -> None:
    """Resident memory and open descriptors while SOURCE, a clip, runs in a loop.

    \b
    Example: python -m fer_edge.benchmarks.studies.endurance --frames 108000 driver.mp4
    Exit code 8: memory or descriptors grew.
    """
    from fer_edge.progress import progress

    faces = WholeFrame() if whole_frame else detector
    with progress() as (_, step):
        report = endure(source, frames, bundle=bundle, detector=faces, step=step)
    env = environment()
    report.update(method=METHOD, environment=env)
    if as_json:
        click.echo(json.dumps(report, indent=1))
    else:
        click.echo(f"{machine(env)}, {env['time']}")
        click.echo(f"{'frames':>12s} {'resident MiB':>14s} {'descriptors':>12s}")
        for done, rss, open_ in shown(report["readings"]):
            click.echo(f"{done:12,d} {rss / 2**20:14.1f} {open_:12d}")
        click.echo(
            f"growth {(report['growth_bytes'] or 0) / 2**20:+.2f} MiB over the second half, "
            f"{report['descriptors_more']:+d} descriptors; {report['persons']} persons and "
            f"{report['events']} events were told"
        )
        click.echo(METHOD)
    check(report, max_growth_mib * 2**20)


def shown(readings: list[list[int]]) -> list[list[int]]:
    """The first, every tenth, and the last."""
    total = readings[-1][0]
    rows = [readings[0]]
    for tenth in range(1, 11):
        rows.append(next(row for row in readings if row[0] >= total * tenth // 10))
    return rows


if __name__ == "__main__":
    main()
