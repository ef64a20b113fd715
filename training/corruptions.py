"""Risk against coverage of a model, on clean and on corrupted faces.

    python -m fer_edge.training.corruptions default.fer --data FER2013 -o curves.png

A model that knows its limits answers less where it is wrong more: at each corruption, BAR of its
answers are right, or it answers few. Of pictures without a face it answers few.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import click
import cv2
import numpy as np
import numpy.typing as npt
import torch
from matplotlib.figure import Figure

from fer_edge.atomic import make_place, write_file
from fer_edge.errors import DataError
from fer_edge.module_command import ModuleCommand
from fer_edge.page import markdown_table
from fer_edge.preprocess import Image, read_image
from fer_edge.progress import Step, silent
from fer_edge.shipped import checkpoint_path
from fer_edge.training.data.faces import load_faces, stratified
from fer_edge.training.evaluation.calibrate import BAR, FEW
from fer_edge.training.evaluation.intervals import share_interval
from fer_edge.training.evaluation.metrics import ece
from fer_edge.training.evaluation.picture_changes import as_picture, blurred, lit, shrunk
from fer_edge.training.evaluation.runner import ModelRunner, open_model
from fer_edge.training.loop import incar
from fer_edge.training.reports import plots

CLEAN = "clean"
_SEED = 2026
_COLUMNS = 4

Change = Callable[[Image, np.random.Generator], Image]


def _noise(sigma: float) -> Change:
    return lambda face, rng: as_picture(face + rng.normal(0, sigma, face.shape[:2])[:, :, None])


def _by(change: Callable[[Image, Any], Image], amount: float) -> Change:
    return lambda face, _: change(face, amount)


def _in_car(name: str) -> Change:
    def change(face: Image, _: np.random.Generator) -> Image:
        rgb = np.ascontiguousarray(face[..., ::-1].transpose(2, 0, 1))
        changed = incar.changed(incar.CHANGES[name], torch.from_numpy(rgb)).numpy()
        return np.ascontiguousarray(changed.transpose(1, 2, 0)[..., ::-1])

    return change


CORRUPTIONS: dict[str, dict[str, Change]] = {
    "noise, of 255": {f"{sigma}": _noise(sigma) for sigma in (8, 16, 32)},
    "light": {f"x {gain}": _by(lit, gain) for gain in (0.5, 0.25, 0.12)},
    "blur": {f"{sigma} px": _by(blurred, sigma) for sigma in (1, 2, 3)},
    "size": {f"{side} px": _by(shrunk, side) for side in (32, 24, 16)},
    **{name.replace("_", " "): {"drawn": _in_car(name)} for name in incar.CHANGES},
}
"""Corruptions by name, each by severity. In-car effects draw their strength for each face, from
torch's random numbers."""

NO_FACE = "no face"
_SIDE_PX = 64


def _white_noise(rng: np.random.Generator) -> npt.NDArray[Any]:
    return rng.uniform(0, 255, (_SIDE_PX, _SIDE_PX))


def _blobs(rng: np.random.Generator) -> npt.NDArray[Any]:
    smooth = cv2.GaussianBlur(rng.normal(size=(_SIDE_PX, _SIDE_PX)), (0, 0), rng.uniform(1, 8))
    return np.asarray(255 * (smooth - smooth.min()) / np.ptp(smooth))


def _stripes(rng: np.random.Generator) -> npt.NDArray[Any]:
    down, across = np.mgrid[:_SIDE_PX, :_SIDE_PX] / rng.uniform(3, 20)  # of a period
    angle, light = rng.uniform(0, np.pi), rng.uniform(20, 127)
    wave = np.sin(2 * np.pi * (across * np.cos(angle) + down * np.sin(angle)))
    return np.asarray(127 + light * wave)


NON_FACES: dict[str, Callable[[np.random.Generator], npt.NDArray[Any]]] = {
    "white noise": _white_noise,
    "blobs": _blobs,
    "stripes": _stripes,
}
"""Grey pictures without a face, drawn from random numbers."""


def _drawn(draw_one: Callable[[np.random.Generator], npt.NDArray[Any]], count: int) -> list[Image]:
    rng = np.random.default_rng(_SEED)
    return [cv2.cvtColor(as_picture(draw_one(rng)), cv2.COLOR_GRAY2BGR) for _ in range(count)]


