"""Differences between two bundles, as they matter to the car that runs them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

from fer_edge.bundle import Bundle, Variant
from fer_edge.shown import printable, shown

_MOST_CHARACTERS = 200
_PARITY = ("agreement", "accuracy", "accuracy_change", "ece_change", "max_abs_dp")
_PROVENANCE = (
    "checkpoint_sha256", "network_sha256", "int8_sha256", "backbone", "recipe", "seed", "data",
    "licences",
)  # fmt: skip


@dataclass(frozen=True)
class Change:
    """One value that differs.

    Attributes:
        what: Name of the value, as in ``crop.margin`` or ``openvino/bf16: agreement``.
        old: JSON value in the old bundle; None if it has none.
        new: JSON value in the new bundle; None if it has none.
    """

    what: str
    old: Any
    new: Any

    def as_dict(self) -> dict[str, Any]:
        """Return the attributes as plain values."""
        return asdict(self)

    def __str__(self) -> str:
        return f"{printable(self.what)}: {_short(self.old)} -> {_short(self.new)}"


def changes(old: Bundle, new: Bundle) -> list[Change]:
    """List what differs between two bundles.

    Names, versions and dates of the bundles are not compared: they change no answer.

    Args:
        old: Bundle that runs today.
        new: Bundle that is to replace it.

    Returns:
        Changes in this order: answers, variants, size, origin.
    """
    values = [
        *_paired(_answers(old), _answers(new)),
        ("variants", [v.name for v in old.variants], [v.name for v in new.variants]),
        *_variants(old, new),
        ("size in bytes", _size(old.variants), _size(new.variants)),
        *_paired(_origin(old), _origin(new)),
    ]
    return [Change(*value) for value in values if value[1] != value[2]]


def _answers(bundle: Bundle) -> dict[str, Any]:
    """Return what decides the answers of every variant."""
    return {
        "labels": list(bundle.labels),
        **{f"crop.{key}": value for key, value in bundle.crop.as_dict().items()},
        "temperature": bundle.temperature,
        "recalibration": bundle.recalibration and bundle.recalibration.temperature,
        "abstain_below": bundle.abstain_below,
        "familiarity": bundle.familiarity and asdict(bundle.familiarity),
        "embedding_dim": bundle.embedding_dim,
    }


def _origin(bundle: Bundle) -> dict[str, Any]:
    return {key: bundle.provenance.get(key) for key in _PROVENANCE}


def _variants(old: Bundle, new: Bundle) -> Iterator[tuple[str, Any, Any]]:
    before = {variant.name: variant for variant in old.variants}
    for variant in new.variants:
        if variant.name in before:
            facts = _facts(before[variant.name]), _facts(variant)
            yield from (
                (f"{variant.name}: {what}", one, other) for what, one, other in _paired(*facts)
            )


def _facts(variant: Variant) -> dict[str, Any]:
    parity, speed = variant.parity, variant.speed
    return {
        "entry": variant.entry,
        "files": {file.path: file.sha256[:12] for file in variant.files},
        "size in bytes": _size((variant,)),
        "needs": dict(variant.needs),
        "batch": dict(variant.batch),
        "tools": dict(variant.tools),
        **{key: None if parity is None else getattr(parity, key) for key in _PARITY},
        **_verdict(variant),
        "verified on": None if parity is None else asdict(parity.faces),
        "allowed_drop": None if parity is None else parity.allowed_drop,
        "warning": variant.warning,
        "batch_1_p50_ms": None if speed is None else speed.batch_1_p50_ms,
    }


def _verdict(variant: Variant) -> dict[str, Any]:
    judgement = variant.parity and variant.parity.judgement
    kept = (
        [c.value for c in judgement.checks if c.name == "answered_agreement"] if judgement else []
    )
    return {
        "verdict": judgement.verdict if judgement else None,
        "compared with": judgement.reference if judgement else None,
        "answered_agreement": kept[0] if kept else None,
    }


def _size(variants: tuple[Variant, ...]) -> int:
    return sum(file.bytes for file in {file for variant in variants for file in variant.files})


def _paired(old: dict[str, Any], new: dict[str, Any]) -> Iterator[tuple[str, Any, Any]]:
    return ((key, old[key], new[key]) for key in old)


def _short(value: Any) -> str:
    if value is None:
        return "none"
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, str):
        return printable(value[:_MOST_CHARACTERS])
    if isinstance(value, list) and all(isinstance(item, str) for item in value):
        return printable(", ".join(value)[: 5 * _MOST_CHARACTERS])
    return shown(value)
