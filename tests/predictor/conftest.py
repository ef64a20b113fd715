"""Predictors on the fake engine, and on a network that sees colours."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from fer_edge.labels import EMOTIONS
from fer_edge.predictor import Predictor

sys.path.insert(0, str(Path(__file__).parent))  # importlib mode does not add this folder


@pytest.fixture
def predictor(fake_bundle: Path) -> Iterator[Predictor]:
    with Predictor(fake_bundle) as predictor:
        yield predictor


@pytest.fixture(scope="module")
def colour_network() -> bytes:
    """A network that shows swapped faces or colours.

    Its embedding is the mean B, G and R. It answers "fear" for blue, "disgust" for green and
    "anger" for red.
    """
    onnx = pytest.importorskip("onnx", reason="needs onnx to build a network: fer-edge[convert]")
    node, tensor = onnx.helper.make_node, onnx.helper.make_tensor_value_info
    floats, integers = onnx.TensorProto.FLOAT, onnx.TensorProto.INT64
    weights = np.zeros((3, 7), np.float32)
    for channel, name in enumerate(("fear", "disgust", "anger")):
        weights[channel, EMOTIONS.index(name)] = 0.1
    graph = onnx.helper.make_graph(
        [
            node("Cast", ["image"], ["pixels"], to=floats),
            node("ReduceMean", ["pixels", "axes"], ["embedding"], keepdims=0),
            node("MatMul", ["embedding", "weights"], ["logits"]),
            node("Softmax", ["logits"], ["probabilities"], axis=1),
        ],
        "colour",
        [tensor("image", onnx.TensorProto.UINT8, ["n", 48, 48, 3])],
        [tensor("probabilities", floats, ["n", 7]), tensor("embedding", floats, ["n", 3])],
        [
            onnx.helper.make_tensor("axes", integers, [2], [1, 2]),
            onnx.helper.make_tensor("weights", floats, weights.shape, weights),
        ],
    )
    opset = onnx.helper.make_opsetid("", 18)
    model = onnx.helper.make_model(graph, opset_imports=[opset], ir_version=10)
    return bytes(model.SerializeToString())


@pytest.fixture(params=["onnxruntime", "openvino"])
def seeing(
    request: pytest.FixtureRequest, tmp_path: Path, colour_network: bytes
) -> Iterator[Predictor]:
    from predictor_inputs import bundle_of

    pytest.importorskip(request.param)
    path = bundle_of(tmp_path / "seeing.fer", {f"{request.param}/fp32": colour_network})
    with Predictor(path, threads=1) as predictor:
        yield predictor
