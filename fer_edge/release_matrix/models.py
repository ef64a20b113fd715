"""Models of a release matrix: checkpoints, faces, and the inputs of their cells."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from fer_edge.backends.base import backend
from fer_edge.benchmarks.machine.nvml import gpus
from fer_edge.converters.pipeline.face_samples import FaceSamples, calibration_if_any, parity_faces
from fer_edge.converters.pipeline.own_int8 import needs_faces
from fer_edge.errors import InputError
from fer_edge.machine import cpu_name, libraries
from fer_edge.paths import absolute
from fer_edge.preprocess import CROP_MARGIN, CropRule
from fer_edge.release_matrix.cell import Identity
from fer_edge.shipped import MODELS, checkpoint_path
from fer_edge.training.checkpoint import Checkpoint, load_checkpoint

_SEED = 2026


@dataclass(frozen=True)
class GradedModel:
    """One model with its faces.

    Attributes:
        name: Name of the model.
        checkpoint: Its checkpoint.
        rule: Its crop rule.
        gate: Faces that judge.
        calibration: Faces that calibrate int8.
        identities: Inputs of each cell, by model, target and precision.
    """

    name: str
    checkpoint: Checkpoint
    rule: CropRule
    gate: FaceSamples
    calibration: FaceSamples
    identities: Mapping[tuple[str, str, str], Identity]


def load_models(
    checkpoints: Sequence[str],
    pairs: Sequence[tuple[str, str]],
    data: Path | None,
    faces: int | None,
    version: str,
) -> list[GradedModel]:
    """Load the models of a matrix with their faces.

    Args:
        checkpoints: Names of shipped models, or checkpoint folders; empty means all shipped ones.
        pairs: Targets with precisions.
        data: Labelled faces; None makes faces from the shipped composites.
        faces: Largest number of faces that judge; None takes all.
        version: Version that is graded.

    Raises:
        InputError: Two checkpoints have one name.
        CheckpointError: A checkpoint cannot be read.
        DataError: The faces cannot be read, or are too few.
    """
    named: dict[str, str] = {}
    for text in checkpoints or MODELS:
        name = text if text in MODELS else absolute(Path(text)).name
        if named.setdefault(name, text) != text:
            raise InputError(
                f"expected checkpoints with different names, got {named[name]} and {text}. "
                "Rename one of the folders"
            )
    loaded = {name: load_checkpoint(checkpoint_path(text)) for name, text in named.items()}
    return [
        _graded(name, checkpoint, pairs, data, faces, version)
        for name, checkpoint in loaded.items()
    ]


def _graded(
    name: str,
    checkpoint: Checkpoint,
    pairs: Sequence[tuple[str, str]],
    data: Path | None,
    faces: int | None,
    version: str,
) -> GradedModel:
    rule = CropRule(checkpoint.spec.input.size_px, CROP_MARGIN)
    gate = parity_faces(data, checkpoint.spec.labels, rule, faces)
    needed = needs_faces(checkpoint, pairs)
    calibration = calibration_if_any(data, checkpoint.spec.labels, rule, gate, _SEED, needed)
    digest, cpu = _digest(checkpoint), cpu_name()
    names = tuple(gpu["name"] for gpu in gpus())
    identities = {
        (name, target, precision): Identity(
            digest,
            version,
            gate.sha256,
            calibration.sha256,
            libraries(backend(target).FACTS.libraries),
            cpu,
            names,
        )
        for target, precision in pairs
    }
    return GradedModel(name, checkpoint, rule, gate, calibration, identities)


def _digest(checkpoint: Checkpoint) -> str:
    """Hash all of a checkpoint that changes answers."""
    int8 = "" if checkpoint.int8 is None else checkpoint.int8.sha256
    return hashlib.sha256(f"{checkpoint.network_sha256} {int8}".encode()).hexdigest()
