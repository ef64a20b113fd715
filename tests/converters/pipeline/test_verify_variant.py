"""Reports of variants: time, batches, and int8 engines against each other."""

from __future__ import annotations

import numpy as np
import pytest

from fer_edge.backends.base import Batch, Outputs
from fer_edge.bundle import Variant, listed
from fer_edge.converters.base import Artifact
from fer_edge.converters.pipeline import verify_variant as module
from fer_edge.converters.pipeline.build_variant import BuiltVariant
from fer_edge.converters.pipeline.face_samples import FaceSamples
from fer_edge.converters.pipeline.verify_variant import (
    ParityCheck,
    between_engines,
    verify_variant,
)
from fer_edge.labels import EMOTIONS
from fer_edge.verdict import UNDECIDED


class Pixels:
    """Session that answers from a face's first pixels."""

    def run(self, batch: Batch) -> Outputs:
        pixels = batch.reshape(len(batch), -1)[:, :7].astype(np.float32) + 1
        return pixels / pixels.sum(1, keepdims=True), pixels[:, :4].copy()

    def close(self) -> None:
        pass


class FirstRepeated(Pixels):
    """Session that gives every face of a batch the answer of the first."""

    def run(self, batch: Batch) -> Outputs:
        probabilities, embeddings = super().run(batch)
        return np.repeat(probabilities[:1], len(batch), 0), embeddings


class Turned(Pixels):
    """Session that decides otherwise on one face."""

    def __init__(self, face: Batch) -> None:
        self.face = face

    def run(self, batch: Batch) -> Outputs:
        probabilities, embeddings = super().run(batch)
        if np.array_equal(batch[0], self.face):
            probabilities = np.roll(probabilities, 1, axis=1)
        return probabilities, embeddings


@pytest.fixture(scope="module")
def images() -> Batch:
    return np.random.default_rng(0).integers(0, 256, (64, 8, 8, 3), np.uint8)


def test_answers_that_change_with_the_batch_fail_the_gate_and_do_not_end_the_conversion(
    images: Batch,
) -> None:
    """OpenVINO's int8 graphs do: the variant is refused with its figures, the others stay."""
    reference = Pixels().run(images)
    faces = FaceSamples(images, [EMOTIONS[0]] * len(images), "noise", "")
    variant = Variant("fake", "fp32", "a", (listed("a", b""),))
    artifact = Artifact("a", {"a": b""}, {})
    candidate = BuiltVariant(variant, artifact, FirstRepeated())
    check = ParityCheck(reference, faces, faces, EMOTIONS)
    judged = verify_variant(candidate, check, lambda text: None)
    assert any("change with the batch size, at 2 by up to" in why for why in judged.parity.failures)
    assert judged.parity.batch_sizes == ()


def test_a_slow_chip_is_judged_on_the_faces_that_it_answers_in_time(images: Batch) -> None:
    faces = FaceSamples(
        images, [EMOTIONS[i % 7] for i in range(64)], "noise", "a" * 64, ("b",) * 64
    )
    check = ParityCheck(Pixels().run(images), faces, faces, EMOTIONS, budget_s=0.0)
    variant = Variant("fake", "int8", "a", (listed("a", b""),))
    built = BuiltVariant(variant, Artifact("a", {"a": b""}, {}), Pixels(), "a simulator")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "MIN_GATE_FACES", 40)
        report = verify_variant(built, check, lambda text: None).parity
    assert report is not None
    assert report.faces.faces == 40
    assert report.faces.sha256 == faces.first(40).sha256 != faces.sha256
    assert report.verdict == UNDECIDED
    assert report.failures == ()


def test_int8_engines_are_compared_with_each_other(images: Batch) -> None:
    reference = Pixels().run(images)
    faces = FaceSamples(images, [EMOTIONS[i % 7] for i in range(64)], "noise", "", ("",) * 64)
    check = ParityCheck(reference, faces, faces, EMOTIONS)

    for target, session in (("onnxruntime", Pixels()), ("openvino", Turned(images[0]))):
        variant = Variant(target, "int8", "a", (listed("a", b""),))
        built = BuiltVariant(variant, Artifact("a", {"a": b""}, {}), session, "a stand-in")
        verify_variant(built, check, lambda text: None)
    (sentence,) = between_engines(check)
    assert "onnxruntime/int8 decides as openvino/int8 on 98.44% of 64 faces" in sentence


@pytest.mark.parametrize(("target", "recorded"), [("onnxruntime", False), ("qnn", True)])
def test_faces_that_calibrated_an_own_int8_network_are_recorded(
    images: Batch, target: str, recorded: bool
) -> None:
    """Qualcomm's int8 measures the ranges of what the network keeps in float."""
    faces = FaceSamples(images, [EMOTIONS[i % 7] for i in range(64)], "noise", "", ("",) * 64)
    check = ParityCheck(Pixels().run(images), faces, faces, EMOTIONS, quantised=True)
    variant = Variant(target, "int8", "a", (listed("a", b""),))
    built = BuiltVariant(variant, Artifact("a", {"a": b""}, {}), Pixels(), "a stand-in")
    report = verify_variant(built, check, lambda text: None).parity
    assert report is not None
    assert (report.calibration == faces.record) == recorded
    assert (report.calibration is None) != recorded
