"""Optimisers and learning rate schedules of a recipe."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from torch.optim import lr_scheduler

from fer_edge.training.config.schema import Fit, Phase
from fer_edge.training.models.network import decay_groups


def optimiser(fit: Fit, phase: Phase, net: nn.Module) -> torch.optim.Optimizer:
    """Return the optimiser of the parameters that are trainable now."""
    groups = decay_groups(net, fit.weight_decay)
    if fit.optimizer == "sgd":
        return torch.optim.SGD(groups, lr=phase.lr, momentum=0.9, nesterov=True)
    return torch.optim.AdamW(groups, lr=phase.lr)


def scheduler(fit: Fit, phase: Phase, optimizer: torch.optim.Optimizer, steps: int) -> Any:
    """Return the learning rate schedule of a phase.

    ``steps`` is the number of optimiser steps in an epoch.

    Call its ``step`` after each step of the optimiser; for ``plateau``, after each epoch, with the
    score.
    """
    total = phase.epochs * steps
    match fit.schedule.split():
        case ["onecycle"]:
            return lr_scheduler.OneCycleLR(
                optimizer,
                phase.lr,
                total_steps=total,
                # A warm-up of exactly one step makes torch divide by zero.
                pct_start=fit.warmup if fit.warmup * total > 1.5 else 0.0,
                cycle_momentum=False,
            )
        case ["plateau", epochs, factor]:
            # torch counts ignored epochs, one fewer than the epochs it waits.
            return lr_scheduler.ReduceLROnPlateau(
                optimizer, factor=float(factor), patience=int(epochs) - 1
            )
        case ["step", epochs, factor]:
            return _warmed(fit, optimizer, total, _steps(int(epochs) * steps, float(factor)))
        case ["cosine"]:
            return _warmed(fit, optimizer, total, lambda i: (1 + math.cos(math.pi * i / total)) / 2)
    return _warmed(fit, optimizer, total, lambda i: 1.0)


def _steps(every: int, factor: float) -> Callable[[int], float]:
    return lambda i: factor ** (i // every)


def _warmed(
    fit: Fit, optimizer: torch.optim.Optimizer, total: int, factor: Callable[[int], float]
) -> Any:
    """Return a linear warm-up, then ``factor`` of the step."""
    rising = round(fit.warmup * total)
    return lr_scheduler.LambdaLR(
        optimizer, lambda i: factor(i) * min(1.0, (i + 1) / (rising + 1)), last_epoch=-1
    )
