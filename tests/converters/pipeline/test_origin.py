"""A bundle is extended from its own checkpoint alone."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from fer_edge import open_bundle
from fer_edge.bundle import Bundle
from fer_edge.converters.pipeline.origin import check_origin, origin
from fer_edge.errors import BundleError
from fer_edge.shipped import MODELS, bundle_path
from fer_edge.training.checkpoint import Checkpoint, load_checkpoint
from fer_edge.training.int8_weights import Int8Weights
from fer_edge.training.models.network import ModelSpec

OTHER = "made from another checkpoint. Choose another name"


def with_spec(source: Checkpoint, change: Callable[[ModelSpec], ModelSpec]) -> Checkpoint:
    """The same weights under another specification."""

    class Changed(type(source.model)):  # type: ignore[misc]
        spec = change(source.spec)

        def __init__(self) -> None:
            torch.nn.Module.__init__(self)
            self.embedding_dim = source.model.embedding_dim

    return replace(source, model=Changed())


def of(source: Checkpoint, bundle: Bundle, existing: Bundle | None = None) -> Bundle:
    """A bundle as it would be made from a checkpoint, with the variants of another."""
    return replace(bundle, provenance={**bundle.provenance, **origin(source, existing)})


@pytest.fixture(scope="module")
def weights() -> Int8Weights:
    return Int8Weights({"a": 0.5}, {"w": torch.zeros(2, dtype=torch.int8)})


CHANGES: dict[str, Callable[[ModelSpec], ModelSpec]] = {
    "mean": lambda spec: replace(spec, input=replace(spec.input, mean=(0.2,))),
    "std": lambda spec: replace(spec, input=replace(spec.input, std=(0.7,))),
    "colour": lambda spec: replace(
        spec, input=replace(spec.input, colour="rgb", mean=(0.5,) * 3, std=(0.5,) * 3)
    ),
    "backbone_args": lambda spec: replace(spec, backbone_args={"output_stride": 16}),
}


@pytest.mark.parametrize("name", [*MODELS, "tiny"])
@pytest.mark.parametrize("change", CHANGES)
def test_the_same_weights_with_another_specification_are_refused(
    checkpoint: Path, bundle: Path, name: str, change: str
) -> None:
    source = load_checkpoint(checkpoint if name == "tiny" else name)
    existing = open_bundle(bundle if name == "tiny" else bundle_path(name))
    check_origin(existing, source)
    with pytest.raises(BundleError, match=OTHER):
        check_origin(existing, with_spec(source, CHANGES[change]))


@pytest.mark.parametrize(
    "other",
    [
        Int8Weights({"a": 0.25}, {"w": torch.zeros(2, dtype=torch.int8)}),
        Int8Weights({"a": 0.5}, {"w": torch.ones(2, dtype=torch.int8)}),
    ],
    ids=["scales", "weights"],
)
def test_other_int8_weights_are_refused_if_the_bundle_has_int8(
    checkpoint: Path, bundle: Path, weights: Int8Weights, other: Int8Weights
) -> None:
    source = replace(load_checkpoint(checkpoint), int8=weights)
    made, another = of(source, open_bundle(bundle)), replace(source, int8=other)
    check_origin(made, source)
    with pytest.raises(BundleError, match=OTHER):
        check_origin(made, another)
    in_float = replace(made, variants=(made.variant("onnxruntime", "fp32"),))
    check_origin(in_float, another)
    assert origin(another, in_float)["int8_sha256"] == other.sha256


def test_other_int8_weights_of_the_fast_model_are_refused(weights: Int8Weights) -> None:
    """Its bundle is older than the hashes."""
    with pytest.raises(BundleError, match=OTHER):
        check_origin(
            open_bundle(bundle_path("fast")), replace(load_checkpoint("fast"), int8=weights)
        )


def test_a_bundle_may_be_extended_before_and_after_the_checkpoint_is_quantised(
    checkpoint: Path, bundle: Path, weights: Int8Weights
) -> None:
    before, existing = load_checkpoint(checkpoint), open_bundle(bundle)
    after = replace(before, int8=weights)
    assert existing.provenance["int8_sha256"] is None
    check_origin(existing, after)
    extended = of(after, existing, existing)
    check_origin(extended, before)
    again = of(before, existing, extended)
    assert again.provenance["int8_sha256"] == weights.sha256
    check_origin(again, after)


@pytest.mark.parametrize("value", [None, [], {}, 3])
def test_a_hash_of_another_type_is_another_checkpoint(
    checkpoint: Path, bundle: Path, weights: Int8Weights, value: Any
) -> None:
    source, existing = replace(load_checkpoint(checkpoint), int8=weights), open_bundle(bundle)
    for key in ("checkpoint_sha256", "network_sha256"):
        odd = replace(existing, provenance={**existing.provenance, key: value})
        with pytest.raises(BundleError, match=OTHER):
            check_origin(odd, source)


def test_an_older_bundle_that_cannot_tell_is_refused(checkpoint: Path, bundle: Path) -> None:
    made = open_bundle(bundle)
    facts = {key: value for key, value in made.provenance.items() if key != "network_sha256"}
    with pytest.raises(BundleError, match=r"too little to tell.*Choose another name"):
        check_origin(replace(made, provenance=facts), load_checkpoint(checkpoint))
