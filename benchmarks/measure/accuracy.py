"""Accuracy and agreement of variants, and their Pareto front with latency."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from fer_edge import Predictor
from fer_edge.benchmarks.fields import Accuracy
from fer_edge.progress import Step

_BATCH = 64


def accuracy(
    predictors: Mapping[str, Predictor], data: str | Path, split: str | None, step: Step
) -> dict[str, Accuracy]:
    """Return accuracy, and agreement with the reference variant.

    The reference is the first fp32 variant, or else the first variant.

    The faces go through ``Predictor.predict_batch``, as an application's faces do.

    Args:
        predictors: Open predictors by the name of their variant.
        data: Labelled faces.
        split: Part of the data; None means all of it.
        step: Progress callback.

    Returns:
        Accuracy by the name of the variant.

    Raises:
        DataError: The data cannot be read.
        LabelError: A label is none of the bundle's.
    """
    from fer_edge.training.data.faces import load_faces

    labels = next(iter(predictors.values())).labels
    faces = load_faces(data, split, labels)
    predicted: dict[str, list[str]] = {name: [] for name in predictors}
    for first in range(0, len(faces), _BATCH):
        crops = [face.read() for face in faces[first : first + _BATCH]]
        for name, predictor in predictors.items():
            predicted[name] += [answer.label for answer in predictor.predict_batch(crops)]
        step("accuracy", min(first + _BATCH, len(faces)), len(faces))
    reference = next((name for name in predicted if name.endswith("/fp32")), next(iter(predicted)))
    return {
        name: {
            "labelled_faces": len(faces),
            "accuracy": _share_equal(answers, [face.label for face in faces]),
            "agreement": _share_equal(answers, predicted[reference]),
            "of": reference,
        }
        for name, answers in predicted.items()
    }


def mark_front(rows: Sequence[dict[str, Any]]) -> None:
    """Set ``pareto`` in each row that has an accuracy and a median.

    It is True if no other row of the same batch size is at least as accurate and as fast, and
    better in one of the two.
    """
    judged = [row for row in rows if row.get("accuracy") is not None and row.get("p50_ms")]
    for row in judged:
        row["pareto"] = not any(
            other["batch"] == row["batch"]
            and other["accuracy"] >= row["accuracy"]
            and other["p50_ms"] <= row["p50_ms"]
            and (other["accuracy"], other["p50_ms"]) != (row["accuracy"], row["p50_ms"])
            for other in judged
        )


def _share_equal(a: Sequence[str], b: Sequence[str]) -> float:
    return sum(x == y for x, y in zip(a, b, strict=True)) / len(b)
