"""Checkpoint that a bundle was made from, as its provenance records it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fer_edge.bundle import Bundle
from fer_edge.converters.pipeline.own_int8 import INT8
from fer_edge.errors import BundleError
from fer_edge.shipped import MODELS
from fer_edge.training.checkpoint import Checkpoint, load_checkpoint

_WEIGHTS, _NETWORK, _OWN_INT8 = "checkpoint_sha256", "network_sha256", "int8_sha256"


def origin(source: Checkpoint, existing: Bundle | None) -> dict[str, Any]:
    """Return the hashes that a bundle records of its checkpoint.

    A checkpoint without int8 weights may extend a bundle that has some: their hash stays.
    """
    hashes = _hashes(source)
    if hashes[_OWN_INT8] is None and existing is not None:
        hashes[_OWN_INT8] = _recorded(existing).get(_OWN_INT8)
    return hashes


def check_origin(bundle: Bundle, source: Checkpoint) -> None:
    """Raise BundleError if a bundle was made from another checkpoint, or if nothing can tell."""
    ours, recorded = _hashes(source), _recorded(bundle)
    other_facts = (
        bundle.provenance.get(_WEIGHTS) != source.sha256
        or bundle.provenance.get("backbone") != source.spec.backbone
        or bundle.labels != source.spec.labels
        or bundle.crop.size_px != source.spec.input.size_px
        or bundle.temperature != source.temperature
        or bundle.abstain_below != source.abstain_below
    )
    if not other_facts and not recorded:
        raise BundleError(
            f"{bundle.path} was written by an earlier version, which recorded too little to tell "
            "whether this is its checkpoint. Choose another name, or remove it first"
        )
    theirs, own = recorded.get(_OWN_INT8), ours[_OWN_INT8]
    other_int8 = (
        None not in (theirs, own)
        and theirs != own
        and any(variant.precision == INT8 for variant in bundle.variants)
    )
    if other_facts or recorded[_NETWORK] != ours[_NETWORK] or other_int8:
        raise BundleError(
            f"{bundle.path} was made from another checkpoint. Choose another name, or remove it "
            "first"
        )


def _hashes(source: Checkpoint) -> dict[str, Any]:
    return {
        _WEIGHTS: source.sha256,
        _NETWORK: source.network_sha256,
        _OWN_INT8: None if source.int8 is None else source.int8.sha256,
    }


def _recorded(bundle: Bundle) -> Mapping[str, Any]:
    """Return the hashes that a bundle records; empty if it records none.

    The bundles of shipped models record none. Those of the shipped checkpoints take their place.
    """
    if _NETWORK in bundle.provenance:
        return bundle.provenance
    for shipped in map(load_checkpoint, MODELS):
        if shipped.sha256 == bundle.provenance.get(_WEIGHTS):
            return _hashes(shipped)
    return {}
