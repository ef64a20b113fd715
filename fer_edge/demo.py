"""Demo: a picture with faces, what runs on this machine, and how fast."""

from __future__ import annotations

import shutil
import textwrap
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import click

from fer_edge.analysis import Analysis, analyze
from fer_edge.benchmarks.measure.timing import Samples, interleaved
from fer_edge.bundle import open_bundle
from fer_edge.cores import usable_cores
from fer_edge.demo_picture import demo_picture
from fer_edge.doctor import engines
from fer_edge.errors import FerEdgeError, InputError, MissingDependencyError
from fer_edge.machine import cpu_name
from fer_edge.monitor.detector_default import default_detector
from fer_edge.parity import RefusedVariant
from fer_edge.predictor import Predictor
from fer_edge.preprocess import Image
from fer_edge.progress_bar import progress
from fer_edge.shipped import DEFAULT_BUNDLE, DEFAULT_CHECKPOINT
from fer_edge.verdict import FP32, QUANTISED

PICTURE = "faces.png"
"""Name of the drawn picture in the output folder."""
_SAMPLES = 700
"""Calls of each variant: enough for a p99 (662)."""
_MEASURE_S = 20.0
"""Most seconds of measuring, all variants together."""
_TARGETS, _PRECISIONS = ("all",), ("all",)
_BATCH_SIZES = (1, 8, 32)
_BATCH_S = 15.0
"""Most seconds of measuring for each batch size of the full demo, all variants together."""
_BAR = 20
"""Characters of a bar at confidence 1."""
_MAX_COLUMNS = 100


def run(out: Path, *, full: bool = False) -> None:
    """Recognise faces in a picture, list what runs here, and measure latency.

    Args:
        out: Folder for ``faces.png``, the drawn picture, and ``demo.fer`` of the full demo.
        full: Also convert the shipped checkpoint for every target, and measure the bundle.

    Raises:
        InputError: The folder cannot be written.
        MissingDependencyError: ``full``, and a library of the ``convert`` extra is not installed.
    """
    started = time.monotonic()
    convert = _converter() if full else None
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"cannot write {out}: {error.strerror}. Choose another with -o") from error
    face = _recognise(out / PICTURE)
    left_out = _list_engines()
    left_out |= _measure(face, set(left_out))
    if convert is not None:
        more = convert(out / "demo.fer")
        left_out |= {name: more[name] for name in more if name.split("/")[0] not in left_out}
    click.echo(f"\nDone in {time.monotonic() - started:.0f} s. Your own picture:")
    click.echo("   fer-edge predict photo.jpg --save drawn.png")
    if not full:
        click.echo("Convert the model for every chip, and measure all of it (minutes):")
        click.echo("   fer-edge demo --full")
    if left_out:
        click.echo("Left out:")
        width = max(map(len, left_out))
        for name, reason in left_out.items():
            _wrap(f"   {name:{width}s}  {reason}", width + 5)


def _recognise(path: Path) -> Image:
    """Print and draw the faces of the demo's picture, and return one crop."""
    _head("1. Expressions in a picture")
    picture, boxes = demo_picture()
    detector = default_detector()
    with Predictor() as predictor:
        if detector is None:
            faces = analyze(picture, predictor, boxes=boxes)
            found_by = "at their known places (detector: pip install 'fer-edge[detect]')"
        else:
            faces = analyze(picture, predictor, detector)
            found_by = f"found by {type(detector).__name__}"
    _print_faces(faces)
    faces.save(path)
    click.echo(f"   {len(faces)} faces, {found_by}")
    click.echo(f"   Drawn into {path}")
    click.echo("   The faces are composites of many; no real person is in the picture.")
    x, y, width, height = boxes[0]
    return picture[y : y + height, x : x + width].copy()


def _print_faces(faces: Analysis) -> None:
    for face in faces:
        prediction = face.prediction
        x, y = face.box[:2] if face.box else (0, 0)
        bar = "█" * round(_BAR * prediction.confidence)
        label, confidence = prediction.label, prediction.confidence
        click.echo(f"   face at {x:3.0f}, {y:3.0f}   {label:10s}{confidence:5.0%} {bar}")
        if prediction.uncertain:
            click.echo(f"{'':16s}uncertain: {prediction.reason}")


def _list_engines() -> dict[str, str]:
    """Print what runs here; return the reasons of the others by name."""
    _head("2. What runs on this machine")
    reports = sorted(engines(), key=lambda report: report.why_not is not None)
    _print_table(
        ("engine", "runs on", "here"),
        [(one.target, one.chips, "no" if one.why_not else "yes") for one in reports],
    )
    return {one.target: one.why_not for one in reports if one.why_not}


