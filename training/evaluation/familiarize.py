"""Familiarity of a checkpoint, fitted to the faces that it was trained on."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from fer_edge.errors import CheckpointError
from fer_edge.familiarity import LEAST_SIZE_PX, Floats, numbers_of
from fer_edge.preprocess import CropRule, to_batch
from fer_edge.progress import Say, Step, silent
from fer_edge.training.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from fer_edge.training.data.dataset_spec import DatasetSpecs
from fer_edge.training.data.faces import LabelledFace
from fer_edge.training.data.holdout import Holdout, split_data
from fer_edge.training.deploy import DeployModule
from fer_edge.training.evaluation.familiarity import check_counts, fit_familiarity

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
    say: Say = lambda text: None,
    step: Step = silent,
) -> dict[str, Any]:
    """Write a checkpoint that knows faces unlike those it was trained on.

    Args:
        checkpoint: Checkpoint folder.
        data: Data sets that it was trained on. They are split as in training.
        out: Checkpoint folder to write; may be the same.
        say: Reports what is left out.
        step: Receives progress.

    Returns:
        The record, and the number of training faces.

    Raises:
        CheckpointError: The checkpoint is damaged, or its input is below 32 px.
        DataError: The data cannot be read, or has too few faces.
    """
    source = load_checkpoint(checkpoint)
    if source.spec.input.size_px < LEAST_SIZE_PX:
        raise CheckpointError(
            f"expected an input of {LEAST_SIZE_PX} px or more, {checkpoint} has "
            f"{source.spec.input.size_px}"
        )
    split = split_data(
        data, source.spec.labels, Holdout.stated(source.facts) or _HOLD_OUT, step, say
    )
    stated = source.facts.get("data")
    if isinstance(stated, dict) and stated.get("fingerprint") not in (None, split.fingerprint):
        say("These are not the faces that the checkpoint was trained on: the limits hold for these")
    check_counts(len(split.train), len(split.held_out))
    order = np.random.default_rng(_SEED).permutation(len(split.train))[:MOST_TRAINING_FACES]
    training = [split.train[i] for i in order]
    embeddings, numbers = _features(source, training, step)
    held_out = _features(source, split.held_out, step)
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
    source: Checkpoint, faces: list[LabelledFace], step: Step
) -> tuple[npt.NDArray[np.float32], Floats]:
    """Return embeddings ``[N, D]``, and numbers on the pictures ``[N, 7]``."""
    module, rule = DeployModule(source), CropRule(source.spec.input.size_px)
    embeddings, numbers = [], []
    for i in range(0, len(faces), _BATCH):
        batch = to_batch([face.read() for face in faces[i : i + _BATCH]], rule)
        with torch.inference_mode():
            embeddings.append(module(torch.from_numpy(batch))[1].numpy())
        numbers.append(numbers_of(batch))
        step("embedding faces", min(i + _BATCH, len(faces)), len(faces))
    return np.concatenate(embeddings), np.concatenate(numbers)
