"""How an answer changes with the picture: light, contrast, blur, size and left-right mirroring.

    python -m fer_edge.benchmarks.studies.robustness --data FER2013 --write docs/explanation/law-and-ethics.md

Groups of people cannot be compared where a data set does not say who is in it (FER2013 does not).
This measures what every group's pictures differ in as well, and the recall of each expression.
"""

from __future__ import annotations

import json
import os
import tempfile
import textwrap
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import click
import cv2
import numpy as np
import numpy.typing as npt

from fer_edge import DataError, Prediction, Predictor
from fer_edge.benchmarks.machine.environment import environment
from fer_edge.benchmarks.studies.command import Command
from fer_edge.progress import silent

Image = npt.NDArray[np.uint8]
Change = Callable[[Image], Image]

BEGIN, END = "<!-- robustness:begin -->", "<!-- robustness:end -->"
_BATCH = 64


def _light(gain: float) -> Change:
    return lambda face: _image(gain * face.astype(np.float32))


def _contrast(gain: float) -> Change:
    return lambda face: _image(gain * (face.astype(np.float32) - face.mean()) + face.mean())


def _blur(sigma_px: float) -> Change:
    return lambda face: _image(cv2.GaussianBlur(face, (0, 0), sigma_px))


def _size(px: int) -> Change:
    return lambda face: _image(cv2.resize(face, (px, px), interpolation=cv2.INTER_AREA))


def _image(values: npt.NDArray[Any]) -> Image:
    return np.asarray(np.clip(np.rint(values), 0, 255), np.uint8)


UNTOUCHED = "untouched"
CHANGES: dict[str, Change] = {
    UNTOUCHED: lambda face: face,
    "mirrored": lambda face: np.ascontiguousarray(face[:, ::-1]),
    "light x 0.5": _light(0.5),
    "light x 0.2": _light(0.2),
    "light x 1.6": _light(1.6),
    "contrast x 0.5": _contrast(0.5),
    "contrast x 0.2": _contrast(0.2),
    "blur 1 px": _blur(1.0),
    "blur 2 px": _blur(2.0),
    "32 px": _size(32),
    "24 px": _size(24),
    "16 px": _size(16),
}
"""By name. Blur: standard deviation at the data's own size (48 px for FER2013). A size is what the
face is shrunk to by area means; the Predictor enlarges it again."""


def robustness(
    predictor: Predictor,
    data: str | Path,
    *,
    split: str | None = "val",
    faces: int = 700,
    seed: int = 2026,
    step: Callable[[str, int, int], None] = silent,
) -> dict[str, Any]:
    """A row for each change: ``right`` (share of right first choices), ``same`` (as untouched),
    ``answered`` (not uncertain), ``right_of_answered`` and ``recall`` by label.

    ``usual``: the most frequent answer and its share; a high recall of it may be no merit.
    faces: so many, the labels as evenly filled as the data allow. Raises DataError, LabelError.
    """
    from fer_edge.training.data.faces import load_faces, stratified

    chosen = stratified(load_faces(data, split, predictor.labels), faces, seed)
    wanted = [face.label for face in chosen]
    crops = [face.read() for face in chosen]
    rows: list[dict[str, Any]] = []
    untouched: list[str] = []
    for number, (name, change) in enumerate(CHANGES.items(), 1):
        answers: list[Prediction] = []
        for first in range(0, len(crops), _BATCH):
            batch = [change(crop) for crop in crops[first : first + _BATCH]]
            answers += predictor.predict_batch(batch)
        given = [answer.label for answer in answers]
        untouched = untouched or given
        sure = [not answer.uncertain for answer in answers]
        right = [a == b for a, b in zip(given, wanted, strict=True)]
        usual, times = Counter(given).most_common(1)[0]
        rows.append(
            {
                "change": name,
                "right": _share(right),
                "same": _share([a == b for a, b in zip(given, untouched, strict=True)]),
                "answered": _share(sure),
                "right_of_answered": _share([r for r, s in zip(right, sure, strict=True) if s]),
                "usual": [usual, times / len(given)],
                "recall": {
                    label: _share([r for r, w in zip(right, wanted, strict=True) if w == label])
                    for label in predictor.labels
                },
            }
        )
        step("robustness", number, len(CHANGES))
    env = environment()
    return {
        "rows": rows,
        "faces": {label: wanted.count(label) for label in predictor.labels},
        "split": split,
        "seed": seed,
        "variant": predictor.variant.name,
        "bundle_sha256": predictor.bundle.sha256,
        "cpu": env["cpu"],
        "cores": env["cores"],
        "date": env["time"][:10],
    }


def markdown(report: dict[str, Any]) -> str:
    """The table, and what it was measured on."""
    labels = list(report["faces"])
    head = ["", "right", "same answer", "answered", "right of those", "usual answer", *labels]
    lines = [_line(head), _line(["---"] * len(head))]
    for row in report["rows"]:
        shares = [row["right"], row["same"], row["answered"], row["right_of_answered"]]
        usual, share = row["usual"]
        recalls = [row["recall"][label] for label in labels]
        cells = [*map(_percent, shares), f"{usual} {share:.0%}", *map(_percent, recalls)]
        lines.append(_line([row["change"], *cells]))
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
    return "\n".join([*lines, "", *textwrap.wrap(text, 100, break_on_hyphens=False)])


def write_between(path: Path, text: str) -> None:
    """Put text between a file's marker comments. Raises DataError if they are not there."""
    try:
        page = path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"cannot read {path}: {error}") from error
    before, begin, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise DataError(f"expected the lines {BEGIN} and {END} in {path}; add them")
    try:
        handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
        try:
            with os.fdopen(handle, "w", encoding="utf-8") as file:
                file.write(f"{before}{BEGIN}\n{text}\n{END}{after}")
            Path(name).chmod(path.stat().st_mode & 0o777)
            Path(name).replace(path)
        finally:
            Path(name).unlink(missing_ok=True)
    except OSError as error:
        raise DataError(f"cannot write {path}: {error.strerror}") from error


def _share(flags: Sequence[bool]) -> float | None:
    return sum(flags) / len(flags) if flags else None


def _percent(share: float | None) -> str:
    return "" if share is None else f"{share:.0%}"


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _margin(count: int) -> float:
    """Half a 95 % interval of a share of one half, in points."""
    return float(100 * 1.96 * np.sqrt(0.25 / max(count, 1)))


@click.command("robustness", cls=Command)
@click.option("--data", required=True, type=click.Path(path_type=Path), help="Labelled faces.")
@click.option("--split", default="val", show_default=True, help="train, val, test, or none.")
@click.option("--bundle", type=click.Path(path_type=Path), help="A .fer folder [shipped model].")
@click.option("--target", help="Run this target and no other.")
@click.option("--precision", help="Run this precision and no other.")
@click.option("--faces", default=700, show_default=True, type=click.IntRange(1))
@click.option("--write", type=click.Path(path_type=Path), metavar="FILE",
              help="Put the table between the markers of this Markdown file.")  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="JSON on standard output.")
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
    """Right answers under other light, contrast, blur, size, and mirrored.

    Example: python -m fer_edge.benchmarks.studies.robustness --data fer2013/
    """
    from fer_edge.progress import progress

    with Predictor(bundle, target, precision) as predictor, progress() as (_, step):
        report = robustness(
            predictor, data, split=None if split == "none" else split, faces=faces, step=step
        )
    if write is not None:
        write_between(write, markdown(report))
    if as_json:
        click.echo(json.dumps(report, indent=1))
    elif write is None:
        click.echo(markdown(report))


if __name__ == "__main__":
    main()