def _measure(face: Image, missing: set[str]) -> dict[str, str]:
    """Print the latency of the shipped variants. Return the reasons of those that do not run."""
    _head("3. How fast it is")
    click.echo(f"   {cpu_name()}, {usable_cores()} cores")
    left_out: dict[str, str] = {}
    with ExitStack() as stack:
        predictors: dict[str, Predictor] = {}
        for variant in open_bundle(DEFAULT_BUNDLE).variants:
            if variant.target in missing:
                continue
            try:
                predictors[variant.name] = stack.enter_context(
                    Predictor(DEFAULT_BUNDLE, variant.target, variant.precision)
                )
            except FerEdgeError as error:
                left_out[variant.name] = str(error)
        _, step = stack.enter_context(progress())
        samples = interleaved(
            {name: partial(predictor, face) for name, predictor in predictors.items()},
            _SAMPLES,
            budget_s=_MEASURE_S,
            step=partial(step, "measuring"),
        )
    _print_table(
        ("engine/precision", "one face takes", "99 of 100 within", "faces a second"),
        [_latency(name, measured) for name, measured in samples.items()],
    )
    click.echo("   From a face crop to its answer, one after another. The first is the default.")
    return left_out


def _latency(name: str, samples: Samples) -> tuple[str, str, str, str]:
    p99 = samples.percentile_ms(99)
    within = "too few calls" if p99 is None else f"{p99:.2f} ms"
    p50 = samples.percentile_ms(50) or 0.0
    return name, f"{p50:.2f} ms", within, f"{samples.throughput_hz(1):,.0f}"


def _converter() -> Callable[[Path], dict[str, str]]:
    """Return the steps of the full demo. What they import may be missing."""
    try:
        from fer_edge.benchmarks.bench import bench
        from fer_edge.benchmarks.reports.terminal import print_table
        from fer_edge.converters.pipeline.convert import convert
    except ModuleNotFoundError as error:
        raise MissingDependencyError(str(error.name), "convert") from error

    def steps(bundle: Path) -> dict[str, str]:
        _head("4. The trained model, converted for every chip and checked")
        sentences: list[str] = []
        with progress() as (say, _):
            say("   This takes minutes.")
            made = convert(DEFAULT_CHECKPOINT, _TARGETS, bundle, _PRECISIONS, say=sentences.append)
        judged = [(v.name, v.parity) for v in made.variants if v.parity is not None]
        for network, reference in (
            ("trained model", FP32),
            ("int8 network of the model", QUANTISED),
        ):
            rows = [
                (name, f"{parity.agreement:.1%}")
                for name, parity in judged
                if parity.judgement is not None and parity.judgement.reference == reference
            ]
            if rows:
                _print_table(("engine/precision", f"decides like the {network}"), rows)
        _head(f"5. Latency and throughput of {bundle}")
        with progress() as (_, step):
            report = bench(
                bundle, _BATCH_SIZES, checkpoint=DEFAULT_CHECKPOINT, budget_s=_BATCH_S, step=step
            )
        print_table({**report, "refused": []})
        refused = made.provenance.get("refused", {})
        skipped = [s.removeprefix("Left out: ") for s in sentences if s.startswith("Left out: ")]
        return {
            **{name.rstrip(":"): reason for name, _, reason in (s.partition(" ") for s in skipped)},
            **{name: RefusedVariant.parse(entry).reason for name, entry in refused.items()},
            **{one["variant"]: one["reason"] for one in report["refused"]},
        }

    return steps


def _head(text: str) -> None:
    click.secho(text if text.startswith("1") else f"\n{text}", bold=True)


def _wrap(text: str, indent: int) -> None:
    """Print a sentence in lines of the terminal's width; a command keeps its hyphens."""
    columns = min(shutil.get_terminal_size().columns, _MAX_COLUMNS)
    lines = textwrap.wrap(
        text,
        columns,
        subsequent_indent=" " * indent,
        break_long_words=False,
        break_on_hyphens=False,
    )
    click.echo("\n".join(lines))


def _print_table(headers: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print columns as wide as their longest cell."""
    widths = [max(map(len, column)) for column in zip(headers, *rows, strict=True)]
    for row in (headers, tuple("-" * width for width in widths), *rows):
        cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        click.echo(f"   {'  '.join(cells)}".rstrip())
