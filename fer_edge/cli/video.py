"""``fer-edge video``: a clip or camera with its answers drawn in."""

from __future__ import annotations

import re
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import click

from fer_edge.cli.options import print_json
from fer_edge.errors import InputError, SourceError


@click.command()
@click.argument("source")
@click.option("--bundle", type=click.Path(path_type=Path), help="A .fer folder [shipped model].")
@click.option("--target", help="Run this target and no other.")
@click.option("--precision", help="Run this precision and no other.")
@click.option("--detector", type=click.Path(path_type=Path),
              help="YuNet's file [the one of 'fer-edge detector fetch'].")  # fmt: skip
@click.option("--whole-frame", is_flag=True, help="Each frame is one face: no detector.")
@click.option("--seat", metavar="X,Y,W,H",
              help="Where the driver's face is, in shares of the frame [0,0,1,1].")  # fmt: skip
@click.option("--save", type=click.Path(path_type=Path), metavar="FILE",
              help="The drawn video: .mp4 for players, .webm for browsers.")  # fmt: skip
@click.option("--events", type=click.Path(path_type=Path), metavar="FILE",
              help="Events as JSON lines.")  # fmt: skip
@click.option("--seconds", type=click.FloatRange(0, min_open=True), help="Stop after so long.")
@click.option("--headless", is_flag=True, help="No window; print what was seen.")
@click.option("--json", "as_json", is_flag=True, help="What was seen, as JSON; no window.")
def video(
    source: str,
    bundle: Path | None,
    target: str | None,
    precision: str | None,
    detector: Path | None,
    whole_frame: bool,
    seat: str | None,
    save: Path | None,
    events: Path | None,
    seconds: float | None,
    headless: bool,
    as_json: bool,
) -> None:
    """Watch a video file, a camera (0, 1, ...), rtsp://... or a GStreamer pipeline.

    \b
    Example: fer-edge video clip.mp4 --save drawn.mp4 --events events.jsonl
             fer-edge video 0 --seat 0.5,0,0.5,1 --headless --seconds 60
    Each face gets a box, a number and the three likeliest expressions; the driver's is the largest
    in the seat's region. Nothing is kept but what --save and --events name. Ctrl-C ends a camera;
    what was written until then is whole.
    """
    from fer_edge.monitor import DriverMonitor, Health, Settings, WholeFrame
    from fer_edge.monitor.recorder import EventLog, VideoRecorder
    from fer_edge.monitor.sources import open_source
    from fer_edge.progress import frame_progress
    from fer_edge.video import open_window, rate_and_length, watch

    if whole_frame and detector is not None:
        raise click.UsageError("expected --detector or --whole-frame, got both")
    settings = Settings() if seat is None else Settings(driver_region=_seat(seat))
    wanted = int(source) if source.isdecimal() else source
    for path in (save, events):
        if path is not None and path.exists() and Path(source).exists() and path.samefile(source):
            raise InputError(f"expected another file than the source to write to, got {path}")
    hz, total = rate_and_length(wanted)
    with ExitStack() as stack:
        window = None
        if not (save or events or headless or as_json):
            window = open_window(f"fer-edge {source}")
            if window is None:
                raise click.UsageError(_NO_WINDOW)
            stack.callback(window.close)
        say, step = stack.enter_context(frame_progress(total))

        told = ""

        def tell(health: Health) -> None:
            nonlocal told
            text = ": ".join(filter(None, (health.status, "; ".join(health.reasons))))
            # The same with other numbers ("frozen for 1.1 s", "1.2 s") is not news.
            if (news := re.sub(r"[\d.]+", "", text)) != told:
                told = news
                say(f"{source}: {text}")

        monitor = stack.enter_context(
            DriverMonitor(
                bundle,
                wanted,
                detector=WholeFrame() if whole_frame else detector,
                settings=settings,
                target=target,
                precision=precision,
                on_health=tell,
            )
        )
        variant = monitor.predictor.variant.name if monitor.predictor else None
        recorder = stack.enter_context(VideoRecorder(save, hz)) if save else None
        log = stack.enter_context(EventLog(events)) if events else None
        tally, fault = watch(
            monitor,
            live=open_source(wanted).live,
            recorder=recorder,
            events=log,
            window=window,
            seconds=seconds,
            tick=lambda tally: step(tally.frames, tally.status),
        )
    report: dict[str, Any] = {"source": source, "variant": variant, **tally.as_dict()}
    report["fault"] = fault
    if recorder is not None and recorder.frames:
        report["saved"] = {"path": str(save), "frames": recorder.frames, "hz": hz,
                           "codec": recorder.codec}  # fmt: skip
    if log is not None:
        report["event_lines"] = {"path": str(events), "lines": log.lines}
    if as_json:
        print_json(report)
    else:
        _print(report)
    if fault is not None:
        raise SourceError(fault)


_NO_WINDOW = (
    "OpenCV has no window here. Say what to do with --save FILE, --events FILE, --headless or "
    "--json. (opencv-python has windows, opencv-python-headless has none.)"
)


def _seat(text: str) -> tuple[float, float, float, float]:
    try:
        x, y, w, h = (float(part) for part in text.split(","))
    except ValueError:
        raise click.BadParameter(
            f"expected four shares of the frame like 0.5,0,0.5,1, got {text!r}"
        ) from None
    return x, y, w, h


def _print(report: dict[str, Any]) -> None:
    dropped = f", {report['dropped']} dropped" if report["dropped"] else ""
    click.echo(
        f"{report['source']}: {report['frames']} frames answered{dropped}, "
        f"{report['stream_s']:.1f} s of stream in {report['wall_s']:.1f} s, by {report['variant']}"
    )
    age = report["age_ms"]
    if age["median"] is not None:
        click.echo(f"answers: {age['median']:.1f} ms old in the median, {age['most']:.1f} at most")
    click.echo(f"driver: {_seconds(report['driver_s'])}")
    click.echo(f"health: {_seconds(report['health_s'])}")
    events = ", ".join(f"{kind} {count}" for kind, count in report["events"].items())
    click.echo(f"events: {events or 'none'}")
    if saved := report.get("saved"):
        click.echo(f"saved:  {saved['path']}, {saved['frames']} frames; {saved['codec']}")
    if lines := report.get("event_lines"):
        click.echo(f"saved:  {lines['path']}, {lines['lines']} lines")


def _seconds(spent: dict[str, float]) -> str:
    return ", ".join(f"{name} {seconds:.1f} s" for name, seconds in spent.items())
