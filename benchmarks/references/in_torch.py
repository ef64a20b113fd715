"""Checkpoint in PyTorch (fp32, all cores): the baseline before any conversion."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from fer_edge import EngineError
from fer_edge.benchmarks.job import Ready
from fer_edge.training.checkpoint import load_checkpoint
from fer_edge.training.deploy import DeployModule


def in_torch(checkpoint: str | Path, *, compiled: bool = False) -> Ready:
    """Load a checkpoint's deploy module, and try it on one face.

    Args:
        checkpoint: Folder of the checkpoint.
        compiled: Run it through ``torch.compile``, which needs a C++ compiler. The first call of
            each batch size compiles.

    Returns:
        Callable of a ready batch, uint8 ``[N, S, S, 3]`` BGR.

    Raises:
        CheckpointError: The checkpoint is damaged.
        EngineError: torch cannot run or compile it on this machine.
    """
    module = DeployModule(load_checkpoint(checkpoint))
    call = torch.compile(module, dynamic=False) if compiled else module

    def run(batch: npt.NDArray[np.uint8]) -> object:
        with torch.inference_mode():
            return call(torch.from_numpy(batch))

    size = module.size_px
    try:
        run(np.zeros((1, size, size, 3), np.uint8))
    except Exception as error:  # inductor raises many types
        first = str(error).strip().partition("\n")[0]
        raise EngineError(f"torch cannot run {checkpoint} here: {first}") from error
    return run
