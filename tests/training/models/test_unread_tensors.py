"""Weights files with tensors of a type that cannot be read."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from fer_edge.errors import CheckpointError
from fer_edge.training.models.weights_file import StateDict, read_weights

OWN = {"stem.conv.weight": torch.arange(24.0).view(4, 6), "stem.bn.bias": torch.ones(4)}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "theirs.pth"


def same(path: Path) -> StateDict:
    state = read_weights(path, OWN)
    for name, value in OWN.items():
        torch.testing.assert_close(state.tensors[name], value, rtol=0, atol=0)
    return state


@pytest.mark.parametrize("dtype", [torch.complex64, torch.float8_e4m3fn])
def test_a_tensor_of_a_type_that_cannot_be_read_is_named(path: Path, dtype: torch.dtype) -> None:
    odd = torch.nn.Parameter(torch.ones(3).to(dtype), requires_grad=False)
    torch.save({**OWN, "stem.odd": odd}, path)
    assert same(path).unread == ("stem.odd",)
    torch.save({"model": {"stem.odd": odd}}, path)
    with pytest.raises(CheckpointError, match=r"found none, but 1 of a type .*float32"):
        read_weights(path)


@pytest.mark.parametrize("key", ["ema", "generator"])
@pytest.mark.parametrize("other", ["state_dict", "result"])
@pytest.mark.parametrize("more", [{}, {"decay": torch.tensor(0.9)}])
def test_tensors_that_can_be_read_come_before_others(
    path: Path, key: str, other: str, more: dict[str, torch.Tensor]
) -> None:
    odd = {name: value.to(torch.float8_e4m3fn) for name, value in OWN.items()}
    torch.save({key: {**odd, **more}, other: OWN}, path)
    assert same(path).key == other


@pytest.mark.parametrize(
    ("key", "names"), [("ema", ()), ("ema", OWN), ("ema", ["other"]), ("result", OWN)]
)
def test_a_file_without_tensors_that_can_be_read_says_how_many_it_has(
    path: Path, key: str, names: Any
) -> None:
    torch.save({key: {name: value.to(torch.complex64) for name, value in OWN.items()}}, path)
    with pytest.raises(CheckpointError, match="found none, but 2 of a type"):
        read_weights(path, names)
