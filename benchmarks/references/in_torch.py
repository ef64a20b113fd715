"""The checkpoint in torch, fp32, on all cores: what a user has before converting."""

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
    """The deploy module, eager or through ``torch.compile``, tried once on one face.

    Compiled, it is compiled anew for each batch size, in its first call: that needs a C++ compiler.
    Raises CheckpointError, and EngineError where torch cannot compile here.
    """
    module = DeployModule(load_checkpoint(checkpoint))
    call = torch.compile(module, dynamic=False) if compiled else module

    def run(batch: npt.NDArray[np.uint8]) -> object:
        with torch.inference_mode():
            return call(torch.from_numpy(batch))

    size = module.size_px
    try:
        run(np.zeros((1, size, size, 3), np.uint8))
    except Exception as error:  # inductor raises what its compiler's failure happens to be
        first = str(error).strip().partition("\n")[0]
        raise EngineError(f"torch cannot run {checkpoint} here: {first}") from error
    return run
