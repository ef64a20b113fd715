"""One recipe, one data set, one run folder: the training loop."""

from __future__ import annotations

import json
import math
import time
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import torch
from accelerate import Accelerator
from accelerate.utils import broadcast_object_list, set_seed
from torch import nn

from fer_edge.errors import CheckpointError, TrainingError
from fer_edge.progress import Say, Step, silent
from fer_edge.training.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from fer_edge.training.config.schema import Recipe
from fer_edge.training.data.dataset_spec import DatasetSpecs
from fer_edge.training.data.holdout import split_data
from fer_edge.training.evaluation.calibrate import abstention_threshold, best_nll, fit_temperature
from fer_edge.training.evaluation.metrics import metrics
from fer_edge.training.loop import run_folder
from fer_edge.training.loop.augment import mixing
from fer_edge.training.loop.dataset import FaceDataset, predict_logits
from fer_edge.training.loop.loader import train_loader
from fer_edge.training.loop.losses import loss_function
from fer_edge.training.loop.processes import accelerator_for, gpu_memory, in_parallel
from fer_edge.training.loop.resume import Position, load_state, save_state
from fer_edge.training.loop.run_folder import BEST, METRICS, STATE
from fer_edge.training.loop.schedules import optimiser, scheduler
from fer_edge.training.loop.targets import indices, teacher_facts, train_targets
from fer_edge.training.models.depthwise import quicken
from fer_edge.training.models.freeze import (
    freeze,
    parameter_counts,
    prepare,
    train_mode,
    trained_at,
)
from fer_edge.training.models.from_recipe import build_network, model_spec
from fer_edge.training.models.lora import merged
from fer_edge.training.models.network import ExpressionNet, Normalise, parameter_count

from timm.utils import ModelEmaV3  # isort: skip  (after the torchvision shim)


