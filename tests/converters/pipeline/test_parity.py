"""The gate sees damage, says how much, and judges at its limits and not near them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from fer_edge.backends import onnxruntime
from fer_edge.backends.base import Batch, Options, Outputs
from fer_edge.bundle import Variant, listed
from fer_edge.converters.base import Artifact
from fer_edge.converters.pipeline.build_variant import BuiltVariant, ParityCheck, verify_variant
from fer_edge.converters.pipeline.face_samples import FaceSamples
from fer_edge.converters.pipeline.parity import (
    BATCHES,
    ParityLimits,
    compare,
    failures,
    prove_batches,
    run_all,
)
from fer_edge.errors import ConversionError, EngineError
from fer_edge.labels import EMOTIONS
from fer_edge.parity import Comparison

LIMITS = ParityLimits()


def run_onnx(model: bytes, faces: FaceSamples) -> Outputs:
    file = listed("graph/model.onnx", model)
    variant = Variant("onnxruntime", "fp32", file.path, (file,))
    session = onnxruntime.load(variant, {file.path: model}, Options())
    return run_all(session, faces.images)


def damaged(model: bytes, which: int) -> bytes:
    """One number of one weight tensor is another; which: position among the tensors by size."""
    proto = onnx.load_from_string(model)
    weights = [w for w in proto.graph.initializer if len(w.dims) > 1]
    weight = sorted(weights, key=lambda w: np.prod(w.dims))[which]
    values = numpy_helper.to_array(weight).copy()
    values.flat[0] += 1
    weight.CopyFrom(numpy_helper.from_array(values, weight.name))
    return proto.SerializeToString()


# --- damage --------------------------------------------------------------------------------------


def test_the_exported_graph_passes(graph: bytes, gate: FaceSamples, reference: Outputs) -> None:
    report = compare(reference, run_onnx(graph, gate), gate.truth, EMOTIONS)
    assert failures(report, "fp32", LIMITS, None) == []
    assert failures(report, "int8", LIMITS, None) == []


@pytest.mark.parametrize("which", [0, -1], ids=["smallest", "largest"])
def test_one_wrong_weight_fails_fp32_and_is_told_in_figures(
    graph: bytes, gate: FaceSamples, reference: Outputs, which: int
) -> None:
    outputs = run_onnx(damaged(graph, which), gate)
    report = compare(reference, outputs, gate.truth, EMOTIONS)
    sentence, *_ = failures(report, "fp32", LIMITS, None)
    assert f"{np.abs(outputs[0] - reference[0]).max():.2e}" in sentence
    assert "1e-04 is allowed" in sentence


def test_classes_that_changed_places_fail_every_precision(
    gate: FaceSamples, reference: Outputs
) -> None:
    turned = (np.roll(reference[0], 1, axis=1), reference[1])
    report = compare(reference, turned, gate.truth, EMOTIONS)
    assert report.agreement < 0.05
    for precision in ("fp32", "fp16", "bf16", "int8"):
        assert failures(report, precision, LIMITS, None)


@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_answers_that_are_not_numbers_fail(
    gate: FaceSamples, reference: Outputs, precision: str
) -> None:
    broken = reference[0].copy()
    broken[7] = np.nan
    report = compare(reference, (broken, reference[1]), gate.truth, EMOTIONS)
    assert failures(report, precision, LIMITS, None)


def test_an_embedding_of_something_else_fails_fp32(gate: FaceSamples, reference: Outputs) -> None:
    report = compare(reference, (reference[0], -reference[1]), gate.truth, EMOTIONS)
    assert report.embedding_cosine_min == pytest.approx(-1, abs=1e-4)
    assert failures(report, "fp32", LIMITS, None)


def test_the_report_by_hand() -> None:
    before = np.array([[0.7, 0.3], [0.6, 0.4], [0.2, 0.8], [0.4, 0.6]], np.float32)
    after = np.array([[0.7, 0.3], [0.4, 0.6], [0.2, 0.8], [0.5, 0.5]], np.float32)
    embedding = np.array([[1, 0], [0, 1], [1, 1], [2, 0]], np.float32)
    turned = np.array([[1, 0], [0, 1], [1, 0], [1, 0]], np.float32)
    truth = ["anger", "anger", "fear", "fear"]
    report = compare((before, embedding), (after, turned), truth, ("anger", "fear"))
    assert report.max_abs_dp == pytest.approx(0.2)
    assert report.mean_abs_dp == pytest.approx((0.2 + 0.1) / 4)
    assert report.agreement == 0.5
    assert (report.reference_accuracy, report.accuracy) == (1.0, 0.5)
    assert report.accuracy_change == -0.5
    assert report.recall_change == {"anger": -0.5, "fear": -0.5}
    assert report.embedding_cosine_min == pytest.approx(np.sqrt(0.5))


# --- limits --------------------------------------------------------------------------------------


SAME = Comparison(0.0, 0.0, 1.0, 0.7, 0.7, 0.0, 0.0, 0.0, {}, 1.0)
"""Figures of a variant that answers exactly as its checkpoint."""


def figures(**changes: float) -> Comparison:
    return replace(SAME, **changes)


def outside(limit: float, direction: float) -> float:
    return float(np.nextafter(limit, direction))


@pytest.mark.parametrize(
    ("key", "limit", "worse", "precision"),
    [
        ("max_abs_dp", LIMITS.fp32_max_abs_dp, np.inf, "fp32"),
        ("agreement", LIMITS.agreement, -np.inf, "int8"),
        ("agreement", LIMITS.agreement, -np.inf, "bf16"),
        ("accuracy_change", -LIMITS.accuracy_drop, -np.inf, "int8"),
        ("accuracy_change", -LIMITS.accuracy_drop, -np.inf, "fp16"),
    ],
)
def test_a_limit_is_still_good_and_the_next_number_is_not(
    key: str, limit: float, worse: float, precision: str
) -> None:
    for good in (limit, outside(limit, -worse)):
        assert failures(figures(**{key: good}), precision, LIMITS, None) == []
    for bad in (outside(limit, worse), float("nan")):
        assert len(failures(figures(**{key: bad}), precision, LIMITS, None)) == 1


def test_reduced_precisions_are_held_to_decisions_not_to_probabilities() -> None:
    assert failures(figures(max_abs_dp=0.3), "int8", LIMITS, None) == []


def test_every_broken_limit_is_told_with_its_figures() -> None:
    told = failures(figures(agreement=0.9123, accuracy_change=-0.0345), "int8", LIMITS, None)
    assert len(told) == 2
    assert "91.23 %" in told[0]
    assert "98 %" in told[0]
    assert "3.45 points" in told[1]
    assert "0.50" in told[1]


def test_an_allowed_drop_replaces_both_limits_of_reduced_precisions() -> None:
    lossy = figures(agreement=0.9, accuracy_change=-0.03)
    assert failures(lossy, "int8", LIMITS, 0.03) == []
    (sentence,) = failures(lossy, "int8", LIMITS, outside(0.03, 0))
    assert "3.00 points" in sentence


def test_an_allowed_drop_may_also_be_stricter() -> None:
    assert failures(figures(accuracy_change=-0.001), "int8", LIMITS, 0.0)


def test_fp32_may_lose_nothing_whatever_is_allowed() -> None:
    assert failures(figures(max_abs_dp=0.01), "fp32", LIMITS, 0.5)


# --- batches -------------------------------------------------------------------------------------


class Session:
    """Answers from the faces' first pixels; ``spoil`` does something wrong to a batch's answers."""

    def __init__(self, spoil: Callable[[Batch, Outputs], Outputs] | None = None) -> None:
        self.spoil = spoil

    def run(self, batch: Batch) -> Outputs:
        pixels = batch.reshape(len(batch), -1)[:, :7].astype(np.float32) + 1
        outputs = (pixels / pixels.sum(1, keepdims=True), pixels[:, :4].copy())
        return self.spoil(batch, outputs) if self.spoil else outputs

    def close(self) -> None:
        pass


def mixes_faces(batch: Batch, outputs: Outputs) -> Outputs:
    probabilities = outputs[0] + outputs[0].mean(0, keepdims=True)
    return probabilities / 2, outputs[1]


def repeats_the_first(batch: Batch, outputs: Outputs) -> Outputs:
    return np.repeat(outputs[0][:1], len(batch), 0), outputs[1]


def is_static(batch: Batch, outputs: Outputs) -> Outputs:
    if len(batch) not in (32, 64):
        raise EngineError("the input has another shape than the model's")
    return outputs


def answers_one_face(batch: Batch, outputs: Outputs) -> Outputs:
    return (outputs[0][:1], outputs[1][:1]) if len(batch) < 32 else outputs


def loses_the_embedding(batch: Batch, outputs: Outputs) -> Outputs:
    return outputs[0], outputs[1] if len(batch) == 64 else outputs[1][:, :2]


def gives_no_numbers_alone(batch: Batch, outputs: Outputs) -> Outputs:
    return (outputs[0] * np.float32("nan"), outputs[1]) if len(batch) == 1 else outputs


@pytest.fixture(scope="module")
def images() -> Batch:
    return np.random.default_rng(0).integers(0, 256, (64, 8, 8, 3), np.uint8)


def test_a_sound_session_proves_every_size(images: Batch) -> None:
    session = Session()
    assert prove_batches(session, images, run_all(session, images)) == list(BATCHES)


@pytest.mark.parametrize(
    "spoil",
    [
        mixes_faces,
        repeats_the_first,
        is_static,
        answers_one_face,
        loses_the_embedding,
        gives_no_numbers_alone,
    ],
)
def test_a_session_that_minds_its_batch_is_caught(
    images: Batch, spoil: Callable[[Batch, Outputs], Outputs]
) -> None:
    session = Session(spoil)
    with pytest.raises(ConversionError, match=r"batch"):
        prove_batches(session, images, Session().run(images))


def test_the_faces_are_judged_one_at_a_time(images: Batch) -> None:
    """That is what a car runs, and an engine may have another graph for batches."""
    sizes = []

    def note(batch: Batch, outputs: Outputs) -> Outputs:
        sizes.append(len(batch))
        return outputs

    whole = Session().run(images)
    for output, wanted in zip(run_all(Session(note), images), whole, strict=True):
        assert np.array_equal(output, wanted)
    assert set(sizes) == {1}


def test_answers_that_change_with_the_batch_fail_the_gate_and_do_not_end_the_conversion(
    images: Batch,
) -> None:
    """OpenVINO's int8 graphs do: the variant is refused with its figures, the others stay."""
    reference = Session().run(images)
    faces = FaceSamples(images, [EMOTIONS[0]] * len(images), "noise", "")
    variant = Variant("fake", "fp32", "a", (listed("a", b""),))
    artifact = Artifact("a", {"a": b""}, {})
    candidate = BuiltVariant(variant, artifact, Session(repeats_the_first))
    check = ParityCheck(reference, faces, faces, EMOTIONS)
    judged = verify_variant(candidate, check, lambda text: None)
    assert any("change with the batch size, at 2 by up to" in why for why in judged.parity.failures)
    assert judged.parity.batch_sizes == ()
