"""Set-up of Accelerate for one or several processes."""

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
from fer_edge.training.loop.elastic import join_again


def accelerator_for(fit: Fit) -> Accelerator:
    """Return an accelerator on the best device of this machine.

    Raises RecipeError for a precision or batch that the device or the processes cannot handle, and
    TrainingError if the started processes do not find each other.
    """
    # A second run in the same process may use another precision; Accelerate keeps the first.
    AcceleratorState._reset_state(reset_partial_state=True)
    GradientState._reset_state()
    started = int(os.environ.get("WORLD_SIZE", 1))
    join_again()
    try:
        accelerator = Accelerator(
            # Several processes without NVIDIA GPUs: Accelerate does not detect this by itself.
            cpu=started > 1 and not torch.cuda.is_available(),
            mixed_precision={"fp32": "no"}.get(fit.precision, fit.precision),
            gradient_accumulation_steps=fit.accumulate,
            # Processes share each batch, so their number does not change the result.
            dataloader_config=DataLoaderConfiguration(split_batches=True),
        )
    except ValueError as error:
        if "precision" not in str(error):
            raise TrainingError(
                f"cannot connect the processes of this training: {error}. Unset the variables of "
                "a launcher, or start with torchrun"
            ) from error
        raise RecipeError(
            f"{fit.precision} does not work on this machine: {error}. Use --set fit.precision=fp32"
        ) from error
    if accelerator.num_processes != started:
        raise TrainingError(
            f"expected {started} processes, but {accelerator.num_processes} found each other: each "
            "would train alone, into the same folder. Start them with torchrun or accelerate launch"
        )
    if fit.part % accelerator.num_processes:
        raise RecipeError(
            f"expected fit.batch / fit.accumulate to be a multiple of {accelerator.num_processes} "
            f"processes, got {fit.part}. Change fit.batch or the number of processes"
        )
    return accelerator


def in_parallel(net: nn.Module, accelerator: Accelerator, fit: Fit) -> nn.Module:
    """Wrap the network so that gradients are averaged over all processes.

    Call it again after freezing or unfreezing parameters: DistributedDataParallel registers the
    trainable ones once. Accelerate's own wrapper leaves autocast in the network, but held-out
    faces are scored in fp32.
    """
    if accelerator.num_processes > 1:
        devices = [accelerator.device.index] if accelerator.device.type == "cuda" else None
        net = DistributedDataParallel(net, device_ids=devices)
    return torch.compile(net) if fit.compile else net  # type: ignore[return-value]


def gpu_memory(device: torch.device) -> dict[str, float]:
    """Return peak tensor memory in MiB; empty without NVIDIA GPU."""
    if device.type != "cuda":
        return {}
    return {"gpu_memory_mib": torch.cuda.max_memory_allocated(device) / 2**20}
