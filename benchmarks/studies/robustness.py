"""Robustness of the answers to light, contrast, blur, size and left-right mirroring.

Writes the table of docs/explanation/law-and-ethics.md:

    python -m fer_edge.benchmarks.studies.robustness --data FER2013 --write FILE

Groups of people cannot be compared on a data set that does not record who is in it, as FER2013.
This study measures what pictures of every group differ in, and the recall of each expression.
"""

from __future__ import annotations

import textwrap
from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import click
import numpy as np

from fer_edge import DataError, Prediction, Predictor
from fer_edge.atomic import check_place, write_file
from fer_edge.benchmarks.machine.environment import environment
from fer_edge.benchmarks.measure.cells import percent
from fer_edge.benchmarks.studies.options import PATH, bundle_option, json_option, print_report
from fer_edge.module_command import ModuleCommand
from fer_edge.page import markdown_table
from fer_edge.preprocess import Image
from fer_edge.progress import Step, silent
from fer_edge.training.evaluation.picture_changes import as_picture, blurred, lit, shrunk

Change = Callable[[Image], Image]

BEGIN, END = "<!-- robustness:begin -->", "<!-- robustness:end -->"
_BATCH = 64
_SEED = 2026
"""Seed of the choice of faces."""


def _contrast(gain: float) -> Change:
    return lambda face: as_picture(gain * (face.astype(np.float32) - face.mean()) + face.mean())


UNTOUCHED = "untouched"
CHANGES: dict[str, Change] = {
    UNTOUCHED: lambda face: face,
    "mirrored": lambda face: np.ascontiguousarray(face[:, ::-1]),
    **{f"light x {gain}": partial(lit, gain=gain) for gain in (0.5, 0.2, 1.6)},
    "contrast x 0.5": _contrast(0.5),
    "contrast x 0.2": _contrast(0.2),
    **{f"blur {sigma} px": partial(blurred, sigma_px=sigma) for sigma in (1, 2)},
    **{f"{side} px": partial(shrunk, side_px=side) for side in (32, 24, 16)},
}
"""Changes of a face by name.

Blur: standard deviation at the data's own size (48 px for FER2013). Size: the face is shrunk to it
by area means, and the Predictor enlarges it again.
"""


def robustness(
    predictor: Predictor,
    data: str | Path,
    *,
    split: str | None = "val",
    faces: int = 700,
    step: Step = silent,
) -> dict[str, Any]:
    """Predict the same faces under each change.

    Args:
        predictor: Open predictor.
        data: Labelled faces.
        split: Part of the data; None means all of it.
        faces: Number of faces, with labels as evenly filled as the data allow.
        step: Progress callback.

    Returns:
        One row for each change, as shares (0..1): ``right`` (right first choices), ``same`` (as
        untouched), ``answered`` (not uncertain), ``right_of_answered``, and ``recall`` by label.
        ``usual`` is the most frequent answer and its share: a high recall of it may mean nothing.

    Raises:
        DataError: The data cannot be read.
        LabelError: A label is none of the bundle's.
    """
    from fer_edge.training.data.faces import load_faces, stratified

    chosen = stratified(load_faces(data, split, predictor.labels), faces, _SEED)
    labels = [face.label for face in chosen]
    crops = [face.read() for face in chosen]
    rows: list[dict[str, Any]] = []
    untouched: list[str] = []
    for number, (name, change) in enumerate(CHANGES.items(), 1):
        predictions: list[Prediction] = []
        for first in range(0, len(crops), _BATCH):
            batch = [change(crop) for crop in crops[first : first + _BATCH]]
            predictions += predictor.predict_batch(batch)
        untouched = untouched or [prediction.label for prediction in predictions]
        rows.append({"change": name, **_figures(predictions, labels, untouched, predictor.labels)})
        step("robustness", number, len(CHANGES))
    env = environment()
    return {
        "rows": rows,
        "faces": {label: labels.count(label) for label in predictor.labels},
        "split": split,
        "seed": _SEED,
        "variant": predictor.variant.name,
        "bundle_sha256": predictor.bundle.sha256,
        "cpu": env["cpu"],
        "cores": env["cores"],
        "date": env["time"][:10],
    }


