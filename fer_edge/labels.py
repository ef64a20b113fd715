"""Canonical emotion names, and how foreign sources spell and order them.

Labels are matched by name, never by index. The orders below exist so that sources which store
bare integers (a CSV column, a folder called ``3``) can be turned into names once, at the door.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable

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


def check_label_list(names: Iterable[str]) -> tuple[str, ...]:
    """A model's labels: canonical names, and classes of the user's own as they are spelt there.

    Raises LabelError for another spelling of a canonical name ("happy"), for a name that stands
    twice, and for one that is empty or has spaces around it.
    """
    names = tuple(names)
    listed = f"among the labels {', '.join(map(repr, names))}"
    seen: set[str] = set()
    for name in names:
        meant = _CANONICAL.get(name.strip().lower(), name)
        if meant != name:
            raise LabelError(f"expected the canonical name {meant!r} and not {name!r} {listed}")
        if not name or name != name.strip() or not name.isprintable() or len(name) > 64:
            raise LabelError(f"expected 1 to 64 characters without spaces around them {listed}")
        if name.lower() in seen:
            raise LabelError(f"{name!r} stands twice {listed}")
        seen.add(name.lower())
    return names


def label_map(found: Iterable[str], own: Collection[str] = ()) -> dict[str, str]:
    """The model's name for each spelling that one source uses.

    own: the model's labels; a class of the user's own has to be spelt exactly as there.
    Raises LabelError, listing all that was found, if a spelling is unknown or if two different
    words of one source mean the same emotion.
    """
    found = sorted(set(found))
    named = {name: name if name in own else _CANONICAL.get(name.strip().lower()) for name in found}
    listed = f"Found: {', '.join(map(repr, found))}"
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
    """What a bare number means: ``order`` is a key of SOURCE_ORDERS or the names from 0 on.

    Raises LabelError for a number that the order does not have.
    """
    names = list(SOURCE_ORDERS[order] if isinstance(order, str) else order)
    first = 1 if order == "raf-db" else 0
    if not first <= number < first + len(names):
        raise LabelError(
            f"expected a label from {first} to {first + len(names) - 1} "
            f"({', '.join(names)}), got {number}"
        )
    return names[number - first]
