"""What a DriverMonitor costs, end to end: rate, stages, age of the frame at the decision, CPU.

python -m fer_edge.benchmarks.studies.monitor_cost driver.mp4 --detector yunet.onnx --hz 30 --load
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import click
import numpy as np

from fer_edge.benchmarks.machine.environment import (
    cpu_seconds,
    environment,
    machine,
    noise,
    noise_note,
)
from fer_edge.benchmarks.measure.rows import percentiles
from fer_edge.benchmarks.measure.timing import MIN_SAMPLES, Samples
from fer_edge.benchmarks.scenarios.contended import load
from fer_edge.benchmarks.studies.clips import Image, paced, repeated
from fer_edge.benchmarks.studies.command import Command
from fer_edge.monitor import Detector, DriverMonitor, Frames, MonitorState, WholeFrame
from fer_edge.progress import silent

_KEPT_BYTES = 256 * 1024 * 1024
"""Of decoded frames: a camera hands them over, so decoding them is no part of its cost."""
_WARM_UP = 60
STAGES = ("detect", "predict", "other")

METHOD = (
    "full speed: the clip in a loop, decoded in the reader's thread, every frame answered. camera: "
    "decoded frames handed over at a fixed rate, the newest wins. Age: from a frame's arrival in "
    "the process to its state. Stages: share of the time between taking a frame and its state; the "
    "detector does not run on every frame; other is tracking, crops, quality, smoothing. CPU: of "
    "this process, 100 % is one core. loaded: another process streams 32 MB on one core. Without "
    "the first 60 frames."
)


def full_speed(
    clip: str | Path,
    frames: int,
    *,
    bundle: str | Path | None = None,
    detector: Detector | str | Path | None = None,
    step: Callable[[str, int, int], None] = silent,
) -> dict[str, Any]:
    """A row for the clip as fast as it goes."""
    source = Frames(repeated(clip, frames + _WARM_UP), hz=30.0)
    return _measure("full speed", source, frames, bundle, detector, step)


def camera(
    state: str,
    clip: str | Path,
    frames: int,
    hz: float,
    *,
    bundle: str | Path | None = None,
    detector: Detector | str | Path | None = None,
    step: Callable[[str, int, int], None] = silent,
) -> dict[str, Any]:
    """A row for a camera at ``hz`` that shows the clip."""
    images: list[Image] = []
    for image in repeated(clip, frames + _WARM_UP):
        images.append(image)
        if (len(images) + 1) * image.nbytes > _KEPT_BYTES:
            break
    source = Frames(paced(images, hz, frames + _WARM_UP), live=True)
    return {"hz": hz, **_measure(state, source, frames, bundle, detector, step)}


def _measure(
    name: str,
    source: Frames,
    frames: int,
    bundle: str | Path | None,
    detector: Detector | str | Path | None,
    step: Callable[[str, int, int], None],
) -> dict[str, Any]:
    states: list[MonitorState] = []
    began_s = began_cpu_s = 0.0
    with DriverMonitor(bundle, source, detector=detector) as monitor:
        variant = monitor.predictor.variant.name if monitor.predictor else None
        for state in monitor:
            if state.frame_index >= _WARM_UP:
                states.append(state)
                step(name, state.frame_index + 1 - _WARM_UP, frames)
            if state.frame_index < _WARM_UP or began_s == 0:
                began_s, began_cpu_s = time.monotonic(), time.process_time()
        wall_s, cpu_s = time.monotonic() - began_s, time.process_time() - began_cpu_s
    return {"state": name, "variant": variant, **figures(states, frames, wall_s, cpu_s)}


def figures(states: list[MonitorState], frames: int, wall_s: float, cpu_s: float) -> dict[str, Any]:
    """A row of what was answered of ``frames``: rate, ages, stages, CPU."""
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
    clip: str | Path,
    *,
    hz: float = 30.0,
    frames: int = 900,
    loaded: bool = False,
    bundle: str | Path | None = None,
    detector: Detector | str | Path | None = None,
    step: Callable[[str, int, int], None] = silent,
) -> dict[str, Any]:
    """All rows, the environment and what disturbed them."""
    env, before = environment(), cpu_seconds()
    rows = [full_speed(clip, frames, bundle=bundle, detector=detector, step=step)]
    rows.append(camera("camera", clip, frames, hz, bundle=bundle, detector=detector, step=step))
    found = noise(before, cpu_seconds(), [])
    if loaded:
        with ExitStack() as stack:
            switch = stack.enter_context(load(1))
            switch(True)
            rows.append(
                camera(
                    "camera, loaded", clip, frames, hz, bundle=bundle, detector=detector, step=step
                )
            )
    return {
        "clip": Path(clip).name,
        "rows": rows,
        "environment": env,
        "noise": found,
        "note": noise_note(env, found),
        "method": METHOD,
    }


def table(report: dict[str, Any]) -> str:
    """Markdown."""
    head = ["", "answered/s", "dropped", "ms/frame", *STAGES, "age p50 ms", "age p99 ms", "CPU"]
    lines = [_line(head), _line(["---"] * len(head))]
    for row in report["rows"]:
        stages = [_percent(row["stages"][stage]) for stage in STAGES]
        lines.append(
            _line(
                [
                    row["state"] + (f", {row['hz']:g} Hz" if "hz" in row else ""),
                    f"{row['answered_hz']:.1f}",
                    str(row["dropped"]),
                    f"{row['ms_per_frame']:.2f}",
                    *stages,
                    *(_ms(row, key) for key in ("p50_ms", "p99_ms")),
                    _percent(row["cpu_share"]),
                ]
            )
        )
    return "\n".join(lines)


def _ms(row: dict[str, Any], key: str) -> str:
    if row[key] is None:
        return f"{row['missing'][key]} short"
    return f"{row[key]:.2f}"


def _percent(share: float | None) -> str:
    return "" if share is None else f"{share:.0%}"


def _line(cells: list[str]) -> str:
    return f"| {' | '.join(cells)} |"


@click.command("monitor", cls=Command)
@click.argument("clip", type=click.Path(path_type=Path))
@click.option("--bundle", type=click.Path(path_type=Path), help="A .fer folder [shipped model].")
@click.option("--detector", type=click.Path(path_type=Path), help="YuNet's file.")
@click.option("--whole-frame", is_flag=True, help="Each frame is one face: no detector.")
@click.option("--hz", default=30.0, show_default=True, type=click.FloatRange(1, 1000))
@click.option("--frames", default=900, show_default=True, type=click.IntRange(MIN_SAMPLES[50]),
              help="Of each row; a p99 needs 662.")  # fmt: skip
@click.option("--load", "loaded", is_flag=True, help="Also with another process on one core.")
@click.option("--json", "as_json", is_flag=True, help="JSON on standard output.")
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
    """Frames per second, stages, age at the decision and CPU of a monitor on CLIP.

    \b
    Example: python -m fer_edge.benchmarks.studies.monitor_cost driver.mp4 \\
                 --detector yunet.onnx --load
    """
    from fer_edge.progress import progress

    with progress() as (_, step):
        report = benchmark(
            clip,
            hz=hz,
            frames=frames,
            loaded=loaded,
            bundle=bundle,
            detector=WholeFrame() if whole_frame else detector,
            step=step,
        )
    if as_json:
        click.echo(json.dumps(report, indent=1))
        return
    env = report["environment"]
    click.echo(f"{report['clip']}, {report['rows'][0]['variant']}; {machine(env)}, {env['time']}")
    if report["note"]:
        click.echo(report["note"])
    click.echo(table(report))
    click.echo(report["method"])


if __name__ == "__main__":
    main()
