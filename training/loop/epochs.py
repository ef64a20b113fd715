"""Phases and epochs of a training run."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch
from accelerate import Accelerator
from accelerate.utils import set_seed
from torch import Tensor, nn
from torch.utils.data import DataLoader

from fer_edge.errors import RecipeError, TrainingError
from fer_edge.progress import Say, Step
from fer_edge.training.config.schema import Phase, Recipe
from fer_edge.training.loop.augment import Mix
from fer_edge.training.loop.dataset import batches
from fer_edge.training.loop.held_out import HeldOut
from fer_edge.training.loop.loader_waits import LoaderWaits
from fer_edge.training.loop.losses import Loss
from fer_edge.training.loop.processes import in_parallel
from fer_edge.training.loop.resume import Position, restore
from fer_edge.training.loop.run_folder import best_so_far
from fer_edge.training.loop.schedules import optimiser, scheduler
from fer_edge.training.models.freeze import freeze, prepare, train_mode, trained_at
from fer_edge.training.models.network import ExpressionNet, Normalise

from timm.utils import ModelEmaV3  # isort: skip  (after the torchvision shim)


@dataclass(frozen=True)
class TrainingRun:
    """Fixed parts of a run.

    Attributes:
        folder: Run folder.
        recipe: Recipe of the run.
        accelerator: Device, precision and processes.
        net: Network in training.
        loader: Training batches of this process.
        order: Generator for the order of faces, seeded before each epoch.
        loss_of: Loss of logits and targets.
        normalise: Conversion of pixels to the network's input.
        mix: MixUp or CutMix of a batch, or None.
        held_out: Faces that select the best epoch and fit the calibration.
        facts: Facts for run.json and the checkpoint's card.
        fingerprint: Fingerprint of all faces, those without labels included.
        say: Receives messages.
        step: Receives progress.
    """

    folder: Path
    recipe: Recipe
    accelerator: Accelerator
    net: ExpressionNet
    loader: DataLoader[Any]
    order: torch.Generator
    loss_of: Loss
    normalise: Normalise
    mix: Mix | None
    held_out: HeldOut
    facts: dict[str, Any]
    fingerprint: str
    say: Say
    step: Step

    @property
    def epochs(self) -> int:
        """Largest number of epochs, over all phases."""
        return sum(phase.epochs for phase in self.recipe.fit.phases)

    @property
    def taught_by(self) -> list[str]:
        """SHA-256 of each teacher's weights, and of each file of opinions."""
        sources = (*self.facts["teachers"], *self.facts.get("opinions", ()))
        return [source["sha256"] for source in sources]


@dataclass
class ActivePhase:
    """Phase in progress.

    Attributes:
        number: Index of the phase, from 0.
        spec: Phase as the recipe describes it.
        optimizer: Optimiser of the parameters that the phase trains.
        schedule: Learning rate schedule.
        average: Moving average of the weights, or None.
        updates: Updates of the average in this phase; its decay rises with them.
        stateful: Parts whose state is saved, by name.
        forward: Network to call in training.
        trained: Part of the network that is trained now, as in Phase.train; empty at first.
        lr: Learning rate of the last step. The schedule is one step ahead: after a phase it holds
            the rate of a step that never comes.
    """

    number: int
    spec: Phase
    optimizer: Any
    schedule: Any
    average: ModelEmaV3 | None
    stateful: dict[str, Any]
    forward: nn.Module
    trained: str = ""
    updates: int = 0
    lr: float = 0.0


def start_phase(
    run: TrainingRun, number: int, done_epochs: int, saved: dict[str, Any] | None
) -> ActivePhase:
    """Prepare the network for a phase; continue from ``saved``, if given.

    Without a warm-up, an average with decay 0.999 still holds 97 % of the start after 34 updates:
    a run on 180 faces saved the untrained head. With timm's warm-up (decay
    ``1 - (1 + n)^(-2/3)`` after n updates, up to the recipe's) the first update forgets it.
    """
    fit, net, accelerator = run.recipe.fit, run.net, run.accelerator
    phase, counts = fit.phases[number], run.facts["parameters"]
    total, trainable = counts["total"], counts["trainable"][number]
    run.say(
        f"Phase {number + 1} of {len(fit.phases)}, {phase.train}: {trainable:,} of "
        f"{total:,} parameters ({trainable / total:.1%}) for {phase.epochs} epochs"
    )
    prepare(net, phase, run.recipe.seed + number)
    accelerator.free_memory()  # the last phase's optimiser, whose gradients it would scale
    optimizer = optimiser(fit, phase, net)
    updates_per_epoch = math.ceil(len(run.loader) / fit.accumulate)
    schedule = scheduler(fit, phase, optimizer, updates_per_epoch)
    optimizer, schedule = accelerator.prepare(optimizer, schedule)
    average = ModelEmaV3(net, decay=fit.ema, use_warmup=True) if fit.ema else None
    stateful: dict[str, Any] = {"net": net, "optimizer": optimizer, "schedule": schedule}
    stateful |= {"average": average.module} if average else {}
    stateful |= {"scaler": accelerator.scaler} if accelerator.scaler else {}
    if saved:
        restore(stateful, saved)
    forward = cast(nn.Module, net)
    return ActivePhase(
        number,
        phase,
        optimizer,
        schedule,
        average,
        stateful,
        forward,
        updates=done_epochs * updates_per_epoch,
    )


