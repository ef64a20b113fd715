"""Contract of each converter with its backend, for every target and precision."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fer_edge.backends import base as backends
from fer_edge.backends.base import Options, Outputs, Session
from fer_edge.bundle import Variant, listed
from fer_edge.converters.base import Artifact, ConversionInput, converter, targets
from fer_edge.converters.pipeline.face_samples import FaceSamples
from fer_edge.converters.pipeline.parity import BATCHES, compare, run_all
from fer_edge.errors import TargetError
from fer_edge.labels import EMOTIONS
from fer_edge.training.checkpoint import load_checkpoint
from fer_edge.training.deploy import DeployModule

PAIRS = [(target, precision) for target in targets() for precision in converter(target).PRECISIONS]
SAME_DP = {"fp32": 1e-5}
"""By how much one face's probabilities may differ from batch to batch, where not 0.02."""


SIMULATED_FACES = 84
"""Faces for an engine whose simulator stands in for its chip: each takes up to 0.1 s."""


@dataclass(frozen=True)
class Built:
    variant: Variant
    artifact: Artifact
    session: Session
    outputs: Outputs
    faces: FaceSamples

    @property
    def same_dp(self) -> float:
        return SAME_DP.get(self.variant.precision, 0.02)


def opened(target: str, precision: str, artifact: Artifact) -> tuple[Variant, Session]:
    """The variant on its engine; where that cannot run, on what stands in for it."""
    files = tuple(listed(path, data) for path, data in artifact.files.items())
    variant = Variant(target, precision, artifact.entry, files, needs=artifact.needs)
    engine = backends.backend(target)
    if reason := engine.preflight(variant, Options()):
        if artifact.reference_session is None:
            pytest.skip(f"{variant.name} cannot run here: {reason}")
        return variant, artifact.reference_session()
    return variant, engine.load(variant, artifact.files, Options(threads=2))


def faces_for(target: str, faces: FaceSamples) -> FaceSamples:
    """All faces; of a simulator, the first few."""
    simulated = backends.simulator(target, Options()) is not None
    return faces.first(SIMULATED_FACES) if simulated else faces


def first(outputs: Outputs, faces: FaceSamples) -> Outputs:
    """The outputs for the first faces."""
    return outputs[0][: len(faces.images)], outputs[1][: len(faces.images)]


@pytest.fixture(scope="module", params=PAIRS, ids="/".join)
def built(
    request: pytest.FixtureRequest,
    checkpoint: Path,
    graph: bytes,
    composites: FaceSamples,
    calibration: FaceSamples,
) -> Iterator[Built]:
    target, precision = request.param
    source = ConversionInput(load_checkpoint(checkpoint), graph, calibration.images[:70])
    artifact = converter(target).build(source, precision, {})
    variant, session = opened(target, precision, artifact)
    faces = faces_for(target, composites)
    yield Built(variant, artifact, session, run_all(session, faces.images), faces)
    session.close()


def test_the_artifact_is_what_a_bundle_takes(built: Built) -> None:
    assert built.artifact.entry in built.artifact.files
    for path, data in built.artifact.files.items():
        assert re.fullmatch(r"[a-z0-9-]+/[a-z0-9.]+", path)
        assert data
    assert built.variant.target in built.artifact.tools
    assert all(re.match(r"\d+\.\d+", version) for version in built.artifact.tools.values())


def test_outputs_are_probabilities_and_an_embedding(built: Built, expected: Outputs) -> None:
    for ours, wanted in zip(built.outputs, first(expected, built.faces), strict=True):
        assert ours.dtype == np.float32
        assert ours.shape == wanted.shape
        assert np.isfinite(ours).all()
    assert built.outputs[0].sum(1) == pytest.approx(1, abs=2e-2)
    assert built.outputs[0].min() >= 0


def test_answers_differ_between_faces(built: Built) -> None:
    """Without this, all the agreement below would prove nothing."""
    probabilities = built.outputs[0]
    assert set(probabilities.argmax(1)) == set(range(len(EMOTIONS)))
    assert probabilities.std(0).min() > 0.1


def test_it_agrees_with_torch(built: Built, expected: Outputs) -> None:
    faces = built.faces
    report = compare(first(expected, faces), built.outputs, faces.truth, EMOTIONS)
    if built.variant.precision == "fp32":
        assert report.max_abs_dp <= 1e-4
        assert report.embedding_cosine_min > 0.99999
    assert report.agreement >= 0.95
    assert abs(report.accuracy_change) <= 0.03
    assert report.embedding_cosine_min > 0.9