def _figures(
    predictions: Sequence[Prediction],
    labels: Sequence[str],
    untouched: Sequence[str],
    classes: Sequence[str],
) -> dict[str, Any]:
    predicted = [prediction.label for prediction in predictions]
    sure = [not prediction.uncertain for prediction in predictions]
    right = [a == b for a, b in zip(predicted, labels, strict=True)]
    usual, times = Counter(predicted).most_common(1)[0]
    return {
        "right": _share(right),
        "same": _share([a == b for a, b in zip(predicted, untouched, strict=True)]),
        "answered": _share(sure),
        "right_of_answered": _share([r for r, s in zip(right, sure, strict=True) if s]),
        "usual": [usual, times / len(predicted)],
        "recall": {
            name: _share([r for r, label in zip(right, labels, strict=True) if label == name])
            for name in classes
        },
    }


def markdown(report: dict[str, Any]) -> str:
    """Return the table, and a paragraph about what was measured."""
    labels = list(report["faces"])
    head = ["", "right", "same answer", "answered", "right of those", "usual answer", *labels]
    rows = []
    for row in report["rows"]:
        shares = [row["right"], row["same"], row["answered"], row["right_of_answered"]]
        usual, share = row["usual"]
        recalls = [row["recall"][label] for label in labels]
        cells = [*map(percent, shares), f"{usual} {share:.0%}", *map(percent, recalls)]
        rows.append([row["change"], *cells])
    total, least = sum(report["faces"].values()), min(report["faces"].values())
    counts = ", ".join(f"{label} {count}" for label, count in report["faces"].items())
    text = (
        f"{total} faces of the {report['split'] or 'whole'} part ({counts}; seed "
        f"{report['seed']}), `{report['variant']}` of bundle `{report['bundle_sha256'][:12]}`, "
        f"{report['cpu']}, {report['cores']} cores, {report['date']}. The last columns are recall "
        "by label. Labels are as evenly filled as the data allow, so *right* is not the accuracy "
        f"on the whole part. At 95 % confidence a share of all is known to ±{_margin(total):.0f} "
        f"points at worst, a recall to ±{_margin(least):.0f} (binomial)."
    )
    paragraph = "\n".join(textwrap.wrap(text, 100, break_on_hyphens=False))
    return f"{markdown_table(head, rows)}\n{paragraph}"


def around(path: Path) -> tuple[str, str]:
    """Return the text of a file before and after its marker comments.

    Raises DataError if they are missing.
    """
    try:
        page = path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"cannot read {path}: {error}") from error
    before, begin, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise DataError(f"expected the lines {BEGIN} and {END} in {path}; add them")
    return before, after


def write_between(path: Path, text: str) -> None:
    """Put text between the marker comments of a file.

    Raises DataError if they are missing, or the file cannot be written.
    """
    before, after = around(path)
    try:
        write_file(path, f"{before}{BEGIN}\n{text}\n{END}{after}".encode())
    except OSError as error:
        raise DataError(
            f"cannot write {path}: {error.strerror}. Choose another file with --write"
        ) from error


def _share(flags: Sequence[bool]) -> float | None:
    return sum(flags) / len(flags) if flags else None


def _margin(count: int) -> float:
    """Return half the 95 % interval of a share of one half, in points (binomial)."""
    return float(100 * 1.96 * np.sqrt(0.25 / max(count, 1)))


@click.command("robustness", cls=ModuleCommand)
@click.option("--data", required=True, type=PATH, help="Predict these labelled faces.")
@click.option(
    "--split", default="val", show_default=True, help="Use this part: train, val, test, or none."
)
@bundle_option
@click.option("--target", help="Run this target and no other.")
@click.option("--precision", help="Run this precision and no other.")
@click.option(
    "--faces",
    default=700,
    show_default=True,
    type=click.IntRange(1),
    help="Predict this many faces.",
)
@click.option(
    "--write",
    type=PATH,
    metavar="FILE",
    help="Put the table between the markers of this Markdown file.",
)
@json_option
def main(
    data: Path,
    split: str,
    bundle: Path | None,
    target: str | None,
    precision: str | None,
    faces: int,
    write: Path | None,
    as_json: bool,
) -> None:
    """Measure right answers under other light, contrast, blur and size, and mirrored.

    Example: python -m fer_edge.benchmarks.studies.robustness --data fer2013/
    """
    from fer_edge.progress_bar import progress

    if write is not None:
        check_place(write)  # before minutes of work depend on it
        around(write)
    with Predictor(bundle, target, precision) as predictor, progress() as (_, step):
        report = robustness(
            predictor, data, split=None if split == "none" else split, faces=faces, step=step
        )
    if write is not None:
        write_between(write, markdown(report))
    if as_json or write is None:
        print_report(report, as_json, markdown(report))


if __name__ == "__main__":
    main()