def stops_early(run: TrainingRun, at: Position) -> bool:
    """Return True after too many epochs without a better score."""
    fit = run.recipe.fit
    if at.stale >= fit.patience + fit.confirm:
        run.say(f"No better epoch for {at.stale}: stopping early")
        return True
    if at.stale == fit.patience:
        run.say(f"No better epoch for {at.stale}: {fit.confirm} more to confirm")
    return False


def train_epoch(run: TrainingRun, phase: ActivePhase, at: Position) -> float:
    """Train one epoch; return its mean loss over all processes.

    Raises TrainingError if the loss is not finite, and RecipeError for a process whose share of a
    batch is too small for the network.
    """
    _seed_epoch(run, at.epoch)
    _select_parameters(run, phase, at.in_phase)
    train_mode(run.net)
    total_loss = torch.zeros((), device=run.accelerator.device)
    waits = LoaderWaits(batches(run.loader))
    for i, (images, targets) in enumerate(waits):
        weight = _loss_weight(i, len(run.loader), run.recipe.fit.accumulate)
        total_loss += _train_part(run, phase, images, targets, weight)
        run.step(f"epoch {at.epoch + 1}/{run.epochs}", i + 1, len(run.loader))
    if at.epoch == 0 and (advice := waits.advice(run.recipe.fit.workers)):
        run.say(advice)
    loss = float(run.accelerator.reduce(total_loss, "mean")) / len(run.loader)
    if not math.isfinite(loss):
        raise TrainingError(
            f"the loss is not finite in epoch {at.epoch + 1}. Lower fit.lr or use "
            f"fit.precision fp32.{best_so_far(run.folder)}"
        )
    return loss


def _seed_epoch(run: TrainingRun, epoch: int) -> None:
    # Each epoch has its own seed, so that a resumed run draws the same numbers as an unbroken one.
    # Processes differ in their augmentations, but not in the order of faces.
    seed = (run.recipe.seed * 100_003 + epoch) % 2**32
    set_seed(seed, device_specific=True)
    run.order.manual_seed(seed)


def _select_parameters(run: TrainingRun, phase: ActivePhase, epoch: int) -> None:
    """Freeze and unfreeze parameters if this epoch trains another part."""
    trained = trained_at(phase.spec, epoch, run.net.backbone)
    if trained != phase.trained:
        phase.trained = trained
        freeze(run.net, trained)
        phase.forward = in_parallel(run.net, run.accelerator, run.recipe.fit)


def _loss_weight(part: int, parts: int, accumulate: int) -> float:
    """Return the factor of a part's loss, so that each update has the mean gradient of its parts.

    Accelerate divides each loss by ``accumulate``, but the last update of an epoch may have fewer
    parts.

    Args:
        part: Number of the part in its epoch, from 0.
        parts: Parts of an epoch.
        accumulate: Parts of an update.
    """
    last = parts % accumulate
    return accumulate / last if part >= parts - last else 1.0


def _logits(forward: nn.Module, x: Tensor) -> Tensor:
    """Return logits. Raises RecipeError for one face where a batch norm needs several."""
    try:
        logits, _ = forward(x)
    except ValueError as error:
        if len(x) > 1:
            raise
        raise RecipeError(
            f"the network cannot train on one face at a time: {error}. Raise fit.batch, or use "
            "fewer processes"
        ) from error
    return cast(Tensor, logits)


def _train_part(
    run: TrainingRun, phase: ActivePhase, images: Tensor, targets: Tensor, weight: float
) -> Tensor:
    """Train on a part of a batch, images ``[N, C, S, S]`` and targets; return the loss."""
    fit, accelerator = run.recipe.fit, run.accelerator
    x = run.normalise(images.float())
    if run.mix:
        x, targets = run.mix(x, targets)
    with accelerator.accumulate(phase.forward):
        with accelerator.autocast():
            logits = _logits(phase.forward, x)
            loss = run.loss_of(logits.float(), targets)
        accelerator.backward(weight * loss)
        if fit.grad_clip and accelerator.sync_gradients:
            accelerator.clip_grad_norm_(run.net.parameters(), fit.grad_clip)
        phase.lr = phase.schedule.get_last_lr()[0]
        phase.optimizer.step()
        if not fit.by_score:
            phase.schedule.step()
        phase.optimizer.zero_grad()
    if phase.average and accelerator.sync_gradients:
        phase.updates += 1
        phase.average.update(run.net, step=phase.updates)
    return loss.detach()
