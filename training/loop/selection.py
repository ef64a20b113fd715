"""Selection and calibration of the best epoch on held-out faces."""

from __future__ import annotations

import json
import time
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import torch
from accelerate import Accelerator
from accelerate.utils import broadcast_object_list
from torch import Tensor

from fer_edge.errors import CheckpointError, TrainingError
from fer_edge.preprocess import Image
from fer_edge.training.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from fer_edge.training.evaluation.calibrate import (
    abstention_threshold,
    best_nll,
    fit_temperature,
    threshold_under_effects,
)
from fer_edge.training.evaluation.metrics import metrics
from fer_edge.training.loop.dataset import FaceDataset
from fer_edge.training.loop.epochs import ActivePhase, TrainingRun
from fer_edge.training.loop.held_out import HeldOut
from fer_edge.training.loop.processes import gpu_memory
from fer_edge.training.loop.resume import Position, save_state
from fer_edge.training.loop.run_folder import BEST, METRICS, STATE, Log, best_so_far
from fer_edge.training.models.lora import merged
from fer_edge.training.models.network import ExpressionNet, parameter_count


def record_epoch(
    run: TrainingRun, phase: ActivePhase, at: Position, loss: float, started_s: float, log: Log
) -> None:
    """Score an epoch, advance ``at``, and save.

    The first process saves the state, and the checkpoint if it is the best so far.

    ``started_s`` is the epoch's start on the monotonic clock.
    """
    fit = run.recipe.fit
    candidate = merged(phase.average.module if phase.average else run.net)
    scores = score_held_out(candidate, run.held_out, run.accelerator)
    better = at.note(scores["held_calibrated_nll"], fit.min_delta)
    if fit.by_score:
        phase.schedule.step(scores["held_calibrated_nll"])
    if not run.accelerator.is_main_process:
        return
    if better:
        save_best(candidate, run.facts | {"epoch": at.epoch}, run.folder)
    seconds = time.monotonic() - started_s
    log(
        {
            "epoch": at.epoch,
            "phase": phase.number + 1,
            "train_loss": loss,
            **scores,
            "lr": phase.lr,
            "seconds": seconds,
            **gpu_memory(run.accelerator.device),
        }
    )
    tensors = {name: part.state_dict() for name, part in phase.stateful.items()}
    identity = {
        "recipe": json.dumps(run.recipe.as_dict()),
        "data": run.fingerprint,
        "taught_by": run.taught_by,
    }
    save_state(run.folder / STATE, at, {**identity, **tensors})
    run.say(
        f"epoch {at.epoch:3d}/{run.epochs}  loss {loss:.4f}  "
        f"held-out accuracy {scores['held_accuracy']:.4f}  balanced "
        f"{scores['held_balanced_accuracy']:.4f}  nll {scores['held_nll']:.4f}  "
        f"{seconds:.0f} s{_remaining(seconds * (run.epochs - at.epoch))}"
        + ("  best" if better else "")
    )


def _remaining(seconds: float) -> str:
    """Return the time to the end of the run in words; it may stop earlier."""
    if seconds <= 0:
        return ""
    hours, minutes = divmod(round(seconds / 60), 60)
    if hours:
        return f", at most {hours} h {minutes:02d} min left"
    return f", at most {minutes} min left" if minutes else f", at most {seconds:.0f} s left"


def sample_batch(run: TrainingRun, count: int) -> list[tuple[Image, str]]:
    """Return augmented training faces and their labels.

    The faces are uint8 ``[S, S]`` or RGB ``[S, S, 3]``. The draw does not change the run's random
    numbers.
    """
    faces = cast(FaceDataset, run.loader.dataset)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(run.recipe.seed)
        order = torch.randperm(len(faces))[:count].tolist()
        pixels = [faces[i][0].permute(1, 2, 0).squeeze(-1).numpy() for i in order]
    captions = [faces.faces[i].label or "no label" for i in order]
    return list(zip(pixels, captions, strict=True))


def score_held_out(
    net: ExpressionNet, held_out: HeldOut, accelerator: Accelerator
) -> dict[str, float]:
    """Score the held-out faces: as they are, and for ``held_calibrated_nll`` under effects too.

    The first process computes the scores and sends them to all others.
    """
    scores: dict[str, float] = {}
    if accelerator.is_main_process:
        logits, judged = held_out.logits(net, accelerator.device)
        truth = [face.label for face in held_out.faces]
        report = metrics(logits.softmax(1).numpy(), truth, net.spec.labels)
        scores = {
            "held_accuracy": report["accuracy"],
            "held_balanced_accuracy": report["balanced_accuracy"],
            "held_nll": report["nll"],
            "held_calibrated_nll": best_nll(judged, held_out.truth(net.spec.labels)),
        }
    shared: list[dict[str, float]] = broadcast_object_list([scores])
    return shared[0]


def save_best(net: ExpressionNet, facts: dict[str, Any], folder: Path) -> None:
    """Save the best checkpoint of a run.

    Raises TrainingError for weights that are not finite in half precision.
    """
    try:
        save_checkpoint(Checkpoint(net, facts=facts), folder / BEST)
    except CheckpointError as error:
        raise TrainingError(
            f"epoch {facts['epoch']}: {error}. Lower fit.lr.{best_so_far(folder)}"
        ) from error


def finish(run: TrainingRun) -> None:
    """Calibrate the best epoch, and write the run's curves and report."""
    from fer_edge.training.reports.run_report import SAMPLES, draw_curves, write_run_report

    best = run.folder / BEST
    checkpoint, probabilities = calibrated(
        load_checkpoint(best), run.held_out, run.accelerator.device
    )
    licences = {"licences": run.facts["licences"]}
    save_checkpoint(replace(checkpoint, facts=checkpoint.facts | licences), best)
    draw_curves(run.folder / METRICS, run.folder / "curves.png")
    write_run_report(
        run.folder, probabilities.numpy(), run.held_out.faces, sample_batch(run, SAMPLES)
    )
    run.say(
        f"Best epoch {checkpoint.facts['epoch']}, {parameter_count(checkpoint.model):,} "
        f"parameters, temperature {checkpoint.temperature:.3f}: {best}"
    )


def calibrated(
    checkpoint: Checkpoint, held_out: HeldOut, device: torch.device
) -> tuple[Checkpoint, Tensor]:
    """Fit temperature and threshold of a checkpoint on held-out faces.

    The threshold holds for the faces as they are and under each effect of the recipe.

    Args:
        checkpoint: Checkpoint; its network is moved to ``device``.
        held_out: Labelled faces that it was not trained on.
        device: Device to compute on.

    Returns:
        Checkpoint with its figures as ``facts["held_out"]``, and calibrated probabilities
        float32 ``[N, classes]``, both of the faces as they are.
    """
    labels = checkpoint.spec.labels
    net = checkpoint.model.to(device)
    logits, judged = held_out.logits(net, device)
    truth = held_out.truth(labels)
    temperature = fit_temperature(judged, truth)
    probabilities = (logits / temperature).softmax(1)
    scores = metrics(probabilities.numpy(), [face.label for face in held_out.faces], labels)
    threshold = abstention_threshold((judged / temperature).softmax(1), truth)
    effects = [
        (under / temperature).softmax(1) for under in held_out.under_each_effect(net, device)
    ]
    threshold = threshold_under_effects(threshold, effects, truth[: len(logits)])
    names = ("accuracy", "balanced_accuracy", "macro_f1", "ece")
    made = replace(
        checkpoint,
        temperature=temperature,
        abstain_below=threshold,
        facts=checkpoint.facts | {"held_out": {name: scores[name] for name in names}},
    )
    return made, probabilities