def train(
    recipe: Recipe,
    source: DatasetSpecs,
    run: str | Path,
    *,
    resume: bool = False,
    licence: str | None = None,
    say: Say = print,
    step: Step = silent,
) -> Path:
    """Train, choose the best epoch on held-out faces, calibrate; gives the checkpoint folder.

    run: a folder for everything of this run: recipe, environment, metrics per epoch, curves,
    state to resume from, and ``best/``, the checkpoint. With ``resume`` a killed run goes on from
    its last whole epoch and ends with the weights that an unbroken one would have.
    licence: what the data may be used for, in words; goes into the card and every bundle.
    Started by ``torchrun`` or ``accelerate launch``, the processes share each batch, and the first
    of them writes.

    Raises DataError, RecipeError, or TrainingError; the best checkpoint so far is kept.
    """
    run, fit = Path(run), recipe.fit
    run_folder.claim(run, resume)
    spec, epochs = model_spec(recipe), sum(phase.epochs for phase in fit.phases)
    total, trainable = parameter_counts(spec, fit.phases)
    accelerator = accelerator_for(fit)
    if not (main := accelerator.is_main_process):
        say, step = (lambda text: None), silent
    say(
        f"{run_folder.device_name(accelerator.device)}, {accelerator.num_processes} process(es), "
        f"{fit.precision}"
    )
    split = split_data(recipe, source, step, say)
    say(
        f"{len(split.train):,} faces to train on, {len(split.held):,} held out, "
        f"{split.dropped} dropped as twins of validation pictures"
    )
    set_seed(recipe.seed % 2**32)
    net, weights_from = build_network(recipe, say)
    order = torch.Generator()
    loader = accelerator.prepare(
        train_loader(recipe, split.train, train_targets(split, recipe, say), spec.input, order)
    )
    loss_of = loss_function(fit, split.train, spec.labels)
    normalise = Normalise(spec.input).to(accelerator.device)
    mix = mixing(recipe.augment, len(spec.labels))
    held = FaceDataset(split.held, None, spec.input)
    facts = {
        "recipe": recipe.as_dict(),
        "teachers": teacher_facts(recipe),
        "weights_from": weights_from,
        "data": split.facts(),
        "parameters": {"total": total, "trainable": trainable},
    }
    at, saved = Position(), None
    if resume and (run / STATE).exists():
        at, saved = load_state(run / STATE, json.dumps(recipe.as_dict()), split.fingerprint)
        say(f"Going on after epoch {at.epoch}")

    with run_folder.writing(recipe, run, facts, accelerator, at.epoch) as log:
        net.to(accelerator.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        if accelerator.device.type == "cpu":
            quicken(net)
        for number in range(at.phase, len(fit.phases)):
            phase = fit.phases[number]
            if number > at.phase:
                at.begin(number)
            say(
                f"Phase {number + 1} of {len(fit.phases)}, {phase.train}: {trainable[number]:,} of "
                f"{total:,} parameters ({trainable[number] / total:.1%}) for {phase.epochs} epochs"
            )
            prepare(net, phase, recipe.seed + number)
            accelerator.free_memory()  # the last phase's optimiser, whose gradients it would scale
            optimizer = optimiser(fit, phase, net)
            schedule = scheduler(fit, phase, optimizer, math.ceil(len(loader) / fit.accumulate))
            optimizer, schedule = accelerator.prepare(optimizer, schedule)
            average = ModelEmaV3(net, decay=fit.ema) if fit.ema else None
            parts = {"net": net, "optimizer": optimizer, "schedule": schedule}
            parts |= {"average": average.module} if average else {}
            parts |= {"scaler": accelerator.scaler} if accelerator.scaler else {}
            if saved:
                for name, part in parts.items():
                    part.load_state_dict(saved[name])
                saved = None
            trains, forward = "", cast(nn.Module, net)

            for epoch in range(at.in_phase, phase.epochs):
                if at.stale >= fit.patience + fit.confirm:
                    say(f"No better epoch for {at.stale}: stopping early")
                    break
                if at.stale == fit.patience:
                    say(f"No better epoch for {at.stale}: {fit.confirm} more to confirm")
                started = time.monotonic()
                # Each epoch has a seed of its own, so that a resumed run draws what an unbroken
                # one would. Processes differ in their augmentations, not in the order of faces.
                seed = (recipe.seed * 100_003 + at.epoch) % 2**32
                set_seed(seed, device_specific=True)
                order.manual_seed(seed)
                if trains != (now := trained_at(phase, epoch, net.backbone)):
                    trains = now
                    freeze(net, trains)
                    forward = in_parallel(net, accelerator, fit)
                train_mode(net)
                total_loss = torch.zeros((), device=accelerator.device)
                for i, (images, targets) in enumerate(loader):
                    x = normalise(images.float())
                    if mix:
                        x, targets = mix(x, targets)
                    with accelerator.accumulate(forward):
                        with accelerator.autocast():
                            logits, _ = forward(x)
                            loss = loss_of(logits.float(), targets)
                        accelerator.backward(loss)
                        if fit.grad_clip and accelerator.sync_gradients:
                            accelerator.clip_grad_norm_(net.parameters(), fit.grad_clip)
                        optimizer.step()
                        if not fit.by_score:
                            schedule.step()
                        optimizer.zero_grad()
                    if average and accelerator.sync_gradients:
                        average.update(net)
                    total_loss += loss.detach()
                    step(f"epoch {at.epoch + 1}/{epochs}", i + 1, len(loader))
                train_loss = float(accelerator.reduce(total_loss, "mean")) / len(loader)
                if not math.isfinite(train_loss):
                    raise TrainingError(
                        f"the loss is not finite in epoch {at.epoch + 1}. Lower fit.lr or use "
                        f"fit.precision fp32.{run_folder.best_so_far(run)}"
                    )

                candidate = merged(average.module if average else net)
                scores = judge(candidate, held, fit.batch, accelerator)
                better = at.note(scores["held_calibrated_nll"], fit.min_delta)
                lr = schedule.get_last_lr()[0]
                if fit.by_score:
                    schedule.step(scores["held_calibrated_nll"])
                if not main:
                    continue
                if better:
                    save_best(candidate, facts | {"epoch": at.epoch}, run)
                row = {
                    "epoch": at.epoch,
                    "phase": number + 1,
                    "train_loss": train_loss,
                    **scores,
                    "lr": lr,
                    "seconds": time.monotonic() - started,
                    **gpu_memory(accelerator.device),
                }
                log(row)
                tensors = {name: part.state_dict() for name, part in parts.items()}
                known = {"recipe": json.dumps(recipe.as_dict()), "data": split.fingerprint}
                save_state(run / STATE, at, {**known, **tensors})
                say(
                    f"epoch {at.epoch:3d}/{epochs}  loss {train_loss:.4f}  "
                    f"held-out accuracy {scores['held_accuracy']:.4f}  balanced "
                    f"{scores['held_balanced_accuracy']:.4f}  nll {scores['held_nll']:.4f}  "
                    f"{row['seconds']:.0f} s" + ("  best" if better else "")
                )
        if main:
            finish(run, held, recipe, licence, accelerator.device, say)
    accelerator.wait_for_everyone()
    return run / BEST


def judge(
    net: ExpressionNet, held: FaceDataset, batch: int, accelerator: Accelerator
) -> dict[str, float]:
    """Scores on the held-out faces, computed by the first process and known to all."""
    scores: dict[str, float] = {}
    if accelerator.is_main_process:
        logits = predict_logits(net, held, batch, accelerator.device)
        truth = [face.label for face in held.faces]
        found = metrics(logits.softmax(1).numpy(), truth, net.spec.labels)
        scores = {
            "held_accuracy": found["accuracy"],
            "held_balanced_accuracy": found["balanced_accuracy"],
            "held_nll": found["nll"],
            "held_calibrated_nll": best_nll(logits, indices(held.faces, net.spec.labels)),
        }
    shared: list[dict[str, float]] = broadcast_object_list([scores])
    return shared[0]


def save_best(net: ExpressionNet, facts: dict[str, Any], run: Path) -> None:
    try:
        save_checkpoint(Checkpoint(net, facts=facts), run / BEST)
    except CheckpointError as error:
        raise TrainingError(
            f"epoch {facts['epoch']}: {error}. Lower fit.lr.{run_folder.best_so_far(run)}"
        ) from error


def finish(
    run: Path,
    held: FaceDataset,
    recipe: Recipe,
    licence: str | None,
    device: torch.device,
    say: Say,
) -> None:
    """Fit temperature and threshold for the best epoch, and draw the curves."""
    from fer_edge.training.reports.run_report import draw_curves, write_run_report

    checkpoint = load_checkpoint(run / BEST)
    logits = predict_logits(checkpoint.model.to(device), held, recipe.fit.batch, device)
    truth = indices(held.faces, recipe.labels)
    temperature = fit_temperature(logits, truth)
    calibrated = (logits / temperature).softmax(1)
    scores = metrics(calibrated.numpy(), [face.label for face in held.faces], recipe.labels)
    facts = checkpoint.facts | {
        "held_out": {k: scores[k] for k in ("accuracy", "balanced_accuracy", "macro_f1", "ece")},
        "licences": {"data": licence or "not stated"},
    }
    save_checkpoint(
        replace(
            checkpoint,
            temperature=temperature,
            abstain_below=abstention_threshold(calibrated, truth),
            facts=facts,
        ),
        run / BEST,
    )
    draw_curves(run / METRICS, run / "curves.png")
    write_run_report(run, calibrated.numpy(), [face.label for face in held.faces])
    say(
        f"Best epoch {checkpoint.facts['epoch']}, {parameter_count(checkpoint.model):,} "
        f"parameters, temperature {temperature:.3f}: {run / BEST}"
    )
