"""What calibration may hold in memory."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from onnxruntime.quantization.calibrate import HistogramCollector

from fer_edge.converters.onnx_graph import precision as typed
from fer_edge.converters.onnx_graph.precision import symmetric_int8


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
    monkeypatch.setattr(typed, "_HELD_BYTES", 2**30)
    symmetric_int8(*transformer, {"ranges": "percentile"})
    (every,) = held
    held.clear()
    monkeypatch.setattr(typed, "_HELD_BYTES", limit)
    symmetric_int8(*transformer, {"ranges": "percentile"})
    (some,) = held
    assert some <= max(limit, every / 60)
    assert some == every or some > limit / 3


def test_extremes_are_of_every_face(transformer: Any, held: list[int]) -> None:
    symmetric_int8(*transformer, {"ranges": "minmax"})
    assert not held
