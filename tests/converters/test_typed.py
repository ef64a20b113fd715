"""What calibration may hold in memory."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from fer_edge.converters.typed import few_enough


def graph(width: int) -> bytes:
    """One hidden activation of ``4 * width`` bytes a face, the batch dynamic."""
    face = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", width])
    answer = helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", width])
    nodes = [helper.make_node("Relu", ["x"], ["h"]), helper.make_node("Relu", ["h"], ["y"])]
    model = helper.make_model(helper.make_graph(nodes, "g", [face], [answer]))
    return model.SerializeToString()


@pytest.mark.parametrize(
    ("width", "kept"),
    [(1, 300), ((2 << 30) // 1200, 300), ((2 << 30) // 1200 + 1, 150), (1 << 27, 4), (1 << 31, 1)],
)
def test_as_many_faces_as_two_gibibytes_hold(width: int, kept: int) -> None:
    faces = np.arange(300).astype(np.uint8).reshape(300, 1, 1, 1)
    found = few_enough(graph(width), faces)
    assert len(found) == kept
    assert len(found) == 1 or 4 * width * len(found) <= 2 << 30
    assert found[0] == faces[0]


def test_the_graph_is_not_changed() -> None:
    before = graph(8)
    few_enough(before, np.zeros((3, 1, 1, 1), np.uint8))
    assert onnx.load_from_string(before).graph.input[0].type.tensor_type.shape.dim[0].dim_param
