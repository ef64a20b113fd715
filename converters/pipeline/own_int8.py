"""Use of a checkpoint's own int8 network in a conversion."""

from __future__ import annotations

from collections.abc import Sequence

from fer_edge.backends.base import backend
from fer_edge.training.checkpoint import Checkpoint

INT8 = "int8"


def own_int8(source: Checkpoint, requested: list[tuple[str, str]]) -> Checkpoint | None:
    """Return the checkpoint's int8 network, if it has one and int8 is requested.

    Args:
        source: Checkpoint, quantised or not.
        requested: Targets with precisions.
    """
    if source.int8 is None or INT8 not in {precision for _, precision in requested}:
        return None
    return source.quantised()


def is_calibrated(target: str, precision: str, own: bool) -> bool:
    """Return True if a variant needs faces for calibration.

    Args:
        target: Name of the target.
        precision: Name of the precision.
        own: The variant is the checkpoint's own int8 network.
    """
    facts = backend(target).FACTS
    return precision in facts.quantised and (facts.calibrates_own_int8 or not own)


def needs_faces(source: Checkpoint, requested: Sequence[tuple[str, str]]) -> bool:
    """Return True if one of the targets with precisions needs faces for calibration."""
    has_own = source.int8 is not None
    return any(
        is_calibrated(target, precision, has_own and precision == INT8)
        for target, precision in requested
    )


def without_rivals(source: Checkpoint, requested: list[tuple[str, str]]) -> list[tuple[str, str]]:
    """Leave out precisions that would quantise again what the checkpoint has in int8."""
    if source.int8 is None:
        return requested
    return [
        (target, precision)
        for target, precision in requested
        if precision == INT8 or precision not in backend(target).FACTS.quantised
    ]
