"""Core ML packages: what is in them, that damage to them is noticed, and the way to a bundle.

That each precision agrees with torch is in test_contract.py.
"""

from __future__ import annotations

import contextlib
import json
import struct
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from fer_edge.backends import coreml as engine
from fer_edge.backends.base import Options, Outputs
from fer_edge.backends.coreml import coremltools
from fer_edge.bundle import Variant, listed, open_bundle
from fer_edge.converters import coreml
from fer_edge.converters.base import Artifact, ConversionInput
from fer_edge.converters.coreml_evaluator.program import ProgramSession
from fer_edge.converters.pipeline.convert import convert
from fer_edge.converters.pipeline.face_samples import FaceSamples, parity_faces
from fer_edge.converters.pipeline.gate import Bar, ParityLimits, failures, fp32_failures, judge
from fer_edge.converters.pipeline.parity import compare, run_all
from fer_edge.errors import ConversionError
from fer_edge.labels import EMOTIONS
from fer_edge.preprocess import CROP_MARGIN, CropRule
from fer_edge.shipped import DEFAULT_CHECKPOINT
from fer_edge.training.checkpoint import Checkpoint, load_checkpoint
from fer_edge.training.deploy import DeployModule
from fer_edge.training.models.network import ExpressionNet, InputSpec, ModelSpec

MODEL, WEIGHTS = "coreml-fp32/model.mlmodel", "coreml-fp32/weight.bin"


def source(checkpoint: Checkpoint, faces: FaceSamples) -> ConversionInput:
    return ConversionInput(checkpoint, b"", faces.images[:8])


@pytest.fixture(scope="module")
def package(checkpoint: Path, gate: FaceSamples) -> Artifact:
    """The tiny trained network in fp32."""
    return coreml.build(source(load_checkpoint(checkpoint), gate), "fp32", {})


def described(artifact: Artifact) -> Any:
    return coremltools().proto.Model_pb2.Model.FromString(artifact.files[artifact.entry])


# --- what is in a package ------------------------------------------------------------------------


def test_xcode_shows_what_it_is_and_where_it_comes_from(
    package: Artifact, checkpoint: Path
) -> None:
    loaded, description = load_checkpoint(checkpoint), described(package).description
    metadata = description.metadata
    assert metadata.author
    assert metadata.versionString
    assert json.loads(metadata.license) == loaded.facts.get("licences", {})
    assert "test_byobnet" in metadata.shortDescription
    assert json.loads(metadata.userDefined["labels"]) == list(EMOTIONS)
    assert metadata.userDefined["checkpoint_sha256"] == loaded.sha256
    assert all(f.shortDescription for f in (*description.input, *description.output))


def test_swift_gets_a_picture_input_and_a_classifiers_outputs(package: Artifact) -> None:
    description = described(package).description
    (picture,) = description.input
    assert (picture.type.imageType.width, picture.type.imageType.height) == (48, 48)
    assert picture.type.imageType.WhichOneof("SizeFlexibility") is None
    kinds = {output.name: output.type.WhichOneof("Type") for output in description.output}
    assert kinds == {
        "expression": "stringType",
        "probabilities": "dictionaryType",
        "embedding": "multiArrayType",
    }
    assert description.predictedFeatureName == "expression"
    assert description.predictedProbabilitiesName == "probabilities"


def test_a_label_may_have_a_comma(gate: FaceSamples) -> None:
    labels = ("alert", "drowsy, eyes closed", "日本語")
    spec = ModelSpec("test_resnet", labels, InputSpec(48, "grey", (0.5,), (0.25,)))
    torch.manual_seed(0)
    network = Checkpoint(ExpressionNet(spec).eval())
    session = coreml.build(source(network, gate), "fp32", {}).reference_session()
    probabilities, _ = session.run(gate.images[:2])
    np.testing.assert_allclose(
        probabilities, DeployModule(network).run(gate.images[:2])[0], atol=1e-4
    )


