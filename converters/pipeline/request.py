"""Request of a conversion, checked before minutes of work depend on it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeGuard

from fer_edge.converters.base import converter
from fer_edge.converters.base import targets as known_targets
from fer_edge.errors import InputError, TargetError
from fer_edge.shown import shown

ALL, AUTO = "all", "auto"
"""Precisions for every one that a target has. ``all`` keeps each variant that passes its gate;
``auto`` keeps the Pareto front of latency and agreement, and the fp32 of each target."""

_MOST_FACES = 65_536
"""Largest batch to build for."""


def check_lists(**arguments: object) -> None:
    """Check that arguments are lists, tuples or the like of texts.

    Raises:
        InputError: One is a single text, None or something else.
    """
    for name, value in arguments.items():
        if not _is_list(value) or not all(isinstance(item, str) for item in value):
            raise InputError(
                f"expected a list of texts as {name}, got {shown(value)}. Put a single one in "
                "brackets"
            )


def _is_list(value: object) -> TypeGuard[Sequence[object]]:
    return isinstance(value, Sequence) and not isinstance(value, str | bytes)


def requested_variants(targets: Sequence[str], precisions: Sequence[str]) -> list[tuple[str, str]]:
    """Pair targets with precisions.

    Raises:
        TargetError: No target has a precision.
        MissingDependencyError: The converter of a named target is not installed.
    """
    requested = []
    everything = ALL in targets
    if everything:
        targets = known_targets()
    for target in dict.fromkeys(targets):
        offered = converter(target).PRECISIONS
        check_ready = getattr(converter(target), "check_ready", None)
        if check_ready is not None and not everything:
            check_ready()
        chosen = (
            offered if {ALL, AUTO} & set(precisions) else [p for p in precisions if p in offered]
        )
        requested += [(target, precision) for precision in dict.fromkeys(chosen)]
    known = {ALL, AUTO} | {precision for _, precision in requested}
    missing = [precision for precision in precisions if precision not in known]
    if missing or not requested:
        offers = "; ".join(f"{t}: {', '.join(converter(t).PRECISIONS)}" for t in targets)
        raise TargetError(
            f"none of the targets has the precision {', '.join(missing)}. Offered: {offers}"
        )
    return requested


def check_chips(gpus: Sequence[str], socs: Sequence[str]) -> None:
    """Check the names of chips to compile for, whatever the targets are.

    Raises:
        TargetError: No target compiles for a chip of this name.
    """
    for target in known_targets() if gpus or socs else ():
        check = getattr(converter(target), "check_chips", None)
        if check is not None:
            check(gpus, socs)


def check_batch_sizes(sizes: Sequence[int]) -> None:
    """Check the batch sizes to build for, whatever the targets are.

    Raises:
        InputError: They are no list, there is none, or one is out of range.
    """
    if not _is_list(sizes):
        raise InputError(f"expected a list of batch sizes such as [1, 8], got {shown(sizes)}")
    if not sizes or not all(type(size) is int and 1 <= size <= _MOST_FACES for size in sizes):
        raise InputError(
            f"expected batch sizes of 1 to {_MOST_FACES:,}, at least one, got "
            f"{', '.join(map(shown, sizes)) or 'none'}. Give others with --batch-sizes"
        )
