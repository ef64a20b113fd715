"""An int8 graph is symmetric, and its calibration keeps little in memory."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import numpy_helper
from onnxruntime.quantization.calibrate import HistogramCollector

from fer_edge.converters.onnx_graph import int8
from fer_edge.converters.onnx_graph.int8 import symmetric_int8
from fer_edge.converters.pipeline.face_samples import FaceSamples
from fer_edge.errors import ConversionError


def test_int8_is_symmetric(graph: bytes, calibration: FaceSamples) -> None:
    model = onnx.load_from_string(symmetric_int8(graph, calibration.images[:40], {}))
    weights = {w.name: numpy_helper.to_array(w) for w in model.graph.initializer}
    count = Counter(node.op_type for node in model.graph.node)
    assert count["QuantizeLinear"] > count["Conv"]
    for node in model.graph.node:
        if node.op_type in ("QuantizeLinear", "DequantizeLinear") and len(node.input) > 2:
            zero = weights[node.input[2]]
            assert zero.dtype == np.int8
            assert not zero.any()


def test_the_form_is_the_same_each_time(graph: bytes, calibration: FaceSamples) -> None:
    faces = calibration.images[:8]
    assert symmetric_int8(graph, faces, {}) == symmetric_int8(graph, faces, {})


def test_int8_that_leaves_no_layer_in_int8_is_refused(
    graph: bytes, calibration: FaceSamples
) -> None:
    """A small network with all its layers given back agrees with itself: that proves nothing."""
    with pytest.raises(ConversionError, match="int8 needs more than half"):
        symmetric_int8(graph, calibration.images[:20], {"keep_float": 1000})


@pytest.fixture
def transformer(small: Callable[[str], Any]) -> tuple[bytes, np.ndarray[Any, np.dtype[np.uint8]]]:
    """A graph whose shapes are not all known before it runs, and faces."""
    vit = small("vit_mae, small")
    return vit.graph, vit.calibration.images[:60]


@pytest.fixture
def held(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Bytes that each histogram calibration held at once."""
    found = []
    collect: Callable[..., None] = HistogramCollector.collect

    def counting(self: Any, arrays: dict[str, list[np.ndarray[Any, Any]]]) -> None:
        found.append(sum(array.nbytes for each in arrays.values() for array in each))
        collect(self, arrays)

    monkeypatch.setattr(HistogramCollector, "collect", counting)
    return found


@pytest.mark.parametrize("limit", [2**30, 8 * 2**20, 2**20, 1])
def test_histograms_are_of_as_many_faces_as_the_limit_holds(
    transformer: Any, held: list[int], monkeypatch: pytest.MonkeyPatch, limit: int
) -> None:
    monkeypatch.setattr(int8, "_HELD_BYTES", 2**30)
    symmetric_int8(*transformer, {"ranges": "percentile"})
    (every,) = held
    held.clear()
    monkeypatch.setattr(int8, "_HELD_BYTES", limit)
    symmetric_int8(*transformer, {"ranges": "percentile"})
    (some,) = held
    assert some <= max(limit, every / 60)
    assert some == every or some > limit / 3


def test_extremes_are_of_every_face(transformer: Any, held: list[int]) -> None:
    symmetric_int8(*transformer, {"ranges": "minmax"})
    assert not held
