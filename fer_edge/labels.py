"""Canonical emotion names, their spellings, and orders of public data sets.

Labels are matched by name, never by index. Data sets that store bare integers (a CSV column, a
folder called ``3``) are turned into names as they are read, with the orders in this module.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Collection, Iterable, Mapping

from fer_edge.errors import LabelError
from fer_edge.lookalikes import odd_letters, shape

EMOTIONS: tuple[str, ...] = (
    "anger",
    "disgust",
    "fear",
    "happiness",
    "neutral",
    "sadness",
    "surprise",
)
"""Seven canonical class names, in alphabetical order, as a model's outputs are."""

EMOTIONS_8: tuple[str, ...] = tuple(sorted((*EMOTIONS, "contempt")))
"""Seven canonical class names and contempt, in alphabetical order."""

_ALIASES: dict[str, tuple[str, ...]] = {
    "anger": ("angry", "anger", "mad"),
    "contempt": ("contempt", "contemptuous"),
    "disgust": ("disgust", "disgusted"),
    "fear": ("fear", "fearful", "afraid", "scared"),
    "happiness": ("happy", "happiness", "joy"),
    "neutral": ("neutral", "neutrality", "calm"),
    "sadness": ("sad", "sadness"),
    "surprise": ("surprise", "surprised"),
}
_CANONICAL: dict[str, str] = {alias: name for name, all_ in _ALIASES.items() for alias in all_}

SOURCE_ORDERS: dict[str, tuple[str, ...]] = {
    # Kaggle FER2013 CSV, column "emotion", 0-6.
    "fer2013-csv": ("anger", "disgust", "fear", "happiness", "sadness", "surprise", "neutral"),
    # FER2013 repacked as class folders, sorted by English adjective.
    "fer2013-folders": ("anger", "disgust", "fear", "happiness", "neutral", "sadness", "surprise"),
    # FER+ vote columns; the last two are not expressions.
    "ferplus": (
        "neutral",
        "happiness",
        "surprise",
        "sadness",
        "anger",
        "disgust",
        "fear",
        "contempt",
        "unknown",
        "not a face",
    ),
    "affectnet-8": (
        "neutral",
        "happiness",
        "sadness",
        "surprise",
        "fear",
        "disgust",
        "anger",
        "contempt",
    ),
    # RAF-DB counts from 1: position 0 here is its label 1.
    "raf-db": ("surprise", "fear", "disgust", "happiness", "sadness", "anger", "neutral"),
}
"""Class names in the order of their numbers, by data set."""


def canonical(name: str) -> str:
    """Return the canonical name of a spelling ("Happy" -> "happiness").

    Args:
        name: Spelling; case and surrounding spaces do not matter.

    Raises:
        LabelError: The spelling is unknown.
    """
    known = _CANONICAL.get(str(name).strip().lower())
    if known is None:
        raise LabelError(
            f"expected the name of an emotion, got {name!r}. "
            f"Known names: {', '.join(sorted(_CANONICAL))}"
        )
    return known


def model_labels(names: Iterable[str]) -> tuple[str, ...]:
    """Return the labels of a network, with emotions by canonical names.

    Any other name stays as it is.

    Args:
        names: Spellings of emotions, and user-defined labels.

    Raises:
        LabelError: As for check_label_list.
    """
    stripped = (name.strip() for name in names)
    return check_label_list(_CANONICAL.get(name.lower(), name) for name in stripped)


def check_label_list(names: Iterable[str]) -> tuple[str, ...]:
    """Check the labels of a model and return them.

    Args:
        names: Canonical names and user-defined labels.

    Raises:
        LabelError: A canonical name has another spelling ("happy"), a name is listed twice, is
            empty or too long, has spaces around it, or looks like another name.
    """
    names = tuple(names)
    listed = f"among the labels {', '.join(map(repr, names[:20]))}"[:1000]
    seen: set[str] = set()
    shapes = {shape(name): name for name in _CANONICAL}  # compared by shape: lists may be long
    for name in names:
        meant = _CANONICAL.get(name.strip().lower(), name)
        if meant != name:
            raise LabelError(f"expected the canonical name {meant!r} and not {name!r} {listed}")
        if not name or name != name.strip() or not name.isprintable() or len(name) > 64:
            raise LabelError(f"expected 1 to 64 characters without spaces around them {listed}")
        if name.casefold() in seen:
            raise LabelError(f"{name!r} is listed twice {listed}")
        _check_letters(name, shapes)
        seen.add(name.casefold())
        shapes.setdefault(shape(name), name.casefold())
    return names


def _check_letters(name: str, shapes: Mapping[str, str]) -> None:
    """Raise LabelError for a name that people take for another one; ``shapes`` has those."""
    if reason := odd_letters(name):
        raise LabelError(f"the label {name!a} {reason}. Spell it with plain letters")
    other = shapes.get(shape(name), name.casefold())
    if other != name.casefold():
        raise LabelError(f"the label {name!a} looks like {other!a}. Spell it with plain letters")


def composed(name: str) -> str:
    """Return a name with one character for each letter; macOS writes an umlaut as two."""
    return unicodedata.normalize("NFC", name)


def label_map(spellings: Iterable[str], own: Collection[str] = ()) -> dict[str, str]:
    """Map each spelling of a data set to the model's name.

    Args:
        spellings: Spellings that the data set uses.
        own: Labels of the model. User-defined labels must be spelt exactly like these.

    Returns:
        Name in the model by spelling.

    Raises:
        LabelError: A spelling is unknown, or two words mean the same emotion. The message lists
            all spellings.
    """
    spellings = sorted(set(spellings))
    of_model = {composed(name): name for name in own}
    named = {
        name: of_model.get(composed(name), _CANONICAL.get(name.strip().lower()))
        for name in spellings
    }
    listed = f"Found: {', '.join(map(repr, spellings))}"
    if unknown := [name for name, meant in named.items() if meant is None]:
        raise LabelError(
            f"expected names of emotions, found unknown ones: {', '.join(map(repr, unknown))}. "
            f"{listed}. Known: {', '.join(sorted({*_CANONICAL, *own}))}"
        )
    words: dict[str, str] = {}
    for name, meant in named.items():
        other = words.setdefault(str(meant), name.strip().lower())
        if other != name.strip().lower():
            raise LabelError(
                f"two labels mean {meant!r}: {other!r} and {name!r}. {listed}. "
                "Merge or rename them first"
            )
    return {name: str(meant) for name, meant in named.items()}


def label_of_number(number: int, order: str | Collection[str]) -> str:
    """Return the name of a label that is stored as a number.

    Args:
        number: Number in the data set.
        order: A key of SOURCE_ORDERS, or the names from number 0 on.

    Raises:
        LabelError: The order has no such number.
    """
    names = list(SOURCE_ORDERS[order] if isinstance(order, str) else order)
    first = 1 if order == "raf-db" else 0
    if not first <= number < first + len(names):
        raise LabelError(
            f"expected a label from {first} to {first + len(names) - 1} "
            f"({', '.join(names)}), got {number}"
        )
    return names[number - first]
