"""Accuracy and agreement beside speed, and the front that is worth choosing from."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from fer_edge import Predictor

_BATCH = 64


def accuracy(
    predictors: Mapping[str, Predictor],
    data: str | Path,
    split: str | None,
    step: Callable[[str, int, int], None],
) -> dict[str, dict[str, Any]]:
    """By variant: ``faces``, ``accuracy``, and ``agreement`` of its first choices with ``of``.

    ``of`` is the first fp32 variant, or else the first. The faces go through
    ``Predictor.predict_batch`` as any application's do. Raises DataError, LabelError.
    """
    from fer_edge.training.data.faces import load_faces

    labels = next(iter(predictors.values())).labels
    faces = load_faces(data, split, labels)
    answers: dict[str, list[str]] = {name: [] for name in predictors}
    for first in range(0, len(faces), _BATCH):
        crops = [face.read() for face in faces[first : first + _BATCH]]
        for name, predictor in predictors.items():
            answers[name] += [answer.label for answer in predictor.predict_batch(crops)]
        step("accuracy", min(first + _BATCH, len(faces)), len(faces))
    reference = next((name for name in answers if name.endswith("/fp32")), next(iter(answers)))
    return {
        name: {
            "labelled_faces": len(faces),
            "accuracy": _share(given, [face.label for face in faces]),
            "agreement": _share(given, answers[reference]),
            "of": reference,
        }
        for name, given in answers.items()
    }


def mark_front(rows: Sequence[dict[str, Any]]) -> None:
    """Set ``pareto`` in each row that has accuracy and a median: True if no other of its batch
    size is at least as accurate and as fast, and better in one of the two."""
    judged = [row for row in rows if row.get("accuracy") is not None and row.get("p50_ms")]
    for row in judged:
        row["pareto"] = not any(
            other["batch"] == row["batch"]
            and other["accuracy"] >= row["accuracy"]
            and other["p50_ms"] <= row["p50_ms"]
            and (other["accuracy"], other["p50_ms"]) != (row["accuracy"], row["p50_ms"])
            for other in judged
        )


def _share(given: Sequence[str], wanted: Sequence[str]) -> float:
    return sum(a == b for a, b in zip(given, wanted, strict=True)) / len(wanted)