def _crops(picture: Image, count: int) -> list[Image]:
    """Return square crops at random places, 15 to 90 % of the shorter side."""
    rng, (height, width) = np.random.default_rng(_SEED), picture.shape[:2]
    crops = []
    for _ in range(count):
        side = max(1, round(rng.uniform(0.15, 0.9) * min(height, width)))
        y, x = rng.integers(height - side + 1), rng.integers(width - side + 1)
        crops.append(picture[y : y + side, x : x + side])
    return crops


def risk_coverage(
    runner: ModelRunner,
    data: str | Path,
    split: str | None = "val",
    *,
    faces: int = 700,
    without_faces: Sequence[Path] = (),
    step: Step = silent,
) -> list[dict[str, Any]]:
    """Return the answers of a model under each corruption.

    Args:
        runner: Open model.
        data: Labelled faces.
        split: Part of the data; None for data without parts.
        faces: Number of faces, with labels as evenly filled as the data allow.
        without_faces: Pictures in which nobody is. The model reads as many crops of each as faces.
        step: Receives progress.

    Returns:
        A row for each corruption and severity, clean first. It has ``right``, ``answered``,
        ``right_of_answered`` with its ``interval`` (None without answers) and ``ece``. ``passes``
        is True if the bar holds. ``curve`` has ``[coverage, risk]`` of the surest answers. Then a
        row for each kind of picture without a face, with ``answered`` and ``passes`` alone. Last
        come ``without_faces``, each by its file's name, or by its
        path if two have one name.

    Raises:
        DataError: The data have no labelled faces, or not those of the model.
        InputError: A picture cannot be read.
    """
    names = [path.name for path in without_faces]
    names = names if len({*names}) == len(names) else [str(path) for path in without_faces]
    photos = [(name, read_image(path)) for name, path in zip(names, without_faces, strict=True)]
    chosen = stratified(load_faces(data, split, runner.labels), faces, _SEED)
    truth = np.array([runner.labels.index(face.label) for face in chosen])
    pictures = [face.read() for face in chosen]
    changes: list[tuple[str, str, Change]] = [(CLEAN, "", lambda face, _: face)]
    changes += [(name, key, f) for name, by in CORRUPTIONS.items() for key, f in by.items()]
    rows, count = [], len(changes) + len(NON_FACES) + len(photos)
    for i, (name, severity, change) in enumerate(changes):
        torch.manual_seed(_SEED)
        rng = np.random.default_rng(_SEED)
        changed = [change(picture, rng) for picture in pictures]
        probabilities, _, abstains = runner.judge(changed, name, silent)
        figures = _figures(probabilities, abstains, truth, runner.abstain_below)
        rows.append({"corruption": name, "severity": severity, **figures})
        step("corruptions", i + 1, count)
    nobody = [(name, partial(_drawn, draw_one)) for name, draw_one in NON_FACES.items()]
    nobody += [(name, partial(_crops, photo)) for name, photo in photos]
    for i, (name, pictures_of) in enumerate(nobody):
        _, _, abstains = runner.judge(pictures_of(len(chosen)), NO_FACE, silent)
        answered = float((~abstains).mean())
        nothing = {"right": None, "right_of_answered": None, "interval": None, "ece": None}
        figures = {"answered": answered, "passes": answered <= FEW, "curve": []}
        rows.append({"corruption": NO_FACE, "severity": name, **nothing, **figures})
        step("corruptions", len(changes) + i + 1, count)
    return rows


