"""Parity gate: a converted variant against its checkpoint, on faces."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from fer_edge.backends.base import Outputs, Session
from fer_edge.errors import ConversionError, EngineError
from fer_edge.parity import Comparison
from fer_edge.training.evaluation.metrics import metrics

BATCHES = (1, 2, 5, 32)
"""Batch sizes at which a dynamic batch must give the same answers."""
_BATCH_MAX_ABS_DP = 0.02
"""Largest change of a probability with the batch size: another batch may take another kernel."""


@dataclass(frozen=True)
class ParityLimits:
    """Limits of the gate.

    fp32 is limited by probabilities, other precisions by decisions.

    Attributes:
        fp32_max_abs_dp: Largest absolute difference of a probability.
        fp32_embedding_cosine: Smallest cosine between embeddings.
        agreement: Smallest share (0..1) of equal decisions.
        accuracy_drop: Largest loss of accuracy, as a share (0..1).
    """

    fp32_max_abs_dp: float = 1e-4
    fp32_embedding_cosine: float = 0.9999
    agreement: float = 0.98
    accuracy_drop: float = 0.005


def run_all(session: Session, images: npt.NDArray[np.uint8]) -> Outputs:
    """Run faces one at a time, as in a car.

    An engine may run another graph for a batch.

    Args:
        session: Session to run.
        images: Faces, uint8 ``[N, S, S, 3]`` BGR.

    Returns:
        Probabilities float32 ``[N, C]`` and embeddings float32 ``[N, D]``.

    Raises:
        EngineError: The engine fails on a face.
    """
    parts = [session.run(images[i : i + 1]) for i in range(len(images))]
    return np.concatenate([p for p, _ in parts]), np.concatenate([e for _, e in parts])


def prove_batches(session: Session, images: npt.NDArray[np.uint8], expected: Outputs) -> list[int]:
    """Run BATCHES and compare each answer with the one alone.

    This finds a dynamic batch that became static, and faces that leak into each other.

    Args:
        session: Session to run.
        images: Faces, uint8 ``[N, S, S, 3]`` BGR.
        expected: Outputs of the same faces, one at a time.

    Returns:
        The batch sizes.

    Raises:
        ConversionError: A batch size fails or changes the answers.
    """
    for count in BATCHES:
        try:
            probabilities, embedding = session.run(images[:count])
        except EngineError as error:
            raise ConversionError(f"the variant does not run at batch {count}: {error}") from error
        shapes = (probabilities.shape, embedding.shape)
        expected_shapes = ((count, *expected[0].shape[1:]), (count, *expected[1].shape[1:]))
        if shapes != expected_shapes:
            raise ConversionError(
                f"expected outputs {expected_shapes} at batch {count}, got {shapes}"
            )
        change = float(np.abs(probabilities - expected[0][:count]).max())
        if not change <= _BATCH_MAX_ABS_DP:
            raise ConversionError(
                f"the variant's answers change with the batch size, at {count} by up to "
                f"{change:.2e}, {_BATCH_MAX_ABS_DP:.0e} is allowed"
            )
    return list(BATCHES)


def compare(
    reference: Outputs, variant: Outputs, truth: Sequence[str], labels: Sequence[str]
) -> Comparison:
    """Compare a variant's outputs with the checkpoint's.

    Args:
        reference: Probabilities float32 ``[N, C]`` and embeddings float32 ``[N, D]`` of the
            checkpoint.
        variant: Outputs of the variant for the same faces.
        truth: True label of each face.
        labels: Names of the classes, in the order of the outputs.

    Returns:
        The figures; changes are variant minus checkpoint.
    """
    p, q = reference[0], variant[0]
    before, after = metrics(p, truth, labels), metrics(q, truth, labels)
    difference = np.abs(q.astype(np.float64) - p)
    norms = np.linalg.norm(reference[1], axis=1) * np.linalg.norm(variant[1], axis=1)
    cosine = (reference[1] * variant[1]).sum(1) / np.maximum(norms, 1e-12)
    return Comparison(
        max_abs_dp=float(difference.max()),
        mean_abs_dp=float(difference.mean()),
        agreement=float((p.argmax(1) == q.argmax(1)).mean()),
        accuracy=after["accuracy"],
        reference_accuracy=before["accuracy"],
        accuracy_change=after["accuracy"] - before["accuracy"],
        macro_f1_change=after["macro_f1"] - before["macro_f1"],
        ece_change=after["ece"] - before["ece"],
        recall_change={
            name: after["per_class"][name]["recall"] - before["per_class"][name]["recall"]
            for name in labels
        },
        embedding_cosine_min=float(cosine.min()),
    )


def failures(
    figures: Comparison, precision: str, limits: ParityLimits, allow_drop: float | None
) -> list[str]:
    """List the limits that a variant breaks.

    Args:
        figures: Comparison with the checkpoint.
        precision: Precision of the variant; fp32 has limits of its own.
        limits: Limits to apply.
        allow_drop: Accuracy, as a share (0..1), that a reduced precision may lose. With it,
            agreement is reported and not limited.

    Returns:
        One sentence for each broken limit, with its figures; empty if the variant passes.
    """
    # NaN fails every comparison, so each limit states what must hold.
    if not np.isfinite(figures.max_abs_dp):
        return ["some answers are not numbers"]
    broken = []
    if precision == "fp32":
        if not figures.max_abs_dp <= limits.fp32_max_abs_dp:
            broken.append(
                f"probabilities differ by up to {figures.max_abs_dp:.2e}, "
                f"{limits.fp32_max_abs_dp:.0e} is allowed"
            )
        if not figures.embedding_cosine_min >= limits.fp32_embedding_cosine:
            broken.append(
                f"the smallest cosine of an embedding is {figures.embedding_cosine_min:.4f}, "
                f"{limits.fp32_embedding_cosine:.4f} is needed"
            )
        return broken
    if allow_drop is None and not figures.agreement >= limits.agreement:
        broken.append(
            f"{100 * figures.agreement:.2f} % of the decisions agree, "
            f"{100 * limits.agreement:.0f} % are needed"
        )
    allowed = limits.accuracy_drop if allow_drop is None else allow_drop
    if not figures.accuracy_change >= -allowed:
        broken.append(
            f"accuracy falls by {-100 * figures.accuracy_change:.2f} points, "
            f"{100 * allowed:.2f} are allowed"
        )
    return broken
