"""One process or several, on a CPU, NVIDIA or Apple GPU: what Accelerate needs to be told."""

from __future__ import annotations

import os

import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState, GradientState
from accelerate.utils import DataLoaderConfiguration
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from fer_edge.errors import RecipeError, TrainingError
from fer_edge.training.config.schema import Fit


def accelerator_for(fit: Fit) -> Accelerator:
    """Takes the best device that is here. Raises RecipeError for what that one cannot do."""
    # A second run in one process may want another precision than Accelerate remembers.
    AcceleratorState._reset_state(reset_partial_state=True)
    GradientState._reset_state()
    started = int(os.environ.get("WORLD_SIZE", 1))
    try:
        accelerator = Accelerator(
            # Started as one of several without NVIDIA GPUs, Accelerate has to be told so.
            cpu=started > 1 and not torch.cuda.is_available(),
            mixed_precision={"fp32": "no"}.get(fit.precision, fit.precision),
            gradient_accumulation_steps=fit.accumulate,
            # The processes share a batch: how many there are does not change what is learnt.
            dataloader_config=DataLoaderConfiguration(split_batches=True),
        )
    except ValueError as error:
        raise RecipeError(
            f"{fit.precision} does not work here: {error}. Use --set fit.precision=fp32"
        ) from error
    if accelerator.num_processes != started:
        raise TrainingError(
            f"{started} processes were started and {accelerator.num_processes} found each other: "
            "each would train alone, into the same folder"
        )
    if fit.part % accelerator.num_processes:
        raise RecipeError(
            f"expected a number of faces that {accelerator.num_processes} processes can share, got "
            f"{fit.part} (fit.batch / fit.accumulate)"
        )
    return accelerator


def in_parallel(net: nn.Module, accelerator: Accelerator, fit: Fit) -> nn.Module:
    """The network to call in training, whose gradients are the mean over all processes.

    To be called again when other parameters are trained: it looks at them only here.
    Accelerate's own wrapper is not used, because it leaves autocast in the network for good, and
    held-out faces are to be judged in fp32.
    """
    if accelerator.num_processes > 1:
        devices = [accelerator.device.index] if accelerator.device.type == "cuda" else None
        net = DistributedDataParallel(net, device_ids=devices)
    return torch.compile(net) if fit.compile else net  # type: ignore[return-value]


def gpu_memory(device: torch.device) -> dict[str, float]:
    """The most that tensors took so far, where there is a GPU to ask."""
    if device.type != "cuda":
        return {}
    return {"gpu_memory_mib": torch.cuda.max_memory_allocated(device) / 2**20}
