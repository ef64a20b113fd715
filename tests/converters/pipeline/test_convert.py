"""A checkpoint becomes a bundle whole or not at all, and a bundle that is there is never harmed."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from click.testing import CliRunner
from onnx import numpy_helper

from fer_edge import Predictor, open_bundle
from fer_edge.backends import onnxruntime as engine
from fer_edge.backends.base import Options
from fer_edge.cli import main
from fer_edge.converters import onnxruntime as converter
from fer_edge.converters.base import Artifact, ConversionInput, QuantizationRecipe
from fer_edge.converters.pipeline import request
from fer_edge.converters.pipeline import verify_variant as module
from fer_edge.converters.pipeline.convert import convert
from fer_edge.converters.pipeline.face_samples import FaceSamples
from fer_edge.converters.pipeline.gate import ParityLimits
from fer_edge.errors import ConversionError, ParityError
from fer_edge.execution import Execution
from fer_edge.labels import EMOTIONS
from fer_edge.training.checkpoint import load_checkpoint
from fer_edge.verdict import PASSED, UNDECIDED

ALLOWED = 0.1
"""As the bundle in conftest."""


def quiet(_: str) -> None:
    pass


def content(folder: Path) -> dict[str, bytes]:
    """Every file below a folder."""
    found = (path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in found}


@pytest.fixture
def fp32_never_passes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "ParityLimits", lambda: ParityLimits(fp32_max_abs_dp=-1.0))


# --- what is written -----------------------------------------------------------------------------


def test_the_bundle_says_where_it_comes_from(
    made: tuple[Path, list[str]], checkpoint: Path
) -> None:
    found, source = open_bundle(made[0]), load_checkpoint(checkpoint)
    assert found.provenance["checkpoint_sha256"] == source.sha256
    assert found.provenance["backbone"] == "test_byobnet"
    assert found.provenance["recipe"] == "tiny"
    assert found.provenance["data"] == source.facts["data"]
    assert (found.temperature, found.abstain_below) == (source.temperature, source.abstain_below)
    assert found.labels == EMOTIONS
    assert found.embedding_dim == source.model.embedding_dim


def test_every_variant_carries_its_proof(made: tuple[Path, list[str]]) -> None:
    found = open_bundle(made[0])
    assert {v.name for v in found.variants} == {"onnxruntime/fp32", "onnxruntime/int8"}
    for variant in found.variants:
        proof = variant.parity
        assert proof is not None
        assert proof.failures == ()
        assert proof.faces.faces == 336
        assert proof.batch_sizes == (1, 2, 5, 32)
        assert proof.machine
        assert proof.allowed_drop == ALLOWED
        assert (proof.calibration is not None) == (variant.precision == "int8")
        assert variant.speed is not None
        assert variant.speed.batch_1_p50_ms > 0
        assert {"onnx", "torch"} <= set(variant.tools)
    assert found.variant("onnxruntime", "fp32").parity.max_abs_dp <= 1e-4


def test_variants_are_in_the_order_of_their_speed(made: tuple[Path, list[str]]) -> None:
    times = [variant.speed.batch_1_p50_ms for variant in open_bundle(made[0]).variants]
    assert times == sorted(times)


def test_without_data_it_is_said_that_composites_judge(made: tuple[Path, list[str]]) -> None:
    assert any("composite" in sentence for sentence in made[1])
    assert open_bundle(made[0]).variants[0].parity.faces.source == "shipped composite faces"


def test_the_bundle_answers_as_the_checkpoint_does(
    made: tuple[Path, list[str]], gate: FaceSamples, reference: Any
) -> None:
    with Predictor(made[0], precision="fp32") as predictor:
        answers = predictor.predict_batch(gate.images[:40])
    ours = [[answer.probabilities[name] for name in EMOTIONS] for answer in answers]
    assert np.abs(np.array(ours) - reference[0][:40]).max() <= 1e-4


def test_no_file_holds_a_path_or_a_stack_trace(made: tuple[Path, list[str]]) -> None:
    root = Path(__file__).parents[3]
    traces = [b"Traceback", b'File "', b"site-packages", b"/tmp/"]
    traces += [str(folder).encode() for folder in (root, Path.home(), made[0].parent)]
    for path, data in content(made[0]).items():
        assert [trace for trace in traces if trace in data] == [], path


def test_the_faces_and_the_search_are_recorded(
    made: tuple[Path, list[str]], gate: FaceSamples, calibration: FaceSamples
) -> None:
    proof = open_bundle(made[0]).variant("onnxruntime", "int8").parity
    assert proof.faces == gate.record
    assert proof.calibration == calibration.record
    assert re.fullmatch("[0-9a-f]{64}", proof.calibration.sha256)
    assert proof.search[0].recipe == {}
    assert 0.5 < proof.search[0].agreement <= 1


# --- the gate ------------------------------------------------------------------------------------


def damaging(build: Callable[..., Artifact]) -> Callable[..., Artifact]:
    """A converter that makes one weight another number, whatever it is given."""

    def damaged(source: ConversionInput, precision: str, recipe: QuantizationRecipe) -> Artifact:
        proto = onnx.load_from_string(source.graph)
        weight = max(proto.graph.initializer, key=lambda w: np.prod(w.dims))
        values = numpy_helper.to_array(weight).copy()
        values.flat[0] += 1
        weight.CopyFrom(numpy_helper.from_array(values, weight.name))
        return build(replace(source, graph=proto.SerializeToString()), precision, recipe)

    return damaged


@pytest.mark.usefixtures("two_recipes")
def test_a_converter_that_damages_is_caught_and_nothing_is_written(
    checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(converter, "build", damaging(converter.build))
    with pytest.raises(ParityError, match=r"onnxruntime/fp32: probabilities differ by up to \d"):
        convert(checkpoint, ["onnxruntime"], tmp_path / "x.fer", ["fp32"], say=quiet)
    with pytest.raises(ParityError, match=r"decisions are kept.* --allow-drop POINTS accepts"):
        convert(checkpoint, ["onnxruntime"], tmp_path / "x.fer", ["int8"], say=quiet)
    assert list(tmp_path.iterdir()) == []


def test_a_variant_that_too_few_faces_judge_is_written_last_and_says_so(
    monkeypatch: pytest.MonkeyPatch, checkpoint: Path, tmp_path: Path
) -> None:
    """336 faces without one changed decision: within each limit, and no proof of 99.5 %."""
    build = converter.build
    monkeypatch.setattr(converter, "build", lambda source, precision, _: build(source, "fp32", {}))
    monkeypatch.setattr(engine, "executed", lambda *_: Execution("an engine", "CPU", ()))
    said: list[str] = []
    out = tmp_path / "driver.fer"
    convert(checkpoint, ["onnxruntime"], out, ["int8", "fp32"], say=said.append)
    first, last = open_bundle(out).variants
    assert (first.name, last.name) == ("onnxruntime/fp32", "onnxruntime/int8")
    assert (first.parity.verdict, first.warning) == (PASSED, None)
    assert last.parity.verdict == UNDECIDED
    assert "faces would tell" in last.warning
    (sentence,) = (text for text in said if UNDECIDED.upper() in text)
    assert "--data" in sentence
    with Predictor(out) as predictor:
        assert predictor.variant.precision == "fp32"
    shown = CliRunner().invoke(main, ["inspect", str(out)]).stdout
    assert "faces would tell" in shown
    assert "passed: agreement 100.00%" in shown


def test_a_precision_that_is_not_executed_is_a_failure_with_a_sentence(
    monkeypatch: pytest.MonkeyPatch, checkpoint: Path, tmp_path: Path
) -> None:
    """A graph whose layers stay in float under the name of int8 agrees with the checkpoint."""
    build = converter.build
    monkeypatch.setattr(converter, "build", lambda source, precision, _: build(source, "fp32", {}))
    sentence = r"int8 was asked for, and ONNX Runtime .* in fp32 of.* Name another --precision"
    with pytest.raises(ParityError, match=sentence):
        convert(checkpoint, ["onnxruntime"], tmp_path / "driver.fer", ["int8"], say=quiet)
    assert not (tmp_path / "driver.fer").exists()


@pytest.mark.usefixtures("fp32_never_passes")
def test_a_failed_gate_ends_the_command_with_7_and_leaves_the_bundle_that_is_there(
    checkpoint: Path, bundle: Path
) -> None:
    before = content(bundle.parent)
    arguments = ["--target", "onnxruntime", "--precision", "fp32", "-o", str(bundle)]
    done = CliRunner().invoke(main, ["convert", str(checkpoint), *arguments])
    assert done.exit_code == 7
    assert "probabilities differ" in done.stderr
    assert "--allow-drop" not in done.stderr  # fp32 has no such limit
    assert "Traceback" not in done.output
    assert content(bundle.parent) == before


@pytest.mark.usefixtures("fp32_never_passes")
def test_asked_for_all_a_variant_that_fails_is_left_out(checkpoint: Path, tmp_path: Path) -> None:
    said: list[str] = []
    out = tmp_path / "x.fer"
    made = convert(checkpoint, ["onnxruntime"], out, ["all"], allow_drop=ALLOWED, say=said.append)
    assert [variant.name for variant in made.variants] == ["onnxruntime/int8"]
    assert any("onnxruntime/fp32" in s and "FAILED" in s for s in said)
    refused = made.provenance["refused"]["onnxruntime/fp32"]
    assert "probabilities differ" in refused["failures"][0]
    assert refused["agreement"] > 0
    shown = CliRunner().invoke(main, ["inspect", str(out)])
    assert "onnxruntime/fp32 was tried and left out: probabilities differ" in shown.output


@pytest.mark.usefixtures("fp32_never_passes", "two_recipes")
def test_a_variant_that_now_fails_is_removed_from_the_bundle(
    checkpoint: Path, bundle: Path
) -> None:
    arguments = ["--target", "onnxruntime", "--precision", "all", "--allow-drop", "10", "--json"]
    done = CliRunner().invoke(main, ["convert", str(checkpoint), *arguments, "-o", str(bundle)])
    assert done.exit_code == 0, done.output
    assert f"Removed onnxruntime/fp32 from {bundle}" in done.stderr
    assert [v["precision"] for v in json.loads(done.stdout)["variants"]] == ["int8"]
    made = open_bundle(bundle)
    assert [variant.name for variant in made.variants] == ["onnxruntime/int8"]
    assert list(made.provenance["refused"]) == ["onnxruntime/fp32"]


def test_asked_for_all_targets_one_that_fails_is_left_out(
    monkeypatch: pytest.MonkeyPatch, checkpoint: Path, tmp_path: Path
) -> None:
    """A precision was named, and no target was."""

    def broken(*_: object) -> None:
        raise ConversionError("this chip refuses the graph")

    both = ("onnxruntime", "openvino")
    monkeypatch.setattr(request, "known_targets", lambda: both)
    monkeypatch.setattr(converter, "build", broken)
    said: list[str] = []
    made = convert(checkpoint, ["all"], tmp_path / "x.fer", ["fp32"], say=said.append)
    assert [variant.name for variant in made.variants] == ["openvino/fp32"]
    assert any("Left out: onnxruntime/fp32: this chip refuses" in text for text in said)
    with pytest.raises(ConversionError, match="this chip refuses"):
        convert(checkpoint, both, tmp_path / "y.fer", ["fp32"], say=quiet)
    assert not (tmp_path / "y.fer").exists()


# --- engines that cannot run here ----------------------------------------------------------------


@pytest.fixture
def no_engine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "preflight", lambda variant, options: "there is no such chip here")


@pytest.mark.usefixtures("no_engine")
@pytest.mark.parametrize("precisions", [["fp32"], ["auto"]])
def test_what_nothing_here_can_judge_is_not_written(
    checkpoint: Path, tmp_path: Path, precisions: list[str]
) -> None:
    with pytest.raises((ConversionError, ParityError), match=r"nothing|--allow-unproven"):
        convert(checkpoint, ["onnxruntime"], tmp_path / "x.fer", precisions, say=quiet)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.usefixtures("no_engine")
def test_what_was_not_proven_is_marked_so_and_comes_last(
    checkpoint: Path, bundle: Path, tmp_path: Path
) -> None:
    out = Path(shutil.copytree(bundle, tmp_path / "x.fer"))
    convert(checkpoint, ["onnxruntime"], out, ["int8"], allow_unproven=True, say=quiet)
    last = open_bundle(out).variants[-1]
    assert last.name == "onnxruntime/int8"
    assert last.unproven == "there is no such chip here"
    assert (last.parity, last.speed) == (None, None)
    shown = CliRunner().invoke(main, ["inspect", str(out)])
    assert "not proven: there is no such chip here" in shown.output


@pytest.mark.usefixtures("no_engine")
def test_a_stand_in_judges_in_the_engines_place(
    checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    build = converter.build

    def standing_in(
        source: ConversionInput, precision: str, recipe: QuantizationRecipe
    ) -> Artifact:
        artifact = build(source, precision, recipe)
        model = artifact.files[artifact.entry]
        return replace(
            artifact, reference_session=lambda: engine.OnnxRuntimeSession(model, Options())
        )

    monkeypatch.setattr(converter, "build", standing_in)
    made = convert(checkpoint, ["onnxruntime"], tmp_path / "x.fer", ["fp32"], say=quiet)
    (variant,) = made.variants
    assert variant.parity.agreement == 1
    assert variant.parity.judged_by.reason == "there is no such chip here"
    assert variant.speed is None

    monkeypatch.setattr(converter, "build", damaging(standing_in))
    with pytest.raises(ParityError):
        convert(checkpoint, ["onnxruntime"], tmp_path / "y.fer", ["fp32"], say=quiet)
