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
from fer_edge.converters.pipeline.face_samples import FaceSamples
from fer_edge.converters.pipeline.gate import Bar, ParityLimits, failures, fp32_failures, judge
from fer_edge.converters.pipeline.parity import BATCHES, compare, prove_batches, run_all
from fer_edge.errors import ConversionError, EngineError
from fer_edge.labels import EMOTIONS
from fer_edge.parity import Comparison

LIMITS = ParityLimits()


def complaints(
    reference: Outputs, outputs: Outputs, faces: FaceSamples, precision: str
) -> list[str]:
    judgement = judge(reference, outputs, faces.truth, Bar(precision, EMOTIONS))
    figures = compare(reference, outputs, faces.truth, EMOTIONS)
    return failures(figures, judgement, precision, LIMITS)


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
    outputs = run_onnx(graph, gate)
    assert complaints(reference, outputs, gate, "fp32") == []
    assert complaints(reference, outputs, gate, "int8") == []


@pytest.mark.parametrize("which", [0, -1], ids=["smallest", "largest"])
def test_one_wrong_weight_fails_fp32_and_is_told_in_figures(
    graph: bytes, gate: FaceSamples, reference: Outputs, which: int
) -> None:
    outputs = run_onnx(damaged(graph, which), gate)
    report = compare(reference, outputs, gate.truth, EMOTIONS)
    sentence, *_ = fp32_failures(report, LIMITS)
    assert f"{np.abs(outputs[0] - reference[0]).max():.2e}" in sentence
    assert "1e-04 is allowed" in sentence


def test_classes_that_changed_places_fail_every_precision(
    gate: FaceSamples, reference: Outputs
) -> None:
    turned = (np.roll(reference[0], 1, axis=1), reference[1])
    report = compare(reference, turned, gate.truth, EMOTIONS)
    assert report.agreement < 0.05
    for precision in ("fp32", "fp16", "bf16", "int8"):
        assert complaints(reference, turned, gate, precision)


@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_answers_that_are_not_numbers_fail(
    gate: FaceSamples, reference: Outputs, precision: str
) -> None:
    broken = reference[0].copy()
    broken[7] = np.nan
    assert complaints(reference, (broken, reference[1]), gate, precision)


def test_an_embedding_of_something_else_fails_fp32(gate: FaceSamples, reference: Outputs) -> None:
    report = compare(reference, (reference[0], -reference[1]), gate.truth, EMOTIONS)
    assert report.embedding_cosine_min == pytest.approx(-1, abs=1e-4)
    assert fp32_failures(report, LIMITS)


@pytest.mark.parametrize(
    ("key", "limit", "worse"),
    [
        ("max_abs_dp", LIMITS.fp32_max_abs_dp, np.inf),
        ("embedding_cosine_min", LIMITS.fp32_embedding_cosine, -np.inf),
    ],
)
def test_a_limit_of_fp32_is_still_good_and_the_next_number_is_not(
    key: str, limit: float, worse: float
) -> None:
    same = Comparison(0.0, 0.0, 1.0, 0.7, 0.7, 0.0, 0.0, 0.0, {}, 1.0)
    for good in (limit, float(np.nextafter(limit, -worse))):
        assert fp32_failures(replace(same, **{key: good}), LIMITS) == []
    for bad in (float(np.nextafter(limit, worse)), float("nan")):
        assert len(fp32_failures(replace(same, **{key: bad}), LIMITS)) == 1


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


@pytest.mark.parametrize("length", [0, 1e-40, 1e-7, 1, 1e20, 3e38])
def test_equal_embeddings_have_the_cosine_1_at_any_length(length: float) -> None:
    shares = np.full((2, 2), 0.5, np.float32)
    embedding = np.array([[length, length / 2], [0, length]], np.float32)
    same = compare((shares, embedding), (shares, embedding), ["anger", "fear"], ("anger", "fear"))
    assert same.embedding_cosine_min == pytest.approx(1, abs=1e-12)


def test_an_embedding_of_zeros_is_far_from_one_of_numbers_and_nan_from_all() -> None:
    shares, labels = np.full((1, 2), 0.5, np.float32), ("anger", "fear")
    numbers, zeros, nan = (np.full((1, 2), x, np.float32) for x in (1e-7, 0, np.nan))
    for one, other in ((numbers, zeros), (zeros, numbers), (zeros, nan), (numbers, nan)):
        figures = compare((shares, one), (shares, other), ["anger"], labels)
        assert fp32_failures(figures, LIMITS)


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


def exchanges_the_embeddings(batch: Batch, outputs: Outputs) -> Outputs:
    return outputs[0], outputs[1][::-1].copy()


def mixes_the_embeddings(batch: Batch, outputs: Outputs) -> Outputs:
    return outputs[0], (outputs[1] + outputs[1].mean(0, keepdims=True)) / 2


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
        exchanges_the_embeddings,
        mixes_the_embeddings,
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


def one_face_at_a_boundary(batch: Batch, outputs: Outputs) -> Outputs:
    if len(batch) < 32:
        return outputs
    moved = outputs[0].copy()
    moved[3] = np.roll(moved[3], 1)
    return moved, outputs[1]


def test_int8_may_round_one_face_otherwise_in_a_batch_and_may_not_mix_faces(images: Batch) -> None:
    session = Session(one_face_at_a_boundary)
    alone = run_all(session, images)
    assert prove_batches(session, images, alone, quantised=True) == list(BATCHES)
    with pytest.raises(ConversionError, match="at 32 by up to"):
        prove_batches(session, images, alone)
    for spoil in (mixes_faces, repeats_the_first, exchanges_the_embeddings, mixes_the_embeddings):
        with pytest.raises(ConversionError, match="on average"):
            prove_batches(Session(spoil), images, alone, quantised=True)