def test_labels_that_are_not_the_programs_are_refused(package: Artifact, gate: FaceSamples) -> None:
    spec = described(package)
    spec.description.metadata.userDefined["labels"] = '["other"]'
    session = ProgramSession(spec.SerializeToString(), package.files[WEIGHTS])
    with pytest.raises(ConversionError, match=r"other.*anger.*fer-edge convert"):
        session.run(gate.images[:1])


def test_it_says_what_it_needs(package: Artifact) -> None:
    assert package.needs == {"macos": "14.0"}
    assert described(package).specificationVersion == 8  # macOS 14's


def test_converting_twice_gives_the_same_bytes(
    package: Artifact, checkpoint: Path, gate: FaceSamples
) -> None:
    again = coreml.build(source(load_checkpoint(checkpoint), gate), "fp32", {})
    assert again.files == package.files


def test_coremltools_reads_the_package_back(package: Artifact, tmp_path: Path) -> None:
    """Its own reader checks types and shapes of every operation, the last one included."""
    from coremltools.converters.mil.frontend.milproto import load

    (tmp_path / "weight.bin").write_bytes(package.files[WEIGHTS])
    program = load.load(described(package), 8, str(tmp_path))
    assert program.functions["main"].operations[-1].op_type == "classify"


# --- damage --------------------------------------------------------------------------------------

Change = Callable[[Any, bytearray], None]


def noticed(package: Artifact, change: Change, gate: FaceSamples, reference: Outputs) -> list[str]:
    """Change the package's files and return the gate's complaints."""
    spec, weights = described(package), bytearray(package.files[WEIGHTS])
    change(spec, weights)
    try:
        session = ProgramSession(spec.SerializeToString(), bytes(weights))
        outputs = run_all(session, gate.images[::7])
    except ConversionError as error:
        return [str(error)]
    wanted = (reference[0][::7], reference[1][::7])
    report = compare(wanted, outputs, gate.truth[::7], EMOTIONS)
    return fp32_failures(report, ParityLimits())


def operations(spec: Any) -> Any:
    function = spec.mlProgram.functions["main"]
    return function.block_specializations[function.opset].operations


def constant(spec: Any, kind: str, parameter: str, which: int = 0) -> Any:
    """The value of a parameter of the operation of that kind."""
    entries = [entry for entry in operations(spec) if entry.type == kind]
    name = entries[which].inputs[parameter].arguments[0].name
    (const,) = (entry for entry in operations(spec) if entry.outputs[0].name == name)
    return const.attributes["val"]


def nothing(spec: Any, weights: bytearray) -> None:
    pass


def one_weight(spec: Any, weights: bytearray) -> None:
    """One number of the last layer."""
    offset = constant(spec, "linear", "weight").blobFileValue.offset
    (start,) = struct.unpack_from("<Q", weights, offset + 16)
    (value,) = struct.unpack_from("<f", weights, start)
    struct.pack_into("<f", weights, start, value + 0.5)


def one_byte(spec: Any, weights: bytearray) -> None:
    """The exponent of one number in the middle of the file, whatever it belongs to."""
    offset = constant(spec, "conv", "weight", 3).blobFileValue.offset
    (start,) = struct.unpack_from("<Q", weights, offset + 16)
    weights[start + 3] ^= 0b1000


def ints(value: Any) -> Any:
    return value.immediateValue.tensor.ints.values


def one_stride(spec: Any, weights: bytearray) -> None:
    strides = ints(constant(spec, "conv", "strides", 1))
    strides[0] = 3 - strides[0]


def one_padding(spec: Any, weights: bytearray) -> None:
    """Moved from one side to the other: every shape stays."""
    pad = ints(constant(spec, "conv", "pad", 1))
    assert list(pad[:2]) == [1, 1]
    pad[0], pad[1] = 2, 0


def two_labels(spec: Any, weights: bytearray) -> None:
    values = operations(spec)[-1].inputs["classes"].arguments[0].value.immediateValue.list.values
    first, second = (v.immediateValue.tensor.strings.values for v in values[:2])
    first[0], second[0] = second[0], first[0]


