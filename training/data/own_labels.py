"""User-defined labels, taken from the classes of data sets."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Sequence

from fer_edge.errors import DataError, LabelError, MissingPartError, next_step
from fer_edge.labels import check_label_list, label_map
from fer_edge.training.data import formats
from fer_edge.training.data.dataset_spec import SPLITS, DatasetSpecs, StoredFace, as_dataset_specs

_MOST_CLASSES = 200
"""Largest number of classes that are taken for labels."""
_YAML_WORDS = ("yes", "no", "on", "off", "true", "false", "null")
"""Words that YAML reads as something else than text."""


def class_names(sources: DatasetSpecs) -> list[str]:
    """Return the sorted spellings of all classes of data sets.

    Numbers and dropped classes are left out.

    Raises:
        DataError: A data set is missing or unreadable.
    """
    names: set[str] = set()
    for spec in as_dataset_specs(sources):
        for part in SPLITS:
            try:
                for face in formats.read(spec, part):
                    if isinstance(face, StoredFace) and isinstance(face.label, str):
                        names.add(face.label)
            except MissingPartError:
                continue
            except OSError as error:
                advice = next_step(error, "Check the data set and its permissions")
                raise DataError(f"cannot read {spec.path}: {error}. {advice}") from error
        names -= set(spec.drop)
    return sorted(names)


def own_labels(names: Sequence[str]) -> tuple[str, ...] | None:
    """Return the labels of classes that are not emotions, or None for emotions.

    Classes are user-defined if at least half of their names are not emotions: ``neutral`` may stand
    among them, and one misspelt emotion among seven stays an error.

    Raises:
        LabelError: A name cannot be a label.
    """
    unknown = [name for name in names if not _is_emotion(name)]
    if not unknown or 2 * len(unknown) < len(names) or len(names) > _MOST_CLASSES:
        return None
    return check_label_list(names)


def labels_for(sources: DatasetSpecs) -> tuple[str, ...]:
    """Return the labels of a model for data sets: user-defined ones, or the emotions present.

    Raises:
        DataError: A data set is missing, unreadable, or has no class names.
        LabelError: A name cannot be a label, or is a misspelt emotion.
    """
    names = class_names(sources)
    if not names:
        paths = ", ".join(spec.path for spec in as_dataset_specs(sources))
        raise DataError(
            f"expected a folder for each class in {paths}, like {paths}/awake and {paths}/drowsy, "
            "found no class. Sort the pictures into such folders"
        )
    own = own_labels(names)
    return own if own is not None else tuple(sorted(set(label_map(names).values())))


def set_labels(labels: Sequence[str]) -> str:
    """Return the option of ``fer-edge train`` that names labels, quoted for a shell."""
    words = [name if _is_plain(name) else json.dumps(name, ensure_ascii=False) for name in labels]
    return f"--set {shlex.quote('labels=[' + ','.join(words) + ']')}"


def _is_plain(label: str) -> bool:
    """Return True if YAML reads the label as text without quotes."""
    return label.lower() not in _YAML_WORDS and re.fullmatch(r"[^\W\d_][\w ]*", label) is not None


def _is_emotion(name: str) -> bool:
    try:
        label_map([name])
    except LabelError:
        return False
    return True
