"""Ranges of activations are measured on all columns of a map."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from fer_edge.progress import silent
from fer_edge.training.checkpoint import Checkpoint
from fer_edge.training.models.quantized import QuantizedNet
from fer_edge.training.quantization import ranges


@pytest.mark.parametrize("period", [2, 3])
def test_a_range_is_that_of_every_column(
    untrained: Callable[..., Checkpoint], monkeypatch: pytest.MonkeyPatch, period: int
) -> None:
    """Every ``period``-th column is as before, those between are ten times larger."""
    net = QuantizedNet(untrained("grey", "test_resnet").model)
    few = torch.rand(4, 1, 48, 48, generator=torch.Generator().manual_seed(1)) + 0.1
    monkeypatch.setattr(ranges, "_VALUES", few.numel() // period)

    def scale_of_input(columns: slice) -> float:
        faces = few.clone()
        faces[..., columns] *= 10
        ranges.measure_scales(net, [faces], silent)
        return next(iter(net.activation_scales().values()))

    assert scale_of_input(slice(1, None, period)) == scale_of_input(slice(None))
    assert scale_of_input(slice(1, None, period)) > 4 * scale_of_input(slice(0))


@given(st.integers(1, 64), st.integers(1, 64), st.integers(1, 32), st.integers(1, 4000))
def test_a_step_meets_all_columns(width: int, height: int, maps: int, wanted: int) -> None:
    count = width * height * maps
    taken = range(0, count, ranges.step_between(count, wanted))
    assert 1 <= len(taken) < 2 * wanted
    assert count >= 2 * wanted or len(taken) == count
    assert len({place % width for place in taken}) == min(width, len(taken))
