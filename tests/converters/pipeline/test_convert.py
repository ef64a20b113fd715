"""A checkpoint becomes a bundle whole or not at all, and a bundle that is there is never harmed."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
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
from fer_edge.converters.onnx_graph.export import export_onnx
from fer_edge.converters.pipeline import build_variant as module
from fer_edge.converters.pipeline.convert import convert
from fer_edge.converters.pipeline.face_samples import FaceSamples, calibration_faces, parity_faces
from fer_edge.converters.pipeline.parity import ParityLimits
from fer_edge.errors import BundleError, ConversionError, DataError, ParityError, TargetError
from fer_edge.labels import EMOTIONS
from fer_edge.preprocess import CropRule
from fer_edge.shipped import FACES
from fer_edge.training.checkpoint import CARD, load_checkpoint

ALLOWED = 0.1
"""Of the tiny network's accuracy, so that its int8 form is sure to be let through."""


def quiet(_: str) -> None:
    pass


def content(folder: Path) -> dict[str, bytes]:
    """Every file below a folder."""
    found = (path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in found}


@pytest.fixture(scope="module")
def made(checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[str]]:
    """A bundle with onnxruntime/fp32 and int8, judged on composites, and what was said of it."""
    said: list[str] = []
    out = tmp_path_factory.mktemp("made") / "driver.fer"
    convert(checkpoint, ["onnxruntime"], out, ["fp32", "int8"], allow_drop=ALLOWED, say=said.append)
    return out, said


@pytest.fixture
def bundle(made: tuple[Path, list[str]], tmp_path: Path) -> Path:
    """A copy of it, to be harmed."""
    return Path(shutil.copytree(made[0], tmp_path / "driver.fer"))


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


def test_the_exported_graph_is_standard_onnx_with_a_dynamic_batch(graph: bytes) -> None:
    proto = onnx.load_from_string(graph)
    onnx.checker.check_model(proto, full_check=True)
    assert [o.domain for o in proto.opset_import] == [""]
    assert [i.name for i in proto.graph.input] == ["images"]
    assert [o.name for o in proto.graph.output] == ["probabilities", "embedding"]
    for value in (*proto.graph.input, *proto.graph.output):
        assert value.type.tensor_type.shape.dim[0].dim_param
    assert not proto.metadata_props
    for item in (*proto.graph.node, *proto.graph.value_info, *proto.graph.initializer):
        assert not item.doc_string
        assert not item.metadata_props


def test_exporting_twice_gives_the_same_bytes(checkpoint: Path, graph: bytes) -> None:
    """Variants that were converted on different days then share one file."""
    assert export_onnx(load_checkpoint(checkpoint)) == graph


# --- faces that judge and calibrate --------------------------------------------------------------


def pictures(faces: FaceSamples) -> set[bytes]:
    return {image.tobytes() for image in faces.images}


def test_calibration_and_gate_share_no_picture_and_are_recorded(
    made: tuple[Path, list[str]], gate: FaceSamples, calibration: FaceSamples
) -> None:
    assert not pictures(gate) & pictures(calibration)
    assert len(calibration.images) == 300
    proof = open_bundle(made[0]).variant("onnxruntime", "int8").parity
    assert proof.faces == gate.record
    assert proof.calibration == calibration.record
    assert re.fullmatch("[0-9a-f]{64}", proof.calibration.sha256)
    assert proof.search[0].recipe == {}
    assert 0.5 < proof.search[0].agreement <= 1


def test_calibration_is_stratified_and_follows_its_seed(
    gate: FaceSamples, calibration: FaceSamples
) -> None:
    counts = [calibration.truth.count(name) for name in EMOTIONS]
    assert max(counts) - min(counts) <= 1
    rule = CropRule(48, 0.1)
    same, other = (calibration_faces(None, EMOTIONS, rule, gate, s) for s in (2026, 7))
    assert same.sha256 == calibration.sha256 != other.sha256


def as_folders(folder: Path, faces: FaceSamples, **parts: slice) -> Path:
    """Some of the faces as PNG in class folders, for each part."""
    import cv2

    for part, which in parts.items():
        for i in range(len(faces.images))[which]:
            target = folder / part / faces.truth[i]
            target.mkdir(parents=True, exist_ok=True)
            cv2.imwrite(str(target / f"{i}.png"), faces.images[i])
    return folder


def test_a_picture_that_judges_is_not_calibrated_on(tmp_path: Path, gate: FaceSamples) -> None:
    source = as_folders(tmp_path, gate, train=slice(0, 200), val=slice(150, 336))
    rule = CropRule(48, 0.1)
    judges = parity_faces(source, EMOTIONS, rule)
    calibrates = calibration_faces(source, EMOTIONS, rule, judges, 1)
    assert (len(judges.images), len(calibrates.images)) == (186, 150)
    assert not pictures(judges) & pictures(calibrates)


