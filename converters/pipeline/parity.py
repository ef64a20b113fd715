"""Comparison of a converted variant with its checkpoint, on faces."""

from __future__ import annotations

import time
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from fer_edge.backends.base import Outputs, Session
from fer_edge.errors import ConversionError, EngineError
from fer_edge.parity import Comparison
from fer_edge.training.evaluation.metrics import metrics

BATCHES = (1, 2, 5, 32)
"""Batch sizes at which a dynamic batch must give the same answers."""
_BATCH_MAX_ABS_DP = 0.02
"""Largest change of a probability with the batch size: another batch may take another kernel. Of
int8, largest mean over the faces."""
_BATCH_MAX_EMBEDDING = 0.1
"""Largest change of an embedding with the batch size, as a share of the largest number. Of int8,
largest mean over the faces: OpenVINO's changes by 0.035 on the default model."""


def run_all(
    session: Session,
    images: npt.NDArray[np.uint8],
    budget_s: float | None = None,
    at_least: int = 1,
    at_once: int = 1,
) -> Outputs:
    """Run faces one at a time, as in a car.

    An engine may run another graph for a batch.

    Args:
        session: Session to run.
        images: Faces, uint8 ``[N, S, S, 3]`` BGR.
        budget_s: Seconds after which no further face is run; None runs all.
        at_least: Number of faces that are run whatever they take.
        at_once: Number of faces in a call; more than one for a simulator in several processes.

    Returns:
        Probabilities float32 ``[N, C]`` and embeddings float32 ``[N, D]``, of the first N faces.

    Raises:
        EngineError: The engine fails on a face.
    """
    parts: list[Outputs] = []
    end_s = float("inf") if budget_s is None else time.monotonic() + budget_s
    for i in range(0, len(images), at_once):
        if i >= at_least and time.monotonic() > end_s:
            break
        parts.append(session.run(images[i : i + at_once]))
    return np.concatenate([p for p, _ in parts]), np.concatenate([e for _, e in parts])


def prove_batches(
    session: Session,
    images: npt.NDArray[np.uint8],
    expected: Outputs,
    quantised: bool = False,
) -> list[int]:
    """Run BATCHES and compare each answer with the one alone.

    This finds a dynamic batch that became static, and faces that leak into each other. In int8, a
    value at a rounding boundary may fall to the other side with another kernel, so the limit is on
    the mean over the faces.

    Args:
        session: Session to run.
        images: Faces, uint8 ``[N, S, S, 3]`` BGR.
        expected: Outputs of the same faces, one at a time.
        quantised: The session computes in int8.

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
        alone = tuple(output[:count] for output in expected)
        largest = max(float(np.abs(alone[1]).max()), float(np.finfo(np.float32).tiny))
        for name, changes, limit in (
            ("answers", np.abs(probabilities - alone[0]).max(1), _BATCH_MAX_ABS_DP),
            ("embeddings", np.abs(embedding - alone[1]).max(1) / largest, _BATCH_MAX_EMBEDDING),
        ):
            change = float(changes.mean() if quantised else changes.max())
            if not change <= limit:
                raise ConversionError(
                    f"the variant's {name} change with the batch size, at {count} "
                    f"{'on average' if quantised else 'by up to'} {change:.2e}, "
                    f"{limit:.0e} is allowed"
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
        embedding_cosine_min=float(_cosines(reference[1], variant[1]).min()),
    )


def _cosines(
    reference: npt.NDArray[np.float32], variant: npt.NDArray[np.float32]
) -> npt.NDArray[np.float64]:
    """Return the cosine between each pair of rows: 1 for two of zeros, 0 for one of zeros."""
    units = []
    for rows in (reference.astype(np.float64), variant.astype(np.float64)):
        norms = np.linalg.norm(rows, axis=1, keepdims=True)
        units.append(rows / np.where(norms == 0, 1, norms))
    zeros = [~each.any(1) for each in units]
    return np.where(zeros[0] & zeros[1], 1.0, (units[0] * units[1]).sum(1))
