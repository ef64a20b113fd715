"""Figures of a checkpoint or a bundle on labelled faces, repeatable to the digit."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from fer_edge.errors import DataError, MissingPartError
from fer_edge.predictor import Predictor
from fer_edge.preprocess import CropRule, to_batch
from fer_edge.training.checkpoint import load_checkpoint
from fer_edge.training.data import Face, load_faces, pixel_hash
from fer_edge.training.deploy import DeployModule
from fer_edge.training.metrics import metrics
from fer_edge.training.model import parameter_count

_BATCH = 64

Step = Callable[[str, int, int], None]


def evaluate(
    source: str | Path,
    data: str | Path,
    split: str | None = "val",
    *,
    target: str | None = None,
    precision: str | None = None,
    step: Step = lambda what, done, total: None,
) -> dict[str, Any]:
    """Evaluate a checkpoint folder (in torch, fp32, CPU) or a ``.fer`` bundle (on its engine).

    Gives ``all``: figures over every face; ``deduplicated``: over each distinct picture once,
    without those that have a twin in the source's ``train`` part; and ``abstention``.
    target, precision: which variant of a bundle. Raises DataError, CheckpointError, BundleError,
    TargetError.
    """
    source = Path(source)
    who: dict[str, Any]
    if source.suffix == ".fer":
        with Predictor(source, target, precision) as predictor:
            labels, threshold = predictor.labels, predictor.bundle.abstain_below
            who = {"bundle": source.name, "variant": predictor.variant.name}
            faces = load_faces(data, split, labels)
            run = _bundle_runner(predictor)
            probabilities = _run(run, faces, predictor.bundle.crop, step)
    else:
        checkpoint = load_checkpoint(source)
        labels, threshold = checkpoint.spec.labels, checkpoint.abstain_below
        who = {
            "checkpoint": source.name,
            "sha256": checkpoint.sha256,
            "parameters": parameter_count(checkpoint.model),
        }
        faces = load_faces(data, split, labels)
        module = DeployModule(checkpoint)

        def run(batch: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
            with torch.inference_mode():
                return np.asarray(module(torch.from_numpy(batch))[0].numpy())

        probabilities = _run(run, faces, CropRule(checkpoint.spec.input.size_px), step)
    truth = [face.label for face in faces]
    distinct = _distinct(faces, data, split, labels, step)
    confident = probabilities.max(1) >= threshold
    right = probabilities.argmax(1) == np.array([labels.index(name) for name in truth])
    return {
        **who,
        "data": Path(data).name,
        "split": split,
        "labels": list(labels),
        "all": metrics(probabilities, truth, labels),
        "deduplicated": metrics(probabilities[distinct], [truth[i] for i in distinct], labels),
        "abstention": {
            "threshold": threshold,
            "coverage": float(confident.mean()),
            "accuracy": float(right[confident].mean()) if confident.any() else None,
        },
    }


def _bundle_runner(
    predictor: Predictor,
) -> Callable[[npt.NDArray[np.uint8]], npt.NDArray[np.float32]]:
    def run(batch: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        answers = predictor.predict_batch(batch)
        return np.array([[a.probabilities[n] for n in predictor.labels] for a in answers])

    return run


def _run(
    run: Callable[[npt.NDArray[np.uint8]], npt.NDArray[np.float32]],
    faces: Sequence[Face],
    rule: CropRule,
    step: Step,
) -> npt.NDArray[np.float32]:
    parts = []
    for i in range(0, len(faces), _BATCH):
        parts.append(run(to_batch([face.read() for face in faces[i : i + _BATCH]], rule)))
        step("evaluating", min(i + _BATCH, len(faces)), len(faces))
    return np.concatenate(parts)


def _distinct(
    faces: Sequence[Face], data: str | Path, split: str | None, labels: Sequence[str], step: Step
) -> list[int]:
    """Indices of pictures that stand only once, here and in the training part."""
    own = [pixel_hash(face) for face in faces]
    try:
        others = load_faces(data, "train", labels) if split not in (None, "train") else []
    except MissingPartError:
        others = []  # a source without a train part: no twins to look for
    trained = set()
    for i, face in enumerate(others):
        trained.add(pixel_hash(face))
        if i % 500 == 0:
            step("looking for twins", i, len(others))
    first: Counter[str] = Counter()
    kept = []
    for i, digest in enumerate(own):
        first[digest] += 1
        if first[digest] == 1 and digest not in trained:
            kept.append(i)
    if not kept:
        raise DataError(f"every picture of {data} is in its train part: nothing to evaluate on")
    return kept
