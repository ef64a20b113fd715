"""One recipe, one data set, one run folder: the training loop, and all that surrounds it."""

from __future__ import annotations

import json
import os
import platform
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from accelerate.utils import set_seed
from torch import nn
from torch.utils.data import DataLoader

from fer_edge.errors import CheckpointError, TrainingError
from fer_edge.training.augment import augmentation
from fer_edge.training.calibrate import abstention_threshold, best_nll, fit_temperature
from fer_edge.training.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from fer_edge.training.dataset import FaceDataset, predict_logits
from fer_edge.training.metrics import metrics
from fer_edge.training.model import (
    FaceNet,
    InputSpec,
    ModelSpec,
    Normalise,
    decay_groups,
    parameter_count,
)
from fer_edge.training.recipe import Recipe
from fer_edge.training.source import Sources
from fer_edge.training.split import Say, Split, Step, split_data
from fer_edge.training.targets import indices, teacher_facts, train_targets
from fer_edge.training.weights import load_weights

from timm.utils import ModelEmaV3  # isort: skip  (after the torchvision shim)
from torchvision.transforms import v2  # isort: skip

BEST, STATE, METRICS = "best", "state.pt", "metrics.jsonl"


def train(
    recipe: Recipe,
    source: Sources,
    run: str | Path,
    *,
    resume: bool = False,
    licence: str | None = None,
    say: Say = print,
    step: Step = lambda what, done, total: None,
) -> Path:
    """Train, choose the best epoch on held-out faces, calibrate; gives the checkpoint folder.

    run: a folder for everything of this run: recipe, environment, metrics per epoch, curves,
    state to resume from, and ``best/``, the checkpoint. With ``resume`` a killed run goes on from
    its last whole epoch and ends with the weights that an unbroken one would have.
    licence: what the data may be used for, in words; goes into the card and every bundle.

    Raises DataError, RecipeError, or TrainingError; the best checkpoint so far is kept.
    """
    run = Path(run)
    if (run / STATE).exists() and not resume:
        raise TrainingError(f"{run} holds a run already. Add --resume to go on, or choose another")
    try:
        run.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise TrainingError(f"cannot make the run folder {run}: {error.strerror}") from error
    spec = model_spec(recipe)
    split = split_data(recipe, source, step, say)
    say(
        f"{len(split.train):,} faces to train on, {len(split.held):,} held out, "
        f"{split.dropped} dropped as twins of validation pictures"
    )
    # A second run in one process may want another precision than Accelerate remembers.
    AcceleratorState._reset_state(reset_partial_state=True)
    accelerator = Accelerator(
        mixed_precision={"fp32": "no"}.get(recipe.fit.precision, recipe.fit.precision)
    )
    set_seed(recipe.seed % 2**32)
    net = FaceNet(spec).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    account = load_weights(net.backbone, recipe.model.weights) if recipe.model.weights else None
    if account:
        say(str(account))
    change = augmentation(recipe.augment)
    order = torch.Generator()
    loader: Any = DataLoader(
        FaceDataset(split.train, train_targets(split, recipe, say), spec.input, change),
        batch_size=recipe.fit.batch,
        shuffle=True,
        drop_last=len(split.train) >= recipe.fit.batch,
        num_workers=recipe.fit.workers,
        generator=order,
    )
    held = FaceDataset(split.held, None, spec.input)
    teachers = teacher_facts(recipe)
    optimizer, schedule = optimisers(recipe, net, len(loader))
    average = ModelEmaV3(net, decay=recipe.fit.ema) if recipe.fit.ema else None
    normalise = Normalise(spec.input).to(accelerator.device)
    mix = (
        v2.MixUp(alpha=recipe.augment.mixup, num_classes=len(spec.labels))
        if recipe.augment.mixup
        else None
    )
    net, optimizer, loader, schedule = accelerator.prepare(net, optimizer, loader, schedule)
    forward = torch.compile(net) if recipe.fit.compile else net

    first, best, best_epoch = 0, float("inf"), -1
    if resume and (run / STATE).exists():
        state = _load_state(run / STATE)
        if state["recipe"] != json.dumps(recipe.as_dict()) or state["data"] != split.fingerprint:
            raise TrainingError(f"{run} was started with another recipe or other data")
        accelerator.unwrap_model(net).load_state_dict(state["net"])
        if average:
            average.module.load_state_dict(state["average"])
        optimizer.load_state_dict(state["optimizer"])
        schedule.load_state_dict(state["schedule"])
        if accelerator.scaler:
            accelerator.scaler.load_state_dict(state["scaler"])
        first, best, best_epoch = state["epoch"], float(state["best"]), state["best_epoch"]
        say(f"Going on after epoch {first}")
    _keep_metrics_before(run / METRICS, first)
    _write_facts(run, recipe, split)

    for epoch in range(first, recipe.fit.epochs):
        if epoch - best_epoch > recipe.fit.patience:
            say(f"No better epoch for {recipe.fit.patience}: stopping early")
            break
        started = time.monotonic()
        # Each epoch has a seed of its own, so that a resumed run draws what an unbroken one would.
        seed = (recipe.seed * 100_003 + epoch) % 2**32
        set_seed(seed)
        order.manual_seed(seed)
        net.train()
        total = torch.zeros((), device=accelerator.device)
        with _sentences_for(recipe, run):
            for i, (images, targets) in enumerate(loader):
                x = normalise(images.float())
                if mix:
                    x, targets = mix(x, targets)
                with accelerator.autocast():
                    logits, _ = forward(x)
                    loss = nn.functional.cross_entropy(
                        logits.float(), targets, label_smoothing=recipe.fit.label_smoothing
                    )
                accelerator.backward(loss)
                if recipe.fit.grad_clip:
                    accelerator.clip_grad_norm_(net.parameters(), recipe.fit.grad_clip)
                optimizer.step()
                schedule.step()
                optimizer.zero_grad()
                if average:
                    average.update(accelerator.unwrap_model(net))
                total += loss.detach()
                step(f"epoch {epoch + 1}/{recipe.fit.epochs}", i + 1, len(loader))
        train_loss = float(total) / len(loader)
        if not np.isfinite(train_loss):
            raise TrainingError(
                f"the loss is not finite in epoch {epoch + 1}. Lower fit.lr or use fit.precision "
                f"fp32.{_best_so_far(run)}"
            )
        chosen = average.module if average else accelerator.unwrap_model(net)
        held_logits = predict_logits(chosen, held, recipe.fit.batch, accelerator.device)
        scores = metrics(held_logits.softmax(1).numpy(), [f.label for f in split.held], spec.labels)
        calibrated_nll = best_nll(held_logits, indices(split.held, spec.labels))
        if calibrated_nll < best:
            best, best_epoch = calibrated_nll, epoch
            facts = {
                "recipe": recipe.as_dict(),
                "teachers": teachers,
                "weights_from": account.facts() if account else None,
                "data": split.facts(),
                "epoch": epoch + 1,
            }
            try:
                save_checkpoint(Checkpoint(chosen, facts=facts), run / BEST)
            except CheckpointError as error:
                raise TrainingError(
                    f"epoch {epoch + 1}: {error}. Lower fit.lr.{_best_so_far(run)}"
                ) from error
        row = {
            "epoch": epoch + 1,
            "train_loss": train_loss,
            "held_accuracy": scores["accuracy"],
            "held_balanced_accuracy": scores["balanced_accuracy"],
            "held_nll": scores["nll"],
            "held_calibrated_nll": calibrated_nll,
            "lr": schedule.get_last_lr()[0],
            "seconds": time.monotonic() - started,
        }
        with (run / METRICS).open("a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")
        _save_state(
            run / STATE,
            {
                "recipe": json.dumps(recipe.as_dict()),
                "data": split.fingerprint,
                "net": accelerator.unwrap_model(net).state_dict(),
                "average": average.module.state_dict() if average else {},
                "optimizer": optimizer.state_dict(),
                "schedule": schedule.state_dict(),
                "scaler": accelerator.scaler.state_dict() if accelerator.scaler else {},
                "epoch": epoch + 1,
                "best": best,
                "best_epoch": best_epoch,
            },
        )
        say(
            f"epoch {epoch + 1:3d}/{recipe.fit.epochs}  loss {train_loss:.4f}  "
            f"held-out accuracy {scores['accuracy']:.4f}  balanced "
            f"{scores['balanced_accuracy']:.4f}  nll {scores['nll']:.4f}  {row['seconds']:.0f} s"
            + ("  best" if best_epoch == epoch else "")
        )
    return finish(run, held, recipe, licence, say)


