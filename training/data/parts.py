"""Parts of data sets: train, val and test, each with its faces."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from fer_edge.errors import DataError, LabelError, MissingPartError
from fer_edge.progress import Say, Step, silent
from fer_edge.training.data.dataset_spec import SPLITS, DatasetSpecs, as_dataset_specs
from fer_edge.training.data.faces import LabelledFace, load_faces
from fer_edge.training.data.own_labels import class_names, own_labels

Parts = Mapping[str, Sequence[LabelledFace]]
"""Faces by the name of their part."""


def load_parts(
    sources: DatasetSpecs, labels: Sequence[str] | None, say: Say, step: Step = silent
) -> tuple[dict[str, list[LabelledFace]], list[dict[str, Any]]]:
    """Load the faces of every part, unreadable ones included.

    Args:
        sources: Data sets; one without parts counts as train.
        labels: The model's labels, if user-defined; None takes them from the data.
        say: Reports faces that are left out.
        step: Reports progress.

    Returns:
        Faces by part, over all data sets, and the number of faces by part of each data set.

    Raises:
        DataError: A data set is missing, empty or unreadable.
        LabelError: A label is unknown.
    """
    try:
        return _load_parts(sources, labels, say, step)
    except LabelError as error:
        names = class_names(sources) if labels is None else []
        if (own := own_labels(names)) is None:
            hint = f". If these are labels of your own: --labels '{','.join(names)}'"
            raise LabelError(f"{error}{hint}" if names else str(error)) from error
    say(f"Labels, taken from the data: {', '.join(own)}")
    return _load_parts(sources, own, say, step)


def _load_parts(
    sources: DatasetSpecs, labels: Sequence[str] | None, say: Say, step: Step
) -> tuple[dict[str, list[LabelledFace]], list[dict[str, Any]]]:
    parts: dict[str, list[LabelledFace]] = {}
    counts = []
    specs = as_dataset_specs(sources)
    if len({spec.labels == "none" for spec in specs}) > 1:
        raise DataError(
            "expected data sets with labels, or all with the option labels=none, got both. "
            "Write two data sets, and name the one without labels in data.unlabelled"
        )
    for source in specs:
        own: dict[str, int] = {}
        missing: MissingPartError | None = None
        for part in SPLITS:
            try:
                known = None if source.labels == "none" else labels
                faces = load_faces(replace(source, broken="fail"), part, known, say, step)
            except MissingPartError as error:
                missing = error
                continue
            parts.setdefault(part, []).extend(faces)
            own[part] = len(faces)
        if not own:
            assert missing is not None
            raise missing
        counts.append({"source": source.path, "parts": own})
    return {part: parts[part] for part in SPLITS if part in parts}, counts


def per_class(faces: Sequence[LabelledFace]) -> dict[str, int]:
    """Count faces by label, in alphabetical order."""
    return dict(sorted(Counter(face.label for face in faces).items()))


def class_warning(faces: Sequence[LabelledFace], labels: Sequence[str]) -> str:
    """Return a sentence about classes without a face, "" if every class has one.

    Args:
        faces: Faces to train on.
        labels: The model's labels.
    """
    present = {face.label for face in faces}
    if missing := [label for label in labels if label not in present]:
        only = f"; all faces are {', '.join(present)}" if len(present) == 1 else ""
        return (
            f"No face of {', '.join(missing)}{only}. A network cannot learn a class without faces: "
            "add data with --data, or leave the class out of labels"
        )
    return ""
