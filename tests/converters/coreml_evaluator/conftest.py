"""Small Core ML packages, saved by coremltools."""

from __future__ import annotations

import functools
import logging
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from torch import Tensor, nn

from fer_edge.backends.coreml import coremltools
from fer_edge.converters.coreml import _mend_operations


@dataclass(frozen=True)
class Saved:
    model: bytes
    weights: bytes

    @property
    def spec(self) -> Any:
        return coremltools().proto.Model_pb2.Model.FromString(self.model)


def saved(module: nn.Module, count: int, half: bool = False) -> Saved:
    """The module as a package of one picture, with outputs result0, result1, …"""
    ct = coremltools()
    _mend_operations()
    logging.getLogger("torch").setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        exported = torch.export.export(module.eval(), (torch.zeros(1, 3, 8, 8),))
        model = ct.convert(
            exported.run_decompositions({}),
            inputs=[ct.ImageType("face", (1, 3, 8, 8), color_layout=ct.colorlayout.RGB)],
            outputs=[ct.TensorType(f"result{i}", dtype=np.float32) for i in range(count)],
            compute_precision=ct.precision.FLOAT16 if half else ct.precision.FLOAT32,
            minimum_deployment_target=ct.target.macOS14,
            skip_model_load=True,
        )
    data = Path(model.weights_dir, "weight.bin")
    return Saved(model.get_spec().SerializeToString(), data.read_bytes() if data.exists() else b"")


@pytest.fixture(scope="session")
def save() -> Callable[..., Saved]:
    """Converts a module: ``save(module, number_of_results, half=False)``."""
    return saved


@pytest.fixture(scope="session")
def face() -> npt.NDArray[np.uint8]:
    return np.random.default_rng(5).integers(0, 256, (8, 8, 3), np.uint8)


@functools.cache
def _weights(*shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(sum(shape)))


@pytest.fixture(scope="session")
def weights() -> Callable[..., Tensor]:
    """The same random numbers for the same shape."""
    return _weights
