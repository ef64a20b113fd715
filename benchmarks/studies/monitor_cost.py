"""Cost of a DriverMonitor: frame rate, stages, age at the decision, CPU.

python -m fer_edge.benchmarks.studies.monitor_cost driver.mp4 --detector yunet.onnx --load
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import click
import numpy as np

from fer_edge.benchmarks.machine.environment import (
    cpu_counters,
    environment,
    machine,
    noise,
    noise_note,
)
from fer_edge.benchmarks.measure.cells import PercentileCell, percent
from fer_edge.benchmarks.measure.rows import percentiles
from fer_edge.benchmarks.measure.timing import MIN_SAMPLES, Samples
from fer_edge.benchmarks.scenarios.contended import load
from fer_edge.benchmarks.studies.clips import Image, Watched, paced
from fer_edge.benchmarks.studies.options import (
    chosen_detector,
    json_option,
    monitor_options,
    print_report,
)
from fer_edge.module_command import ModuleCommand
from fer_edge.monitor import Frames, MonitorState
from fer_edge.option_types import FiniteRange
from fer_edge.page import markdown_table

_MAX_CLIP_BYTES = 256 * 1024 * 1024
"""Largest memory for decoded frames: a camera delivers them, so decoding is not counted."""
_WARM_UP = 60
"""Frames at the start that are not counted."""
STAGES = ("detect", "predict", "other")

METHOD = (
    "full speed: the clip in a loop, decoded in the reader's thread, every frame answered. camera: "
    "decoded frames delivered at a fixed rate, the newest wins. Age: from a frame's arrival in "
    "the process to its state. Stages: share of the time between taking a frame and its state; the "
    "detector does not run on every frame; other is tracking, crops, quality, smoothing. CPU: of "
    "this process, 100 % is one core. loaded: another process streams 32 MB on one core. Without "
    "the first 60 frames."
)


def full_speed(watched: Watched, frames: int) -> dict[str, Any]:
    """Return the row of the clip at full speed."""
    source = Frames(watched.frames(frames + _WARM_UP), hz=30.0)
    return _measure("full speed", source, frames, watched)


def camera(state: str, watched: Watched, frames: int, hz: float) -> dict[str, Any]:
    """Return the row of a camera that shows the clip at ``hz``."""
    images: list[Image] = []
    for image in watched.frames(frames + _WARM_UP):
        images.append(image)
        if (len(images) + 1) * image.nbytes > _MAX_CLIP_BYTES:
            break
    source = Frames(paced(images, hz, frames + _WARM_UP), live=True)
    return {"hz": hz, **_measure(state, source, frames, watched)}


def _measure(name: str, source: Frames, frames: int, watched: Watched) -> dict[str, Any]:
    states: list[MonitorState] = []
    began_s = began_cpu_s = 0.0
    with watched.monitor(source) as monitor:
        variant = monitor.predictor.variant.name if monitor.predictor else None
        for state in monitor:
            if state.frame_index >= _WARM_UP:
                states.append(state)
                watched.step(name, state.frame_index + 1 - _WARM_UP, frames)
            if state.frame_index < _WARM_UP or began_s == 0:
                began_s, began_cpu_s = time.monotonic(), time.process_time()
        wall_s, cpu_s = time.monotonic() - began_s, time.process_time() - began_cpu_s
    return {"state": name, "variant": variant, **figures(states, frames, wall_s, cpu_s)}


def figures(states: list[MonitorState], frames: int, wall_s: float, cpu_s: float) -> dict[str, Any]:
    """Return the figures of a row: rate, ages, stages, CPU.

    Args:
        states: States of the answered frames.
        frames: Frames that were delivered.
        wall_s: Seconds of wall time.
        cpu_s: CPU seconds of this process.
    """
    answered = len({state.frame_index for state in states})
    total = sum(state.times_ms.get("total", 0.0) for state in states)
    spent = {
        stage: sum(state.times_ms.get(stage, 0.0) for state in states)
        for stage in ("detect", "predict")
    }
    spent["other"] = total - sum(spent.values())
    ages = Samples(np.array([1e6 * state.age_ms for state in states], np.int64))
    return {
        "frames": frames,
        "answered": answered,
        "dropped": frames - answered,
        "answered_hz": answered / max(wall_s, 1e-9),
        "stages": {stage: spent[stage] / total if total else None for stage in STAGES},
        "ms_per_frame": total / max(answered, 1),
        "cpu_share": cpu_s / max(wall_s, 1e-9),
        "persons": float(np.mean([len(state.persons) for state in states])) if states else 0.0,
        "not_ok": sum(state.health.status != "ok" for state in states) / max(len(states), 1),
        **percentiles(ages),
    }


def benchmark(
    watched: Watched, *, hz: float = 30.0, frames: int = 900, loaded: bool = False
) -> dict[str, Any]:
    """Return all rows, the environment and what disturbed them.

    Args:
        watched: Clip and monitor.
        hz: Frames per second of the camera.
        frames: Frames of each row.
        loaded: Also measure beside a process that loads one core.
    """
    env, before = environment(), cpu_counters()
    rows = [full_speed(watched, frames), camera("camera", watched, frames, hz)]
    disturbance = noise(before, cpu_counters(), [])
    if loaded:
        with load(1) as switch:
            switch(True)
            rows.append(camera("camera, loaded", watched, frames, hz))
            switch(False)  # raises if the load ended meanwhile
    return {
        "clip": Path(watched.clip).name,
        "rows": rows,
        "environment": env,
        "noise": disturbance,
        "note": noise_note(env, disturbance),
        "method": METHOD,
    }


def table(report: dict[str, Any]) -> str:
    """Return the rows as a Markdown table."""
    head = ["", "answered/s", "dropped", "ms/frame", *STAGES, "age p50 ms", "age p99 ms", "CPU"]
    return markdown_table(head, [_cells(row) for row in report["rows"]])


def _cells(row: dict[str, Any]) -> list[str]:
    return [
        row["state"] + (f", {row['hz']:g} Hz" if "hz" in row else ""),
        f"{row['answered_hz']:.1f}",
        str(row["dropped"]),
        f"{row['ms_per_frame']:.2f}",
        *(percent(row["stages"][stage]) for stage in STAGES),
        PercentileCell("p50_ms", 2)(row),
        PercentileCell("p99_ms", 2)(row),
        percent(row["cpu_share"]),
    ]


@click.command("monitor_cost", cls=ModuleCommand)
@monitor_options
@click.option(
    "--hz",
    default=30.0,
    show_default=True,
    type=FiniteRange(1, 1000),
    help="Deliver this many frames per second.",
)
@click.option(
    "--frames",
    default=900,
    show_default=True,
    type=click.IntRange(MIN_SAMPLES[50]),
    help="Measure this many frames in each row; a p99 needs 662.",
)
@click.option("--load", "loaded", is_flag=True, help="Also measure beside a process on one core.")
@json_option
def main(
    clip: Path,
    bundle: Path | None,
    detector: Path | None,
    whole_frame: bool,
    hz: float,
    frames: int,
    loaded: bool,
    as_json: bool,
) -> None:
    """Measure frame rate, stages, age and CPU of a monitor on CLIP.

    \b
    Example: python -m fer_edge.benchmarks.studies.monitor_cost driver.mp4 \\
                 --detector yunet.onnx --load
    """
    from fer_edge.progress_bar import progress

    with progress() as (_, step):
        faces = chosen_detector(detector, whole_frame)
        watched = Watched(clip, bundle, faces, step)
        report = benchmark(watched, hz=hz, frames=frames, loaded=loaded)
    env = report["environment"]
    about = f"{report['clip']}, {report['rows'][0]['variant']}; {machine(env)}, {env['time']}"
    lines = filter(None, (about, report["note"], table(report), report["method"]))
    print_report(report, as_json, "\n".join(lines))


if __name__ == "__main__":
    main()
