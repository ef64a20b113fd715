"""Labels of a data set's pictures, matched by name to those of a model."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

from fer_edge.errors import DataError, LabelError
from fer_edge.labels import label_map, label_of_number
from fer_edge.progress import Say
from fer_edge.shown import shown
from fer_edge.training.data import ferplus
from fer_edge.training.data.dataset_spec import DatasetSpec, StoredFace

_MOST_LABELS = 200
"""Largest number of different labels of a data set."""


def match_labels(
    stored: Sequence[StoredFace], source: DatasetSpec, labels: Sequence[str], say: Say
) -> tuple[list[str | None], Counter[str]]:
    """Return each picture's model label, and the omitted pictures by label.

    Every label is "" if labels are not read, or if columns are read and no picture has a label.

    Args:
        stored: Pictures of the data set.
        source: Options of the data set.
        labels: The model's labels; () stands for the emotions.
        say: Reports names in ``drop`` that nothing has.

    Returns:
        The labels, None for a picture that is left out; and the counts.

    Raises:
        DataError: A picture has no FER+ votes.
        LabelError: A label is unknown and not dropped, or is a number without an order.
    """
    left_out: Counter[str] = Counter()
    if source.labels == "none" or (
        source.columns is not None
        and all(face.label is None and face.votes is None for face in stored)
    ):
        return [""] * len(stored), left_out
    dropped = _dropped_spellings(stored, source)
    names = _label_names([face for face in stored if face.label not in dropped], source, labels)
    known = {name: _known(name, labels) for name in source.drop}
    if unused := [name for name in known if known[name] is None and name not in dropped.values()]:
        missing = ", ".join(unused)
        say(f"{source.path}: no picture has the label {missing} of drop. Check its spelling")
    matched: list[str | None] = []
    for face in stored:
        label: str | None = None
        if source.labels == "own" and face.label in dropped:
            name = dropped[face.label]
            left_out[known[name] or name] += 1
        else:
            label = _label(face, source, names)
            if label is None or label in known.values():
                left_out[label or "without an agreed expression"] += 1
                label = None
        matched.append(label)
    return matched, left_out


def _dropped_spellings(stored: Sequence[StoredFace], source: DatasetSpec) -> dict[Any, str]:
    """Return the name in ``drop`` for each label that has its spelling."""
    dropped: dict[Any, str] = {}
    if not source.drop:
        return dropped
    for label in {face.label for face in stored} - {None}:
        spelling = str(label)
        if isinstance(label, int) and source.order is not None and spelling not in source.drop:
            spelling = label_of_number(label, source.number_order())
        if spelling in source.drop:
            dropped[label] = spelling
    return dropped


def _known(name: str, labels: Sequence[str]) -> str | None:
    """Return the model's label for a spelling, None for an unknown one."""
    try:
        return label_map([name], labels)[name]
    except LabelError:
        return None


def _label_names(
    stored: Sequence[StoredFace], source: DatasetSpec, labels: Sequence[str]
) -> dict[Any, str]:
    """Return the model's label for each spelling or number in the data set."""
    distinct = {face.label for face in stored}
    if len(distinct) > _MOST_LABELS:
        raise LabelError(
            f"expected at most {_MOST_LABELS} different labels in {source.path}, got "
            f"{len(distinct):,} different labels, like {shown(stored[0].label)}. Check which "
            "column holds the label"
        )
    names = label_map((f.label for f in stored if isinstance(f.label, str)), labels)
    numbers = sorted({f.label for f in stored if isinstance(f.label, int)})
    if numbers and names:
        raise LabelError(
            f"{source.path} labels its pictures with numbers and with names: "
            f"{', '.join(map(str, numbers))}; {', '.join(sorted(names))}"
        )
    if not numbers:
        return dict(names)
    order = source.number_order()
    spellings = {number: label_of_number(number, order) for number in numbers}
    known = label_map(spellings.values(), labels)
    return {number: known[spelling] for number, spelling in spellings.items()}


def _label(face: StoredFace, source: DatasetSpec, names: dict[Any, str]) -> str | None:
    """Return the label of a face, None for one without an expression."""
    if source.labels == "own":
        return names.get(face.label)
    if face.votes is None:
        raise DataError(f"{source.path} has no FER+ votes for {face.name}")
    choose = ferplus.majority if source.labels == "ferplus" else ferplus.most_voted
    return choose(face.votes)