def finish(run: Path, held: FaceDataset, recipe: Recipe, licence: str | None, say: Say) -> Path:
    """Fit temperature and threshold for the best epoch, and draw the curves."""
    from fer_edge.training.report import draw_curves, write_run_report

    checkpoint = load_checkpoint(run / BEST)
    logits = predict_logits(checkpoint.model, held, recipe.fit.batch, torch.device("cpu"))
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
    return run / BEST


def model_spec(recipe: Recipe) -> ModelSpec:
    i = recipe.input
    return ModelSpec(
        backbone=recipe.model.backbone,
        labels=recipe.labels,
        input=InputSpec(i.size_px, i.colour, i.mean, i.std),
        dropout=recipe.model.dropout,
        backbone_args=recipe.model.backbone_args or {},
        neck=recipe.model.neck,
    )


def optimisers(recipe: Recipe, net: nn.Module, steps: int) -> tuple[Any, Any]:
    """The optimiser, and a one-cycle cosine schedule over the whole run."""
    fit = recipe.fit
    groups = decay_groups(net, fit.weight_decay)
    optimizer: torch.optim.Optimizer
    if fit.optimizer == "sgd":
        optimizer = torch.optim.SGD(groups, lr=fit.lr, momentum=0.9, nesterov=True)
    else:
        optimizer = torch.optim.AdamW(groups, lr=fit.lr)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer,
        fit.lr,
        total_steps=fit.epochs * steps,
        pct_start=fit.warmup,
        cycle_momentum=False,
    )
    return optimizer, schedule