@pytest.mark.parametrize("count", BATCHES)
def test_every_batch_size_gives_the_same_answers(built: Built, count: int) -> None:
    images = built.faces.images
    for start in (0, min(100, len(images) - max(BATCHES))):
        probabilities, embedding = built.session.run(images[start : start + count])
        assert (len(probabilities), len(embedding)) == (count, count)
        wanted = built.outputs[0][start : start + count]
        assert np.abs(probabilities - wanted).max() <= built.same_dp


def test_the_caller_owns_the_outputs(built: Built) -> None:
    before = built.session.run(built.faces.images[:5])
    kept = [output.copy() for output in before]
    built.session.run(built.faces.images[-5:])
    for output, copy in zip(before, kept, strict=True):
        assert np.array_equal(output, copy)
        assert output.flags.writeable


def test_four_threads_get_the_answers_to_their_own_faces(built: Built) -> None:
    images = built.faces.images

    def work(thread: int) -> float:
        worst = 0.0
        for i in range(12):
            start = (84 * thread + 7 * i) % (len(images) - 36)
            count = 1 + (thread + i) % 5
            probabilities, _ = built.session.run(images[start : start + count])
            wanted = built.outputs[0][start : start + count]
            worst = max(worst, float(np.abs(probabilities - wanted).max()))
        return worst

    with ThreadPoolExecutor(4) as pool:
        assert max(pool.map(work, range(4))) <= built.same_dp


def test_nothing_of_this_machine_is_in_the_files(built: Built) -> None:
    root = Path(__file__).parents[2]
    traces = [b"Traceback", b'File "', b"site-packages", b"/tmp/"]
    traces += [str(folder).encode() for folder in (root, Path.home())]
    for path, data in built.artifact.files.items():
        assert [trace for trace in traces if trace in data] == [], path


@pytest.mark.slow
@pytest.mark.parametrize("target", targets())
def test_every_recipe_can_be_built_and_keeps_most_answers(
    target: str,
    checkpoint: Path,
    graph: bytes,
    calibration: FaceSamples,
    expected: Outputs,
    composites: FaceSamples,
) -> None:
    source = ConversionInput(load_checkpoint(checkpoint), graph, calibration.images[:70])
    for precision in converter(target).PRECISIONS:
        for recipe in converter(target).recipes(source, precision):
            artifact = converter(target).build(source, precision, recipe)
            _, session = opened(target, precision, artifact)
            with contextlib.closing(session):
                faces = faces_for(target, composites)
                answers = run_all(session, faces.images)
                report = compare(first(expected, faces), answers, faces.truth, EMOTIONS)
            assert report.agreement >= 0.9, recipe


@pytest.mark.parametrize("target", targets())
def test_int8_keeps_most_answers_of_a_transformer(target: str, small: Callable[[str], Any]) -> None:
    """Attention has products of two activations with a softmax between them.

    Convolutional networks have none. onnxruntime once ran them rounded, and agreed on 16 % of the
    faces.
    """
    vit = small("vit_mae, small")
    source = ConversionInput(vit.network, vit.graph, vit.calibration.images[:70])
    recipe = next(iter(converter(target).recipes(source, "int8")), {})
    _, session = opened(target, "int8", converter(target).build(source, "int8", recipe))
    faces = faces_for(target, vit.gate)
    with contextlib.closing(session):
        answers = run_all(session, faces.images)
    expected = DeployModule(vit.network).run(faces.images)
    report = compare(expected, answers, faces.truth, EMOTIONS)
    assert report.agreement >= 0.8, recipe


def test_every_target_that_is_converted_to_has_a_backend() -> None:
    assert targets()
    assert set(targets()) <= set(backends.targets())


@pytest.mark.parametrize("name", ["tensorflow", "base", "convert", "speed", "__init__", ""])
def test_an_unknown_target_is_named_with_those_there_are(name: str) -> None:
    with pytest.raises(TargetError, match="onnxruntime"):
        converter(name)


@pytest.mark.parametrize("target", targets())
def test_the_most_accurate_precision_comes_first(target: str) -> None:
    precisions = converter(target).PRECISIONS
    assert precisions[0] == ("fp32" if "fp32" in precisions else "fp16")  # the HTP has no fp32
