"""Familiarity of a checkpoint, fitted to the faces that it was trained on.

A network that is trained for a car knows faces under its effects: they are among these faces.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from fer_edge.errors import CheckpointError
from fer_edge.familiarity import LEAST_SIZE_PX, Floats, numbers_of
from fer_edge.out_folder import check_out_folder
from fer_edge.preprocess import CropRule, to_batch
from fer_edge.progress import Say, Step, say_nothing, silent
from fer_edge.training.checkpoint import (
    CARD,
    Checkpoint,
    data_facts,
    load_checkpoint,
    save_checkpoint,
)
from fer_edge.training.data.dataset_spec import DatasetSpecs
from fer_edge.training.data.faces import LabelledFace
from fer_edge.training.data.holdout import Holdout, split_data
from fer_edge.training.deploy import DeployModule
from fer_edge.training.evaluation.familiarity import check_counts, fit_familiarity
from fer_edge.training.loop.dataset import FaceDataset
from fer_edge.training.loop.held_out import effects_of
from fer_edge.training.loop.incar import Change, one_of
from fer_edge.training.models.network import InputSpec

MOST_TRAINING_FACES = 6000
"""Largest number of training faces; more do not change 32 components."""
_SEED = 0
_BATCH = 64
_HOLD_OUT = Holdout(0.05, 0)
"""Split of a network whose card states none."""


def familiarize(
    checkpoint: str | Path,
    data: DatasetSpecs,
    out: str | Path,
    *,
    say: Say = say_nothing,
    step: Step = silent,
) -> dict[str, Any]:
    """Write a checkpoint that knows faces unlike those it was trained on.

    If its recipe has in-car effects, half of the training faces are under one of them, drawn by
    their shares. Each held-out face counts as it is and under one effect.

    Args:
        checkpoint: Checkpoint folder.
        data: Data sets that it was trained on. They are split as in training.
        out: Checkpoint folder to write; may be the same.
        say: Reports what is left out.
        step: Receives progress.

    Returns:
        The record, and the number of training faces. ``held_out_faces`` counts those under an
        effect too.

    Raises:
        CheckpointError: The checkpoint is damaged, or its input is below 32 px.
        DataError: The data cannot be read, or has too few faces.
        InputError: ``out`` is a file or another folder.
    """
    check_out_folder(Path(out), CARD, "checkpoint")
    source = load_checkpoint(checkpoint)
    if source.spec.input.size_px < LEAST_SIZE_PX:
        raise CheckpointError(
            f"expected an input of {LEAST_SIZE_PX} px or more, {checkpoint} has "
            f"{source.spec.input.size_px}"
        )
    split = split_data(
        data, source.spec.labels, Holdout.stated(source.facts) or _HOLD_OUT, step, say
    )
    if data_facts(source.facts).get("fingerprint") not in (None, split.fingerprint):
        say("These are not the faces that the checkpoint was trained on: the limits hold for these")
    check_counts(len(split.train), len(split.held_out))
    order = np.random.default_rng(_SEED).permutation(len(split.train))[:MOST_TRAINING_FACES]
    training = [split.train[i] for i in order]
    effect = one_of(effects_of(source.facts))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(_SEED)
        parts = [(training[::2], None), (training[1::2], effect)]
        embeddings, numbers = _features(source, parts, step)
        parts = [(split.held_out, change) for change in ([None, effect] if effect else [None])]
        held_out = _features(source, parts, step)
    familiarity = fit_familiarity(embeddings, numbers, held_out)
    save_checkpoint(replace(source, familiarity=familiarity), out)
    record = familiarity.record
    return {
        "checkpoint": Path(out).name,
        "training_faces": len(training),
        "held_out_faces": record.faces,
        "components": record.components,
        "embedding_limit": record.embedding_limit,
        "picture_limit": record.picture_limit,
        "false_refusals": record.false_refusals,
        "bytes": record.file.bytes,
    }


def _features(
    source: Checkpoint, parts: Sequence[tuple[list[LabelledFace], Change | None]], step: Step
) -> tuple[npt.NDArray[np.float32], Floats]:
    """Return embeddings ``[N, D]``, and numbers on the pictures ``[N, 7]``.

    Each part is under its change, if it has one.
    """
    module, count = DeployModule(source), sum(len(faces) for faces, _ in parts)
    embeddings: list[npt.NDArray[np.float32]] = []
    numbers: list[Floats] = []
    for faces, change in parts:
        for i in range(0, len(faces), _BATCH):
            batch = _batch(faces[i : i + _BATCH], source.spec.input, change)
            embeddings.append(module.run(batch)[1])
            numbers.append(numbers_of(batch))
            step("embedding faces", sum(map(len, numbers)), count)
    return np.concatenate(embeddings), np.concatenate(numbers)


def _batch(
    faces: list[LabelledFace], spec: InputSpec, change: Change | None
) -> npt.NDArray[np.uint8]:
    """Return faces as the network's input, uint8 ``[N, S, S, 3]`` BGR."""
    if change is None:
        return to_batch([face.read() for face in faces], CropRule(spec.size_px))
    changed = FaceDataset(faces, None, spec, change)
    pixels = torch.stack([changed[i][0] for i in range(len(faces))])
    bgr = pixels.expand(-1, 3, -1, -1).flip(1)  # grey: the same three times
    return np.ascontiguousarray(bgr.permute(0, 2, 3, 1).numpy())
