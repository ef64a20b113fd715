"""Training loop: one recipe and one data set to one run folder."""

from __future__ import annotations

import json
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.utils import set_seed

from fer_edge.errors import DataError, LabelError
from fer_edge.labels import EMOTIONS
from fer_edge.progress import Say, Step, say_nothing, silent
from fer_edge.training.config.schema import Recipe
from fer_edge.training.data.dataset_spec import DatasetSpecs, as_dataset_specs
from fer_edge.training.data.holdout import Holdout, Split, split_data
from fer_edge.training.data.own_labels import class_names, own_labels, set_labels
from fer_edge.training.loop import run_folder
from fer_edge.training.loop.augment import mixing
from fer_edge.training.loop.elastic import claim
from fer_edge.training.loop.epochs import TrainingRun, start_phase, stops_early, train_epoch
from fer_edge.training.loop.held_out import HeldOut
from fer_edge.training.loop.launch import check_launch
from fer_edge.training.loop.loader import train_loader
from fer_edge.training.loop.losses import loss_function
from fer_edge.training.loop.opinions import opinion_facts
from fer_edge.training.loop.processes import accelerator_for
from fer_edge.training.loop.resume import Position, load_state
from fer_edge.training.loop.run_folder import BEST, STATE
from fer_edge.training.loop.selection import finish, record_epoch
from fer_edge.training.loop.targets import teacher_facts, train_targets
from fer_edge.training.models.depthwise import quicken
from fer_edge.training.models.freeze import parameter_counts
from fer_edge.training.models.from_recipe import build_network, model_spec
from fer_edge.training.models.network import ExpressionNet, Normalise


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
    """Train a recipe, select the best epoch, and calibrate it.

    Under ``torchrun`` or ``accelerate launch`` the processes share each batch; the first of them
    writes. Processes that ``torchrun --max-restarts`` starts again continue by themselves.

    Args:
        recipe: Recipe to train.
        source: Data set, or several, with a ``train`` part.
        run: Run folder. Receives the recipe, the environment, metrics of each epoch, curves, the
            state to resume from, and ``best/``, the checkpoint.
        resume: Continue a killed run after its last complete epoch. It ends with the same weights
            as an unbroken run.
        licence: Permitted use of the data, for the model card and every bundle. A resumed run keeps
            the one that it was started with, unless another is named.
        say: Receives messages.
        step: Receives progress.

    Returns:
        Folder of the checkpoint.

    Raises:
        DataError: The data cannot be read, or there are too few faces.
        RecipeError: The network or the device cannot do what the recipe asks for.
        CheckpointError: The recipe's weights or a teacher cannot be read.
        TrainingError: Training cannot start or continue. The best checkpoint so far is kept.
    """
    check_launch()
    folder = Path(run)
    with run_folder.alone(folder, resume):
        resume = claim(folder, resume)
        return _train(recipe, source, folder, resume, licence, say, step)


def _train(
    recipe: Recipe,
    source: DatasetSpecs,
    folder: Path,
    resume: bool,
    licence: str | None,
    say: Say,
    step: Step,
) -> Path:
    """Train into a folder that no other process uses."""
    fit = recipe.fit
    counts = parameter_counts(model_spec(recipe), fit.phases)
    accelerator = accelerator_for(fit)
    if not accelerator.is_main_process:
        say, step = say_nothing, silent
    say(
        f"{run_folder.device_name(accelerator.device)}, {accelerator.num_processes} process(es), "
        f"{fit.precision}"
    )
    recipe, split = _split(recipe, source, step, say)
    if len(split.learnt) < 2:
        raise DataError(
            f"expected at least 2 faces to train on, got {len(split.learnt)}. Add faces with --data"
        )
    counts = parameter_counts(model_spec(recipe), fit.phases)  # of the labels in the data
    say(
        f"{len(split.train):,} faces to train on, {len(split.held_out):,} held out, "
        f"{split.dropped} dropped as duplicates of validation images"
    )
    if split.unlabelled is not None:
        say(
            f"{len(split.unlabelled.faces):,} faces without labels to train on, "
            f"{split.unlabelled.dropped} dropped: they, their subject or their clip are held out "
            "or in val"
        )
    if resume and licence is None:
        licence = run_folder.stated_licence(folder)
    job = _build(recipe, split, folder, counts, licence, accelerator, say, step)
    at, saved = _position(job, resume)
    with run_folder.writing(
        _located(recipe, source), folder, job.facts, accelerator, at.epoch
    ) as log:
        _place(job.net, accelerator.device)
        for number in range(at.phase, len(fit.phases)):
            if number > at.phase:
                at.begin(number)
            phase = start_phase(job, number, at.in_phase, saved)
            saved = None
            while at.in_phase < phase.spec.epochs and not stops_early(job, at):
                started_s = time.monotonic()
                loss = train_epoch(job, phase, at)
                record_epoch(job, phase, at, loss, started_s, log)
        if accelerator.is_main_process:
            finish(job)
    accelerator.wait_for_everyone()
    return folder / BEST