def test_faces_that_all_judge_cannot_calibrate(tmp_path: Path, gate: FaceSamples) -> None:
    source = as_folders(tmp_path, gate, train=slice(0, 120), val=slice(0, 120))
    rule = CropRule(48, 0.1)
    with pytest.raises(DataError, match="--calibrate"):
        calibration_faces(source, EMOTIONS, rule, parity_faces(source, EMOTIONS, rule), 1)


def test_too_few_faces_give_no_verdict(tmp_path: Path, gate: FaceSamples, checkpoint: Path) -> None:
    source = as_folders(tmp_path / "faces", gate, train=slice(0, 120), val=slice(120, 219))
    with pytest.raises(DataError, match=r"at least 100 faces.* got 99"):
        convert(checkpoint, ["onnxruntime"], tmp_path / "x.fer", ["fp32"], data=source, say=quiet)
    assert not (tmp_path / "x.fer").exists()


def test_a_source_without_a_val_part_is_said_in_the_converters_words(
    tmp_path: Path, gate: FaceSamples
) -> None:
    """convert has no --split."""
    source = as_folders(tmp_path, gate, train=slice(0, 120))
    with pytest.raises(DataError, match="val") as caught:
        parity_faces(source, EMOTIONS, CropRule(48, 0.1))
    assert "--split" not in str(caught.value)


# --- a bundle that is there ----------------------------------------------------------------------


@pytest.mark.slow
def test_variants_are_added_and_the_others_keep_every_byte(
    checkpoint: Path, bundle: Path, gate: FaceSamples
) -> None:
    before, old = content(bundle), open_bundle(bundle)
    added = convert(checkpoint, ["openvino"], bundle, ["fp32"], say=quiet)
    assert {v.name for v in added.variants} == {
        "onnxruntime/fp32", "onnxruntime/int8", "openvino/fp32"
    }  # fmt: skip
    after = content(bundle)
    del before["bundle.json"]
    assert {path: after[path] for path in before} == before
    for variant in old.variants:
        assert added.variant(variant.target, variant.precision) == variant
    for variant in added.variants:
        with Predictor(bundle, variant.target, variant.precision) as predictor:
            assert len(predictor.predict_batch(gate.images[:3])) == 3


def test_a_variant_converted_again_replaces_itself_alone(checkpoint: Path, bundle: Path) -> None:
    again = convert(checkpoint, ["onnxruntime"], bundle, ["fp32"], say=quiet)
    assert sorted(v.name for v in again.variants) == ["onnxruntime/fp32", "onnxruntime/int8"]
    assert again.variant("onnxruntime", "fp32").parity.allowed_drop is None
    assert again.variant("onnxruntime", "int8").parity.allowed_drop == ALLOWED


def edited(checkpoint: Path, to: Path, **changes: Any) -> Path:
    """The same weights with something else in their card."""
    shutil.copytree(checkpoint, to)
    card = json.loads((to / CARD).read_text("utf-8"))
    for key, value in changes.items():
        (card["model"] if key == "labels" else card)[key] = value
    (to / CARD).write_text(json.dumps(card), "utf-8")
    return to


@pytest.mark.parametrize(
    "changes",
    [
        {"temperature": 3.5},
        {"abstain_below": 0.9},
        {"labels": list(reversed(EMOTIONS))},
    ],
    ids=str,
)
def test_the_same_weights_with_another_card_are_another_checkpoint(
    checkpoint: Path, bundle: Path, tmp_path: Path, changes: dict[str, Any]
) -> None:
    """Temperature and labels are built into the variants that are there already."""
    other, before = edited(checkpoint, tmp_path / "other", **changes), content(bundle)
    with pytest.raises(BundleError, match="another checkpoint"):
        convert(other, ["onnxruntime"], bundle, ["fp32"], say=quiet)
    assert content(bundle) == before


def test_another_checkpoint_leaves_the_bundle_alone(
    checkpoint: Path, bundle: Path, tmp_path: Path
) -> None:
    manifest = json.loads((bundle / "bundle.json").read_text("utf-8"))
    manifest["provenance"]["checkpoint_sha256"] = "0" * 64
    (bundle / "bundle.json").write_text(json.dumps(manifest), "utf-8")
    before = content(tmp_path)
    with pytest.raises(BundleError, match="another checkpoint"):
        convert(checkpoint, ["onnxruntime"], bundle, ["fp32"], say=quiet)
    assert content(tmp_path) == before


def test_a_damaged_bundle_is_not_added_to(checkpoint: Path, bundle: Path) -> None:
    (bundle / "onnxruntime-int8" / "model.onnx").write_bytes(b"damaged")
    with pytest.raises(BundleError, match="onnxruntime-int8"):
        convert(checkpoint, ["onnxruntime"], bundle, ["fp32"], say=quiet)


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