def _write_facts(run: Path, recipe: Recipe, split: Split) -> None:
    from importlib.metadata import version

    facts = {
        "recipe": recipe.as_dict(),
        "data": split.facts(),
        "environment": {
            "python": platform.python_version(),
            "machine": platform.machine(),
            "cpus": os.cpu_count(),
            **{name: version(name) for name in ("torch", "torchvision", "timm", "accelerate")},
        },
    }
    (run / "run.json").write_text(json.dumps(facts, indent=2) + "\n", "utf-8")


def _save_state(path: Path, state: dict[str, Any]) -> None:
    temporary = path.with_suffix(".tmp")
    try:
        with temporary.open("wb") as file:
            torch.save(state, file)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        raise TrainingError(
            f"cannot write {path}: {error.strerror}. Make room and go on with --resume"
        ) from error


def _load_state(path: Path) -> dict[str, Any]:
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
        if not isinstance(state, dict):
            raise ValueError("it holds no state")
    except Exception as error:  # whatever a damaged archive makes torch raise
        raise TrainingError(
            f"{path} cannot be read: {error}. Train into another folder.{_best_so_far(path.parent)}"
        ) from error
    return state


def _best_so_far(run: Path) -> str:
    return f" The best epoch so far is in {run / BEST}" if (run / BEST).exists() else ""


def _keep_metrics_before(path: Path, epochs: int) -> None:
    """Drop rows of epochs that a resumed run is about to do again."""
    lines = path.read_text("utf-8").splitlines()[:epochs] if path.exists() and epochs else []
    path.write_text("".join(line + "\n" for line in lines), "utf-8")


@contextmanager
def _sentences_for(recipe: Recipe, run: Path) -> Iterator[None]:
    try:
        yield
    except torch.OutOfMemoryError as error:
        raise TrainingError(
            f"out of memory at batch {recipe.fit.batch}. Lower fit.batch "
            f"(--set fit.batch={recipe.fit.batch // 2}).{_best_so_far(run)}"
        ) from error