def _figures(
    probabilities: npt.NDArray[np.float32],
    abstains: npt.NDArray[np.bool_],
    truth: npt.NDArray[np.intp],
    abstain_below: float,
) -> dict[str, Any]:
    right, confidence = probabilities.argmax(1) == truth, probabilities.max(1)
    # Unfamiliar faces are the last to be answered, whatever their confidence.
    unfamiliar = abstains & (confidence >= abstain_below)
    order = np.lexsort((-confidence, unfamiliar))
    risk = 1 - np.cumsum(right[order]) / np.arange(1, len(order) + 1)
    told = int((~abstains).sum())
    good = int(right[~abstains].sum())
    answered = told / len(truth)
    return {
        "right": float(right.mean()),
        "answered": answered,
        "right_of_answered": good / told if told else None,
        "interval": list(share_interval(good, told)) if told else None,
        "ece": ece(probabilities, right),
        "passes": answered <= FEW or good >= BAR * told,
        "curve": [
            [(i + 1) / len(order), float(risk[i])]
            for i in np.linspace(len(order) // 20, len(order) - 1, 40).astype(int)
        ],
    }


def markdown(rows: Sequence[dict[str, Any]]) -> str:
    """Return the table of all corruptions."""
    body = []
    for row in rows:
        interval = row["interval"]
        ends = "" if interval is None else f" [{100 * interval[0]:.0f}, {100 * interval[1]:.0f}]"
        share = row["right_of_answered"]
        body.append(
            [
                f"{row['corruption']} {row['severity']}".strip(),
                "" if row["right"] is None else f"{row['right']:.1%}",
                f"{row['answered']:.1%}",
                "none" if share is None else f"{share:.1%}{ends}",
                "" if row["ece"] is None else f"{row['ece']:.3f}",
                "yes" if row["passes"] else "no",
            ]
        )
    head = ["", "right", "answered", "right of those", "ECE", f"bar {BAR:.0%} or {FEW:.0%}"]
    return markdown_table(head, body)


def draw(rows: Sequence[dict[str, Any]], title: str) -> bytes:
    """Return the curves as PNG, with a panel for each corruption. The clean curve is grey."""
    clean, names = rows[0], list(CORRUPTIONS)
    lines = -(-len(names) // _COLUMNS)
    figure = Figure(figsize=(3.6 * _COLUMNS, 3.1 * lines), layout="constrained")
    figure.suptitle(title)
    grid = figure.subplots(lines, _COLUMNS, sharex=True, sharey=True, squeeze=False)
    for axes in grid.flat[len(names) :]:
        axes.set_axis_off()
    for axes, name in zip(grid.flat, names, strict=False):
        axes.axhline(1 - BAR, color="black", lw=0.6, ls=":")
        axes.plot(*zip(*clean["curve"], strict=True), color="grey", ls="--", label=CLEAN)
        for row in (row for row in rows if row["corruption"] == name):
            (line,) = axes.plot(*zip(*row["curve"], strict=True), label=row["severity"])
            if row["right_of_answered"] is not None:
                at = [row["answered"]], [1 - row["right_of_answered"]]
                axes.plot(*at, "o", color=line.get_color())
        axes.set_title(name, fontsize=10)
        axes.set(xlim=(0, 1.02), ylim=(0, 1))
        axes.grid(alpha=0.3)
        axes.legend(fontsize=7, loc="lower right")
    figure.supxlabel("share of faces answered (dot: at the model's threshold)", fontsize=9)
    figure.supylabel("share wrong among the answers", fontsize=9)
    return plots.data(figure, "png")


def _unwritable(out: Path, error: OSError) -> DataError:
    return DataError(f"cannot write {out}: {error.strerror}. Choose another file with -o")


@click.command("corruptions", cls=ModuleCommand)
@click.argument("model", type=checkpoint_path)
@click.option(
    "--data", required=True, type=click.Path(path_type=Path), help="Judge on these labelled faces."
)
@click.option(
    "--split", default="val", show_default=True, help="Take this part of the data, or none."
)
@click.option(
    "--faces",
    default=700,
    show_default=True,
    type=click.IntRange(20),
    help="Judge at most this many faces.",
)
@click.option(
    "--without-faces",
    type=click.Path(path_type=Path),
    multiple=True,
    help="Show crops of this picture, in which nobody is. May be repeated.",
)
@click.option("-o", "--out", type=click.Path(path_type=Path), help="Draw the curves here, .png.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def main(
    model: Path,
    data: Path,
    split: str,
    faces: int,
    without_faces: tuple[Path, ...],
    out: Path | None,
    as_json: bool,
) -> None:
    """Measure risk against coverage on clean and corrupted faces."""
    from fer_edge.progress_bar import progress

    part = None if split == "none" else split
    if out is not None:
        if out.suffix.lower() != ".png":
            raise DataError(
                f"expected a name that ends in .png for the curves, got {out}. Choose one with -o"
            )
        try:
            make_place(out)
        except OSError as error:
            raise _unwritable(out, error) from error
    with open_model(model) as runner, progress() as (_, step):
        rows = risk_coverage(
            runner, data, part, faces=faces, without_faces=without_faces, step=step
        )
    if out is not None:
        try:
            write_file(
                out, draw(rows, f"{model.name}: risk against coverage, at most {faces} faces")
            )
        except OSError as error:
            raise _unwritable(out, error) from error
    click.echo(json.dumps(rows, indent=1, allow_nan=False) if as_json else markdown(rows))


if __name__ == "__main__":
    main()