def test_a_converter_that_damages_is_caught_and_nothing_is_written(
    checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(converter, "build", damaging(converter.build))
    with pytest.raises(ParityError, match=r"onnxruntime/fp32: probabilities differ by up to \d"):
        convert(checkpoint, ["onnxruntime"], tmp_path / "x.fer", ["fp32"], say=quiet)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.usefixtures("fp32_never_passes")
def test_a_failed_gate_ends_the_command_with_7_and_leaves_the_bundle_that_is_there(
    checkpoint: Path, bundle: Path
) -> None:
    before = content(bundle.parent)
    arguments = ["--target", "onnxruntime", "--precision", "fp32", "-o", str(bundle)]
    done = CliRunner().invoke(main, ["convert", str(checkpoint), *arguments])
    assert done.exit_code == 7
    assert "probabilities differ" in done.stderr
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


# --- usage ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("targets", "precisions", "named"),
    [
        (["tensorflow"], ["fp32"], "tensorflow"),
        (["onnxruntime"], ["int4"], "int4"),
        (["onnxruntime"], ["fp32", "bf16"], "bf16"),
        (["onnxruntime", "base"], ["fp32"], "base"),
    ],
)
def test_an_unknown_target_or_precision_is_named_before_any_work_is_done(
    checkpoint: Path, tmp_path: Path, targets: list[str], precisions: list[str], named: str
) -> None:
    said: list[str] = []
    with pytest.raises(TargetError, match=rf"{named}.*fp32|{named}.*onnxruntime"):
        convert(checkpoint, targets, tmp_path / "x.fer", precisions, say=said.append)
    assert not any("Exporting" in sentence for sentence in said)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["driver", "driver.onnx", "driver.fer.old"])
def test_a_bundle_is_called_fer(checkpoint: Path, tmp_path: Path, name: str) -> None:
    with pytest.raises(BundleError, match=r"\.fer"):
        convert(checkpoint, ["onnxruntime"], tmp_path / name, ["fp32"], say=quiet)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["--target", "tensorflow", "-o", "x.fer"], 5),
        (["--target", "onnxruntime", "--precision", "int4", "-o", "x.fer"], 5),
        (["--target", "onnxruntime", "-o", "x.onnx"], 4),
        (["--target", "onnxruntime", "--data", "nowhere", "-o", "x.fer"], 3),
        (["-o", "x.fer"], 2),
        (["--target", "onnxruntime", "--allow-drop", "-1", "-o", "x.fer"], 2),
    ],
)
def test_the_command_says_what_is_wrong_in_a_sentence(
    checkpoint: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    arguments: list[str],
    code: int,
) -> None:
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(main, ["convert", str(checkpoint), *arguments])
    assert (done.exit_code, done.stdout) == (code, "")
    assert "Traceback" not in done.stderr
    assert done.stderr.strip()
    assert list(tmp_path.iterdir()) == []


def test_a_damaged_checkpoint_ends_the_command_with_4(checkpoint: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(checkpoint, tmp_path / "best"))
    (copy / "model.safetensors").write_bytes(b"damaged")
    arguments = ["--target", "onnxruntime", "-o", str(tmp_path / "x.fer")]
    done = CliRunner().invoke(main, ["convert", str(copy), *arguments])
    assert done.exit_code == 4
    assert "model.safetensors" in done.stderr


def test_the_command_prints_the_manifest_and_records_the_drop_in_shares(
    checkpoint: Path, tmp_path: Path
) -> None:
    out = tmp_path / "x.fer"
    arguments = ["--target", "onnxruntime", "--precision", "fp32", "--allow-drop", "2.5", "--json"]
    done = CliRunner().invoke(main, ["convert", str(checkpoint), *arguments, "-o", str(out)])
    assert done.exit_code == 0
    assert json.loads(done.stdout) == json.loads((out / "bundle.json").read_text("utf-8"))
    assert open_bundle(out).variants[0].parity.allowed_drop == 0.025


# --- killed --------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="Windows has no SIGKILL")
@pytest.mark.parametrize("moment", ["converting", "writing"])
def test_a_kill_leaves_a_bundle_that_can_be_read(
    checkpoint: Path, bundle: Path, moment: str
) -> None:
    before = content(bundle)
    command = [
        sys.executable,
        "-m",
        "fer_edge.cli",
        "convert",
        str(checkpoint),
        "-o",
        str(bundle),
    ]
    command += ["--target", "onnxruntime", "--precision", "fp32"]
    running = subprocess.Popen(
        command,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )
    assert running.stderr is not None
    try:
        for line in running.stderr:
            if line.startswith(b"Exporting"):
                break
        if moment == "writing":
            deadline = time.monotonic() + 300
            while running.poll() is None and time.monotonic() < deadline:
                if any(path.suffix == ".tmp" for path in bundle.parent.iterdir()):
                    break
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.kill(running.pid, signal.SIGKILL)
        running.stderr.close()
    assert running.wait() == -signal.SIGKILL
    found = open_bundle(bundle)
    assert {v.name for v in found.variants} == {"onnxruntime/fp32", "onnxruntime/int8"}
    assert content(bundle) == before or moment == "writing"
    with Predictor(bundle) as predictor:
        assert predictor(FACES / "happiness.png").label in EMOTIONS


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