def skipped_layer(spec: Any, weights: bytearray) -> None:
    """An activation hands its input through."""
    for entry in operations(spec):
        if entry.type in ("relu", "silu"):
            entry.type = "identity"
            return


DAMAGES = [one_weight, one_byte, one_stride, one_padding, two_labels, skipped_layer]


def test_an_undamaged_package_passes(
    package: Artifact, gate: FaceSamples, reference: Outputs
) -> None:
    assert noticed(package, nothing, gate, reference) == []


@pytest.mark.parametrize("change", DAMAGES, ids=lambda change: change.__name__)
def test_damage_is_noticed(
    package: Artifact, gate: FaceSamples, reference: Outputs, change: Change
) -> None:
    assert noticed(package, change, gate, reference) != []


# --- other networks ------------------------------------------------------------------------------

RGB = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
SWIN = {"img_size": 64, "window_size": 4, "depths": (1, 2), "embed_dim": 24, "num_heads": (1, 2)}


def noise(count: int, size: int) -> Any:
    """Coloured pictures: composite faces are grey, and would not tell red from blue."""
    return np.random.default_rng(3).integers(0, 256, (count, size, size, 3), np.uint8)


def untrained(backbone: str, size: int, arguments: dict[str, Any]) -> Checkpoint:
    torch.manual_seed(0)
    spec = ModelSpec(backbone, EMOTIONS, InputSpec(size, "rgb", *RGB), backbone_args=arguments)
    return Checkpoint(ExpressionNet(spec).eval(), temperature=0.7)


def differences(checkpoint: Checkpoint, artifact: Artifact) -> tuple[float, float]:
    """Largest difference of a probability, and of an embedding over its largest value."""
    images = noise(3, checkpoint.spec.input.size_px)
    assert artifact.reference_session is not None
    ours = artifact.reference_session().run(images)
    wanted = DeployModule(checkpoint).run(images)
    dp, de = (float(np.abs(a - b).max()) for a, b in zip(ours, wanted, strict=True))
    return dp, de / float(np.abs(wanted[1]).max())


