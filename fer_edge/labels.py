"""Canonical emotion names, and how foreign sources spell and order them.

Labels are matched by name, never by index. The orders below exist so that sources which store
bare integers (a CSV column, a folder called ``3``) can be turned into names once, at the door.
"""

from __future__ import annotations

from collections.abc import Iterable

from fer_edge.errors import LabelError

EMOTIONS: tuple[str, ...] = (
    "anger",
    "disgust",
    "fear",
    "happiness",
    "neutral",
    "sadness",
    "surprise",
)
"""The seven canonical names, alphabetical."""

EMOTIONS_8: tuple[str, ...] = tuple(sorted((*EMOTIONS, "contempt")))
"""The seven and contempt, alphabetical."""

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


def canonical(name: str) -> str:
    """The canonical name for a label as some source spells it ("Happy" -> "happiness").

    Raises LabelError for a name that is none of the known spellings.
    """
    found = _CANONICAL.get(str(name).strip().lower())
    if found is None:
        raise LabelError(
            f"expected the name of an emotion, got {name!r}. "
            f"Known names: {', '.join(sorted(_CANONICAL))}"
        )
    return found


def canonical_all(names: Iterable[str]) -> tuple[str, ...]:
    """Canonical names for a whole label list, in the list's own order.

    Raises LabelError, naming every offender at once, if a name is unknown or two names mean the
    same emotion.
    """
    names = list(names)
    unknown = [name for name in names if name.strip().lower() not in _CANONICAL]
    if unknown:
        raise LabelError(
            f"expected emotion names, found unknown ones: {', '.join(map(repr, unknown))}. "
            f"All found: {', '.join(map(repr, names))}. "
            f"Known names: {', '.join(sorted(_CANONICAL))}"
        )
    mapped = tuple(canonical(name) for name in names)
    if len(set(mapped)) != len(mapped):
        raise LabelError(
            f"two labels mean the same emotion: {', '.join(map(repr, names))} "
            f"became {', '.join(mapped)}. Merge or rename them first"
        )
    return mapped
