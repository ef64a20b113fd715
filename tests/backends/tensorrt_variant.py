"""A small network for TensorRT, GPUs that this machine may lack, and the fallback to the CPU."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from fer_edge import Predictor
from fer_edge.backends.tensorrt_compile import Profile
from fer_edge.backends.tensorrt_cuda import Gpu
from fer_edge.labels import EMOTIONS
from fer_edge.preprocess import Image

PROFILE = Profile(1, 1, 8)
A10 = Gpu(0, "NVIDIA A10", "sm_86", "12.8-570.133.20")
ADA = Gpu(0, "NVIDIA L4", "sm_89", "12.8-570.133.20")


def network() -> bytes:
    """A tiny classifier: the mean colour of a face, times two matrices."""
    rng = np.random.default_rng(3)
    weights = [
        numpy_helper.from_array(rng.normal(size=shape).astype(np.float32) / 50, name)
        for name, shape in (("a", (3, 4)), ("b", (4, len(EMOTIONS))))
    ]
    nodes = [
        helper.make_node("Cast", ["images"], ["x"], to=TensorProto.FLOAT),
        helper.make_node("ReduceMean", ["x", "axes"], ["mean"], keepdims=0),
        helper.make_node("MatMul", ["mean", "a"], ["embedding"]),
        helper.make_node("MatMul", ["embedding", "b"], ["logits"]),
        helper.make_node("Softmax", ["logits"], ["probabilities"]),
    ]
    info = helper.make_tensor_value_info
    graph = helper.make_graph(
        nodes,
        "tiny",
        [info("images", TensorProto.UINT8, ["n", 48, 48, 3])],
        [
            info("probabilities", TensorProto.FLOAT, ["n", len(EMOTIONS)]),
            info("embedding", TensorProto.FLOAT, ["n", 4]),
        ],
        [*weights, numpy_helper.from_array(np.array([1, 2]), "axes")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    onnx.checker.check_model(model, full_check=True)
    data: bytes = model.SerializeToString()
    return data


ONNX = network()


def fallback(bundle: Path, face: Image, **options: Any) -> str:
    """Why TensorRT was passed over; the next variant has to have answered."""
    with Predictor(bundle, **options) as predictor:
        assert predictor.variant.name == "onnxruntime/fp32"
        assert predictor(face).label in EMOTIONS
        refused, taken = predictor.explain()
    assert taken.taken
    assert refused.reason is not None
    return refused.reason
