"""The gate: a converted variant against the checkpoint, on faces, before anything is written."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from fer_edge.backends.base import Outputs, Session
from fer_edge.errors import ConversionError, EngineError
from fer_edge.training.evaluation.metrics import metrics

BATCHES = (1, 2, 5, 32)
"""Batch sizes at which a dynamic batch has to give the same answers."""
_BATCH_MAX_ABS_DP = 0.02


@dataclass(frozen=True)
class ParityLimits:
    """What a variant may differ by. fp32 is held to probabilities, the others to decisions."""

    fp32_max_abs_dp: float = 1e-4
    fp32_embedding_cosine: float = 0.9999
    agreement: float = 0.98
    accuracy_drop: float = 0.005


def run_all(session: Session, images: npt.NDArray[np.uint8]) -> Outputs:
    """probabilities and embeddings of all faces, one at a time, as in a car: an engine may run
    another graph for a batch."""
    parts = [session.run(images[i : i + 1]) for i in range(len(images))]
    return np.concatenate([p for p, _ in parts]), np.concatenate([e for _, e in parts])


def prove_batches(session: Session, images: npt.NDArray[np.uint8], expected: Outputs) -> list[int]:
    """Run BATCHES and compare with what each face alone gave; gives the sizes that were proven.

    Raises ConversionError if a size fails or changes the answers: a batch that silently became
    static, or leaks from one face into the next.
    """
    for count in BATCHES:
        try:
            probabilities, embedding = session.run(images[:count])
        except EngineError as error:
            raise ConversionError(f"the variant does not run at batch {count}: {error}") from error
        shapes = (probabilities.shape, embedding.shape)
        wanted = ((count, *expected[0].shape[1:]), (count, *expected[1].shape[1:]))
        if shapes != wanted:
            raise ConversionError(f"expected outputs {wanted} at batch {count}, got {shapes}")
        # Another batch may take another kernel: rounding may differ, decisions may not.
        change = float(np.abs(probabilities - expected[0][:count]).max())
        if not change <= _BATCH_MAX_ABS_DP:
            raise ConversionError(
                f"the variant's answers change with the batch size, at {count} by up to "
                f"{change:.2e}, {_BATCH_MAX_ABS_DP:.0e} is allowed"
            )
    return list(BATCHES)


def compare(
    reference: Outputs, variant: Outputs, truth: Sequence[str], labels: Sequence[str]
) -> dict[str, Any]:
    """The parity report: all changes are variant minus reference."""
    p, q = reference[0], variant[0]
    before, after = metrics(p, truth, labels), metrics(q, truth, labels)
    difference = np.abs(q.astype(np.float64) - p)
    norms = np.linalg.norm(reference[1], axis=1) * np.linalg.norm(variant[1], axis=1)
    cosine = (reference[1] * variant[1]).sum(1) / np.maximum(norms, 1e-12)
    return {
        "max_abs_dp": float(difference.max()),
        "mean_abs_dp": float(difference.mean()),
        "agreement": float((p.argmax(1) == q.argmax(1)).mean()),
        "accuracy": after["accuracy"],
        "reference_accuracy": before["accuracy"],
        "accuracy_change": after["accuracy"] - before["accuracy"],
        "macro_f1_change": after["macro_f1"] - before["macro_f1"],
        "ece_change": after["ece"] - before["ece"],
        "recall_change": {
            name: after["per_class"][name]["recall"] - before["per_class"][name]["recall"]
            for name in labels
        },
        "embedding_cosine_min": float(cosine.min()),
    }


def failures(
    report: dict[str, Any], precision: str, limits: ParityLimits, allow_drop: float | None
) -> list[str]:
    """Sentences for each limit that the report breaks, with by how much; empty means passed.

    allow_drop: accuracy (a share) that may be lost by a reduced precision; agreement is then
    reported and not judged.
    """
    # NaN passes no comparison, so each limit is written as what must hold.
    broken = []
    if not np.isfinite(report["max_abs_dp"]):
        return ["some answers are not numbers"]
    if precision == "fp32":
        if not report["max_abs_dp"] <= limits.fp32_max_abs_dp:
            broken.append(
                f"probabilities differ by up to {report['max_abs_dp']:.2e}, "
                f"{limits.fp32_max_abs_dp:.0e} is allowed"
            )
        if not report["embedding_cosine_min"] >= limits.fp32_embedding_cosine:
            broken.append(f"an embedding points elsewhere: {report['embedding_cosine_min']:.4f}")
        return broken
    if allow_drop is None and not report["agreement"] >= limits.agreement:
        broken.append(
            f"{100 * report['agreement']:.2f} % of the decisions agree, "
            f"{100 * limits.agreement:.0f} % are needed"
        )
    allowed = limits.accuracy_drop if allow_drop is None else allow_drop
    if not report["accuracy_change"] >= -allowed:
        broken.append(
            f"accuracy falls by {-100 * report['accuracy_change']:.2f} points, "
            f"{100 * allowed:.2f} are allowed"
        )
    return broken
