"""Folding either gives a float graph or says in a sentence that it cannot."""

from __future__ import annotations

import onnx
import pytest
from onnx import TensorProto, helper

from fer_edge.converters.onnx_graph.fold import folded
from fer_edge.errors import ConversionError


def graph(output: str) -> bytes:
    """A graph of one addition, whose output has a name."""
    nodes = [
        helper.make_node("Constant", [], ["half"], value_float=0.5),
        helper.make_node("Add", ["x", "half"], ["sum"]),
    ]
    ends = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 3]) for name in ("x", output)
    ]
    made = helper.make_model(
        helper.make_graph(nodes, "g", ends[:1], ends[1:]),
        opset_imports=[helper.make_opsetid("", 18)],
    )
    made.ir_version = 9
    return bytes(made.SerializeToString())


def test_constants_become_initialisers() -> None:
    model = onnx.load_from_string(folded(graph("sum")))
    assert [node.op_type for node in model.graph.node] == ["Add"]


def test_a_graph_that_onnxruntime_cannot_load_is_refused(
    capfd: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(ConversionError, match="onnxruntime could not fold"):
        folded(graph("lost"))
