"""Models that refer to anything outside, or were made for other labels, reach no engine."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import onnx
import pytest
from onnx import TensorProto, helper

from fer_edge import BundleError, EngineError, Predictor
from fer_edge.backends.fake import write_fake_bundle
from fer_edge.bundle import Bundle, Variant, listed, open_bundle, write_bundle
from fer_edge.labels import EMOTIONS
from fer_edge.model_files.model_check import CONTRACT, check_models, contract_of
from fer_edge.preprocess import CropRule

FACTS = contract_of(EMOTIONS, 1.0, 48, 4)


def model(*nodes: onnx.NodeProto, location: str | None = None, **metadata: str) -> bytes:
    w = helper.make_tensor("w", TensorProto.FLOAT, [1], [1.0])
    if location is not None:
        w.ClearField("float_data")
        w.data_location = TensorProto.EXTERNAL
        w.external_data.add(key="location", value=location)
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, [1])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, [1])
    made = helper.make_model(helper.make_graph(list(nodes), "g", [x], [y], initializer=[w]))
    for key, value in metadata.items():
        made.metadata_props.add(key=key, value=value)
    return bytes(made.SerializeToString())


def bundle_with(path: Path, target: str, name: str, *files: tuple[str, bytes]) -> Path:
    contents = {f"{target}-fp32/{name}": data for name, data in files}
    listing = tuple(listed(p, data) for p, data in contents.items())
    variant = Variant(target, "fp32", f"{target}-fp32/{name}", listing)
    write_bundle(Bundle(path, EMOTIONS, CropRule(48), 1.0, 0.0, 4, {}, (variant,)), contents)
    return path


IR = """<?xml version="1.0"?>
<net name="m" version="11"><layers>
<layer id="1" name="c" type="Const" version="opset1">
<data element_type="f32" shape="4" offset="0" size="16" /></layer>
</layers><rt_info/></net>"""


@pytest.mark.parametrize("target", ["openvino", "onnxruntime", "tensorrt"])
@pytest.mark.parametrize("location", ["/etc/passwd", "weights.bin", "*/_ORT_MEM_ADDR_/*"])
def test_external_data_are_refused_before_an_engine_is_imported(
    tmp_path: Path, target: str, location: str
) -> None:
    path = bundle_with(
        tmp_path / "x.fer", target, "model.onnx", ("model.onnx", model(location=location))
    )
    opened = open_bundle(path)
    with pytest.raises(BundleError, match="outside the file"):
        opened.read(opened.variants[0])
    if target == "openvino":
        code = (
            "import sys, fer_edge\n"
            "try: fer_edge.Predictor(sys.argv[1])\n"
            "except fer_edge.BundleError as error: print(error)\n"
            "except fer_edge.TargetError as error: print('outside the file', error)"
        )
        done = subprocess.run(
            [sys.executable, "-P", "-c", code, str(path)],
            capture_output=True,
            text=True,
            check=False,
            cwd="/",
        )
        assert "outside the file" in done.stdout
        assert done.returncode == 0


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('offset="0"', 'offset="1"'),
        ('offset="0"', 'offset="16"'),
        ('offset="0"', 'offset="-16"'),
        ('offset="0"', 'offset="18446744073709551600"'),
        ('offset="0"', 'offset=" 0"'),
        ('offset="0"', 'offset="0x0"'),
        ('size="16"', 'size="17"'),
        ('size="16"', 'size="-1"'),
        (' size="16"', ""),
        ('type="Const"', 'type="Loop"'),
        ('type="Const"', 'type="TensorIterator"'),
        ('type="Const"', 'type="If"'),
        ('type="Const"', 'type="ReadValue"'),
        ("<rt_info/>", '<rt_info><__weights_path value="/etc/passwd"/></rt_info>'),
        ("<rt_info/>", '<rt_info><x weights_path="/etc/passwd"/></rt_info>'),
        ('offset="0"', 'offset="0" path="/etc/passwd"'),
    ],
)
def test_an_ir_that_reaches_outside_is_refused(old: str, new: str) -> None:
    assert old in IR
    files = {"o/model.xml": IR.replace(old, new).encode(), "o/model.bin": bytes(16)}
    with pytest.raises(BundleError, match=r"convert|Convert"):
        check_models("openvino", "o/model.xml", files, FACTS)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        IR.replace("<net", '<!DOCTYPE net SYSTEM "/etc/passwd"><net').encode(),
        IR.replace("<net", '<!DOCTYPE n [<!ENTITY a "b">]><net').encode(),
        IR.encode("utf-16"),
        IR.replace("net", "nets").encode(),
        IR.encode() + b"\0",
        IR.encode()[:-3],
        model(),
        b"\n" + model(),
    ],
    ids=lambda data: repr(data[:20]),
)
def test_what_is_no_ir_is_no_model(data: bytes) -> None:
    with pytest.raises(EngineError, match="readable"):
        check_models("openvino", "o/model.xml", {"o/model.xml": data, "o/m.bin": bytes(16)}, FACTS)


def test_a_plain_ir_and_its_weights_pass() -> None:
    files = {"o/model.xml": IR.encode(), "o/model.bin": bytes(16)}
    check_models("openvino", "o/model.xml", files, FACTS)
    with pytest.raises(BundleError, match="weights file of 0"):
        check_models("openvino", "o/model.xml", {"o/model.xml": IR.encode()}, FACTS)


@pytest.mark.parametrize("data", [b"\n" + IR.encode(), IR.encode(), b"", b"{}"])
def test_xml_that_is_named_onnx_reaches_no_engine(data: bytes) -> None:
    with pytest.raises(EngineError, match="readable ONNX"):
        check_models("openvino", "o/model.onnx", {"o/model.onnx": data}, FACTS)


@pytest.mark.parametrize(
    ("target", "entry"),
    [
        ("openvino", "o/model.pb"),
        ("onnxruntime", "o/model.ort"),
        ("onnxruntime", "o/model.xml"),
        ("tensorrt", "o/sm86.engine"),
        ("openvino", "o/model"),
    ],
)
def test_a_form_that_cannot_be_checked_is_refused(target: str, entry: str) -> None:
    with pytest.raises(BundleError, match="expected the model of"):
        check_models(target, entry, {entry: model()}, FACTS)


def test_compiled_code_of_an_engine_is_refused() -> None:
    data = model(helper.make_node("EPContext", ["x"], ["y"], ep_cache_context="/etc/passwd"))
    with pytest.raises(BundleError, match="compiled code"):
        check_models("onnxruntime", "o/m.onnx", {"o/m.onnx": data}, FACTS)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("labels", ["anger", "disgust", "fear", "neutral", "happiness", "sadness", "surprise"]),
        ("temperature", 1.5),
        ("size_px", 64),
        ("embedding_dim", 5),
    ],
)
def test_a_graph_of_another_contract_is_refused(key: str, value: Any) -> None:
    data = model(**{CONTRACT: json.dumps({**FACTS, key: value})})
    with pytest.raises(BundleError, match=f"exported with {key}"):
        check_models("onnxruntime", "o/m.onnx", {"o/m.onnx": data}, FACTS)


@pytest.mark.parametrize("text", ["{", "[]", "7", '{"labels": 1, "labels": 1}', "[" * 9999])
def test_damaged_metadata_are_refused(text: str) -> None:
    with pytest.raises(BundleError, match="metadata"):
        check_models("onnxruntime", "o/m.onnx", {"o/m.onnx": model(**{CONTRACT: text})}, FACTS)


def test_a_graph_of_the_same_contract_or_without_metadata_passes() -> None:
    for data in (model(), model(other="x"), model(**{CONTRACT: json.dumps(FACTS)})):
        check_models("onnxruntime", "o/m.onnx", {"o/m.onnx": data}, FACTS)


def test_the_shipped_bundle_and_a_fake_one_pass(tmp_path: Path) -> None:
    for path in (None, write_fake_bundle(tmp_path / "fake.fer")):
        with Predictor(path) as predictor:
            assert predictor.variant


def test_a_model_whose_metadata_are_cut_off_is_refused() -> None:
    data = model() + b"\x72\x02\x08\x05"
    with pytest.raises(EngineError, match=r"damaged metadata\. Get the bundle again"):
        check_models("onnxruntime", "o/m.onnx", {"o/m.onnx": data}, FACTS)