def _located(recipe: Recipe, source: DatasetSpecs) -> Recipe:
    """Return the recipe with the absolute paths of its data sets, if it names any."""
    if not recipe.data.sources:
        return recipe
    sources = tuple(spec.located().text for spec in as_dataset_specs(source))
    return replace(recipe, data=replace(recipe.data, sources=sources))


def _split(recipe: Recipe, source: DatasetSpecs, step: Step, say: Say) -> tuple[Recipe, Split]:
    """Split the faces; a recipe for emotions takes user-defined labels from the data."""
    try:
        return recipe, _split_for(recipe, source, step, say)
    except LabelError as error:
        if recipe.labels != EMOTIONS:
            raise
        names = class_names(source)
        labels = own_labels(names)
        if labels is None:
            raise LabelError(
                f"{error}. If these are labels of your own, name all of them: {set_labels(names)}"
            ) from error
    say(f"Labels, taken from the data: {', '.join(labels)}")
    recipe = replace(recipe, labels=labels)
    return recipe, _split_for(recipe, source, step, say)


def _split_for(recipe: Recipe, source: DatasetSpecs, step: Step, say: Say) -> Split:
    rule, unlabelled = Holdout.of(recipe), recipe.data.unlabelled
    return split_data(source, recipe.labels, rule, step, say, unlabelled=unlabelled)


def _build(
    recipe: Recipe,
    split: Split,
    folder: Path,
    counts: tuple[int, list[int]],
    licence: str | None,
    accelerator: Accelerator,
    say: Say,
    step: Step,
) -> TrainingRun:
    """Build everything that stays the same during the run."""
    set_seed(recipe.seed % 2**32)
    net, weights_from = build_network(recipe, say)
    order, spec = torch.Generator(), net.spec
    targets = train_targets(split, recipe, say, accelerator.device)
    rank = accelerator.process_index
    loader = train_loader(recipe, split.learnt, targets, spec.input, order, rank)
    return TrainingRun(
        folder=folder,
        recipe=recipe,
        accelerator=accelerator,
        net=net,
        loader=accelerator.prepare(loader),
        order=order,
        loss_of=loss_function(recipe.fit, split.train, spec.labels),
        normalise=Normalise(spec.input).to(accelerator.device),
        mix=mixing(recipe.augment, len(spec.labels)),
        held_out=HeldOut(split.held_out, spec.input, recipe.augment.incar),
        facts={
            "recipe": recipe.as_dict(),
            "teachers": teacher_facts(recipe),
            **opinion_facts(recipe.data.opinions),
            "weights_from": weights_from,
            "data": split.facts(),
            "licences": {"data": licence or "not stated"},
            "parameters": {"total": counts[0], "trainable": counts[1]},
        },
        fingerprint=split.identity,
        say=say,
        step=step,
    )


def _position(run: TrainingRun, resume: bool) -> tuple[Position, dict[str, Any] | None]:
    """Return the first position, and the saved state if resumed."""
    path = run.folder / STATE
    if not (resume and path.exists()):
        return Position(), None
    recipe = json.dumps(run.recipe.as_dict())
    at, saved = load_state(path, recipe, run.fingerprint, run.taught_by)
    run.say(f"Going on after epoch {at.epoch}")
    return at, saved


def _place(net: ExpressionNet, device: torch.device) -> None:
    net.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    if device.type == "cpu":
        quicken(net)
