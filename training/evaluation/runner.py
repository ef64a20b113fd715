"""One way to run checkpoints and bundles on batches of faces."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from fer_edge.familiarity import Familiarity, read_familiarity
from fer_edge.inference import is_flat
from fer_edge.predictor import Predictor
from fer_edge.preprocess import CROP_MARGIN, CropRule, Image, to_batch
from fer_edge.progress import Step
from fer_edge.shipped import checkpoint_path
from fer_edge.training.checkpoint import data_facts, load_checkpoint
from fer_edge.training.data.faces import LabelledFace
from fer_edge.training.deploy import DeployModule
from fer_edge.training.models.network import parameter_count

_BATCH = 64
"""Faces in one batch."""

Floats = npt.NDArray[np.float32]


@dataclass(frozen=True)
class ModelRunner:
    """Loaded checkpoint or bundle variant.

    Attributes:
        labels: Labels in the order of the probabilities.
        rule: Crop rule of the input.
        abstain_below: Lowest top probability (0..1) that is answered.
        facts: Name, SHA-256 and variant of the model, for reports.
        run: Inference of uint8 ``[N, S, S, 3]`` BGR to probabilities ``[N, C]`` and embeddings
            ``[N, D]``.
        fingerprint: Fingerprint of the faces that the model was trained on, or None if unknown.
        familiarity: Judge of faces unlike those the model was trained on, or None.
    """

    labels: tuple[str, ...]
    rule: CropRule
    abstain_below: float
    facts: dict[str, Any]
    run: Callable[[npt.NDArray[np.uint8]], tuple[Floats, Floats]]
    fingerprint: str | None = None
    familiarity: Familiarity | None = None

    def predict(
        self, faces: Sequence[LabelledFace | Image], what: str, step: Step
    ) -> tuple[Floats, Floats]:
        """Return probabilities ``[N, C]`` and embeddings ``[N, D]``, as ``judge`` does."""
        probabilities, embeddings, _ = self.judge(faces, what, step)
        return probabilities, embeddings

    def judge(
        self, faces: Sequence[LabelledFace | Image], what: str, step: Step
    ) -> tuple[Floats, Floats, npt.NDArray[np.bool_]]:
        """Return probabilities, embeddings, and whether the model abstains on each face.

        Args:
            faces: Faces to run on.
            what: Name of the work in the progress.
            step: Receives progress.

        Returns:
            Probabilities ``[N, C]``, embeddings ``[N, D]`` and abstentions ``[N]``.
        """
        parts = []
        for i in range(0, len(faces), _BATCH):
            images = [f.read() if isinstance(f, LabelledFace) else f for f in faces[i : i + _BATCH]]
            batch = to_batch(images, self.rule)
            probabilities, embeddings = self.run(batch)
            # 1e-6 allows for float32 rounding, as in inference.predict.
            unsure = probabilities.max(1) < self.abstain_below - 1e-6
            unsure |= np.array([is_flat(face) for face in batch])
            if self.familiarity is not None:
                unsure |= self.familiarity.unfamiliar(batch, embeddings)
            parts.append((probabilities, embeddings, unsure))
            step(what, min(i + _BATCH, len(faces)), len(faces))
        probabilities, embeddings, unsure = (
            np.concatenate(rows) for rows in zip(*parts, strict=True)
        )
        return probabilities, embeddings, unsure


@contextmanager
def open_model(
    source: str | Path, target: str | None = None, precision: str | None = None
) -> Iterator[ModelRunner]:
    """Open a checkpoint or a bundle for inference.

    A checkpoint runs in torch (fp32, CPU), a bundle on its engine.

    Args:
        source: Checkpoint folder, ``.fer`` bundle, or name of a shipped checkpoint.
        target: Target of the bundle's variant; None lets the Predictor choose.
        precision: Precision of the bundle's variant; None lets the Predictor choose.

    Yields:
        Runner of the model.

    Raises:
        CheckpointError: The checkpoint cannot be loaded.
        BundleError: The bundle is damaged.
        TargetError: No requested variant runs on this machine.
    """
    source = checkpoint_path(source)
    if source.suffix != ".fer":
        yield _of_checkpoint(source)
        return
    with Predictor(source, target, precision) as predictor:

        def run(batch: npt.NDArray[np.uint8]) -> tuple[Floats, Floats]:
            answers = predictor.predict_batch(batch)
            rows = [[a.probabilities[n] for n in predictor.labels] for a in answers]
            return np.array(rows, np.float32), np.stack([a.embedding for a in answers])

        yield ModelRunner(
            labels=predictor.labels,
            rule=predictor.bundle.crop,
            abstain_below=predictor.bundle.abstain_below,
            facts={
                "bundle": source.name,
                "variant": predictor.variant.name,
                "sha256": predictor.bundle.sha256,
            },
            run=run,
            fingerprint=_fingerprint(predictor.bundle.provenance),
            familiarity=read_familiarity(
                source, predictor.bundle.familiarity, predictor.bundle.embedding_dim
            ),
        )


def _fingerprint(facts: Mapping[str, Any]) -> str | None:
    value = data_facts(facts).get("fingerprint")
    return value if isinstance(value, str) else None


def _of_checkpoint(source: Path) -> ModelRunner:
    checkpoint = load_checkpoint(source)
    return ModelRunner(
        labels=checkpoint.spec.labels,
        rule=CropRule(checkpoint.spec.input.size_px, CROP_MARGIN),
        abstain_below=checkpoint.abstain_below,
        facts={
            "checkpoint": source.name,
            "sha256": checkpoint.sha256,
            "parameters": parameter_count(checkpoint.model),
        },
        run=DeployModule(checkpoint).run,
        fingerprint=_fingerprint(checkpoint.facts),
        familiarity=checkpoint.familiarity,
    )
