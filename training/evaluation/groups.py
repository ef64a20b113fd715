"""Evaluation by groups of faces, such as gender or age."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from fer_edge.errors import DataError, TargetError
from fer_edge.machine import software
from fer_edge.monitor.detector import Detector
from fer_edge.progress import Step, silent
from fer_edge.shipped import checkpoint_path
from fer_edge.training.data.dataset_spec import DatasetSpec, stated
from fer_edge.training.data.faces import LabelledFace, load_faces
from fer_edge.training.data.folds import Fold
from fer_edge.training.evaluation.evaluate import input_name
from fer_edge.training.evaluation.group_figures import METHOD, figures_of, spreads
from fer_edge.training.evaluation.locate import locate
from fer_edge.training.evaluation.runner import ModelRunner, open_model

MOST_GROUPS = 60
"""Largest number of groups of a column."""
NOT_STATED = "not stated"
"""Group of the faces whose cell is empty, or a word for that."""
_DECADES_FROM = 10
"""Whole numbers are grouped in decades if a column has more different ones than this."""

Bools = npt.NDArray[np.bool_]


def evaluate_groups(
    sources: Sequence[str | Path],
    data: str | Path,
    columns: Sequence[str],
    split: str | None = None,
    *,
    fold: Fold | None = None,
    detector: Detector | None = None,
    target: str | None = None,
    precision: str | None = None,
    step: Step = silent,
) -> dict[str, Any]:
    """Evaluate models by groups of faces.

    Args:
        sources: Checkpoint folders and ``.fer`` bundles.
        data: Faces with the columns; labels are optional.
        columns: Columns that group the faces.
        split: Part of the data to evaluate on; None for data without parts.
        fold: Fold of the data to evaluate on; None is all of it.
        detector: Locates the face of each picture; None takes the pictures as face crops.
        target: Target of the bundles' variants; None lets the Predictor choose.
        precision: Precision of the bundles' variants; None lets the Predictor choose.
        step: Receives progress.

    Returns:
        ``inputs``, a report of each model with ``overall``, and ``by``: for each column its
        ``groups`` and ``spreads``; ``method`` of the intervals; and ``environment``.
        docs/reference/evaluation.md defines the figures.

    Raises:
        DataError: The data cannot be read, has no such column, or one with too many groups.
        LabelError: The data has labels that the model does not have.
        TargetError: No requested variant runs on this machine. Others as from evaluate.
    """
    if target == "all":
        raise TargetError("groups are evaluated on one variant. Name its target, or leave it out")
    spec = replace(DatasetSpec.parse(data), columns=tuple(dict.fromkeys(columns)))
    inputs: list[dict[str, Any]] = []
    for source in map(checkpoint_path, sources):
        with open_model(source, target, precision) as runner:
            faces = load_faces(spec, split, runner.labels, step=step)
            faces = faces if fold is None else fold.of(faces, spec.path)
            report = _evaluate(runner, faces, spec, detector, step)
        name = input_name(source, report, inputs)
        about = {"name": name, "split": split, "fold": None if fold is None else str(fold)}
        inputs.append({**about, **report})
    return {"inputs": inputs, "method": METHOD, "environment": software()}


def _evaluate(
    runner: ModelRunner,
    pictures: Sequence[LabelledFace],
    spec: DatasetSpec,
    detector: Detector | None,
    step: Step,
) -> dict[str, Any]:
    # Groups first: a wrong column must not cost minutes of inference.
    groups = {name: groups_of(pictures, name, spec.path) for name in spec.columns or ()}
    located: Sequence[LabelledFace | None] = pictures
    if detector is not None:
        located = locate(pictures, detector, runner.rule.margin, step)
    found = np.array([face is not None for face in located])
    if not found.any():
        raise DataError(f"no face was found in {spec.path}. Check what its pictures show")
    faces = [face for face in located if face is not None]
    probabilities, _, abstains = runner.judge(faces, "evaluating", step)
    answers = Answers(runner.labels, probabilities, abstains, [face.label for face in faces])
    return {
        **runner.facts,
        "data": spec.name,
        "labels": list(runner.labels),
        "labelled": answers.labelled,
        "located": detector is not None,
        "overall": _row(answers, np.ones(len(pictures), bool), found),
        "by": [
            {
                "column": column,
                "groups": [
                    {"value": value, **_row(answers, members, found)}
                    for value, members in by_value.items()
                ],
                "spreads": spreads(
                    {value: members[found] for value, members in by_value.items()},
                    answers.measures(),
                ),
            }
            for column, by_value in groups.items()
        ],
    }


class Answers:
    """Answers for every face that was found.

    Attributes:
        labels: Names of the classes.
        probabilities: Probabilities ``[N, C]``.
        abstains: True for each face on which the model abstains, ``[N]``.
        truth: Label of each face, "" without labels.
    """

    def __init__(
        self,
        labels: Sequence[str],
        probabilities: npt.NDArray[np.float32],
        abstains: Bools,
        truth: Sequence[str],
    ) -> None:
        self.labels = labels
        self.probabilities = probabilities
        self.abstains = abstains
        self.truth = np.array(truth)

    @property
    def labelled(self) -> bool:
        """True if the faces have labels."""
        return bool(self.truth[0])

    def measures(self) -> dict[str, npt.NDArray[np.float64]]:
        """Return what groups are compared by, as a number for each face."""
        measures = {
            "confidence": self.probabilities.max(1).astype(np.float64),
            "abstained": self.abstains.astype(np.float64),
        }
        if self.labelled:
            answers = np.array(self.labels)[self.probabilities.argmax(1)]
            measures["right"] = (answers == self.truth).astype(np.float64)
        return measures


def _row(answers: Answers, members: Bools, found: Bools) -> dict[str, Any]:
    """Return the figures of a group; ``members`` and ``found`` are by picture."""
    inside = members[found]
    return {
        "pictures": int(members.sum()),
        **figures_of(
            answers.probabilities[inside],
            answers.abstains[inside],
            answers.labels,
            answers.truth[inside] if answers.labelled else None,
            pictures=int(members.sum()),
        ),
    }


def groups_of(faces: Sequence[LabelledFace], column: str, where: str) -> Mapping[str, Bools]:
    """Return the members of each group, by number in the name, then by name.

    More than ten different whole numbers are grouped in decades.

    Args:
        faces: Faces with this column.
        column: Name of the column.
        where: Name of the data, for messages.

    Raises:
        DataError: The column has more than MOST_GROUPS groups.
    """
    cells = [stated(face.cells[column]) or "" for face in faces]
    values = {cell for cell in cells if cell}
    if len(values) > _DECADES_FROM and all(re.fullmatch("[0-9]{1,3}", c) for c in values):
        cells = [
            f"{int(cell) // 10 * 10}-{int(cell) // 10 * 10 + 9}" if cell else "" for cell in cells
        ]
        values = {cell for cell in cells if cell}
    if len(values) > MOST_GROUPS:
        raise DataError(
            f"expected at most {MOST_GROUPS} groups, the column {column} of {where} has "
            f"{len(values):,} different values. Choose a column such as gender or age"
        )
    by_face = np.array(cells)
    members = {value: by_face == value for value in sorted(values, key=_natural)}
    return members | ({NOT_STATED: by_face == ""} if "" in cells else {})


def _natural(value: str) -> tuple[float, str]:
    number = re.search("[0-9]+", value)
    return (float(number.group()) if number else 0.0, value)