@pytest.mark.slow
@pytest.mark.parametrize(
    ("backbone", "size", "arguments"),
    [
        ("test_vit", 64, {"img_size": 64, "dynamic_img_size": False}),
        ("test_efficientnet", 48, {}),
        ("swin_tiny_patch4_window7_224", 64, SWIN),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_other_networks_agree_with_torch(
    backbone: str, size: int, arguments: dict[str, Any], gate: FaceSamples
) -> None:
    checkpoint = untrained(backbone, size, arguments)
    artifact = coreml.build(source(checkpoint, gate), "fp32", {})
    assert max(differences(checkpoint, artifact)) < 1e-4
    if backbone == "test_vit":
        assert unnoticed_transposes(checkpoint, artifact) == []


def unnoticed_transposes(checkpoint: Checkpoint, artifact: Artifact) -> list[int]:
    """Those that can be given another order of dimensions without an answer changing."""
    images = noise(1, checkpoint.spec.input.size_px)
    wanted = DeployModule(checkpoint).run(images)[1]
    kinds = [entry.type for entry in operations(described(artifact))]
    assert "transpose" in kinds
    unnoticed = []
    for which in range(kinds.count("transpose")):
        spec = described(artifact)
        order = ints(constant(spec, "transpose", "perm", which))
        order[-1], order[-2] = order[-2], order[-1]
        session = ProgramSession(spec.SerializeToString(), artifact.files[WEIGHTS])
        with contextlib.suppress(ConversionError):  # of another shape than the program declares
            difference = np.abs(session.run(images)[1] - wanted).max()
            if difference <= 1e-4 * np.abs(wanted).max():
                unnoticed.append(which)
    return unnoticed


def test_a_network_that_cannot_be_converted_says_why(gate: FaceSamples) -> None:
    """timm resizes the positions of this one in the graph, which MIL has no operation for."""
    checkpoint = untrained("test_vit", 64, {})
    with pytest.raises(ConversionError, match=r"could not convert test_vit to fp32: .*bicubic"):
        coreml.build(source(checkpoint, gate), "fp32", {})


@pytest.mark.slow
def test_the_shipped_model_passes_its_gate(gate: FaceSamples) -> None:
    checkpoint = load_checkpoint(DEFAULT_CHECKPOINT)
    rule = CropRule(checkpoint.spec.input.size_px, CROP_MARGIN)
    faces = parity_faces(None, checkpoint.spec.labels, rule)
    reference = DeployModule(checkpoint).run(faces.images)
    for precision in ("fp32", "fp16"):
        artifact = coreml.build(source(checkpoint, gate), precision, {})
        assert artifact.reference_session is not None
        outputs = run_all(artifact.reference_session(), faces.images)
        report = compare(reference, outputs, faces.truth, checkpoint.spec.labels)
        bar = Bar(precision, checkpoint.spec.labels, checkpoint.abstain_below)
        judgement = judge(reference, outputs, faces.truth, bar)
        assert failures(report, judgement, precision, ParityLimits()) == []
        # The proof rounds where the program does: in half precision it must not be exact.
        assert (report.max_abs_dp > 1e-5) == (precision == "fp16")


# --- into a bundle, and out of it ----------------------------------------------------------------


@pytest.mark.skipif(sys.platform == "darwin", reason="a Mac judges with Core ML itself")
def test_a_bundle_says_that_the_evaluator_judged(checkpoint: Path, tmp_path: Path) -> None:
    said: list[str] = []
    convert(checkpoint, ["coreml"], tmp_path / "x.fer", ["fp32"], say=said.append)
    (variant,) = open_bundle(tmp_path / "x.fer").variants
    assert variant.parity is not None
    assert variant.parity.max_abs_dp <= 1e-4
    assert variant.parity.judged_by is not None
    assert variant.parity.judged_by.judge == "coreml_evaluator"
    assert "macOS" in variant.parity.judged_by.reason
    assert variant.parity.batch_sizes == (1, 2, 5, 32)
    assert variant.speed is None
    assert not any("passes" in sentence for sentence in said)  # coremltools' progress bars


class EvaluatedModel:
    """``CompiledMLModel`` with the evaluator in Core ML's place, on the files that lie on disk."""

    def __init__(self, path: str, compute_units: Any) -> None:
        data = Path(path) / "Data/com.apple.CoreML"
        manifest = json.loads((Path(path) / "Manifest.json").read_text("utf-8"))
        root = manifest["itemInfoEntries"][manifest["rootModelIdentifier"]]
        model = (Path(path) / "Data" / root["path"]).read_bytes()
        self._program = ProgramSession(model, (data / "weights/weight.bin").read_bytes()).program

    def predict(self, data: list[dict[str, Any]]) -> list[dict[str, Any]]:
        answers = []
        for item in data:
            bgr = np.asarray(item[self._program.picture])[..., ::-1]
            found = dict(zip(self._program.outputs, self._program(bgr), strict=True))
            answers.append(found | {"embedding": found["embedding"].numpy()})
        return answers


def test_the_backend_reads_what_the_converter_wrote(
    package: Artifact, gate: FaceSamples, reference: Outputs, monkeypatch: pytest.MonkeyPatch
) -> None:
    ct = coremltools()

    def keep(model: str, destination: str) -> str:
        assert ct.utils.load_spec(model).specificationVersion == 8
        Path(model).rename(destination)
        return destination

    monkeypatch.setattr(ct.models.utils, "compile_model", keep)
    monkeypatch.setattr(ct.models, "CompiledMLModel", EvaluatedModel)
    files = tuple(listed(path, data) for path, data in package.files.items())
    variant = Variant("coreml", "fp32", package.entry, files, needs=package.needs)
    session = engine.load(variant, package.files, Options())
    probabilities, embedding = session.run(gate.images[:5])
    session.close()
    assert np.abs(probabilities - reference[0][:5]).max() <= 1e-4
    assert embedding == pytest.approx(reference[1][:5], abs=1e-3)
