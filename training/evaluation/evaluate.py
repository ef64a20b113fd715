"""Figures of checkpoints and bundles on labelled faces, repeatable to the digit."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from fer_edge.bundle import open_bundle
from fer_edge.errors import DataError, MissingPartError, TargetError
from fer_edge.machine import software
from fer_edge.progress import Step, silent
from fer_edge.training.data.faces import LabelledFace, load_faces, pixel_hash
from fer_edge.training.evaluation.bootstrap import METHOD, difference, intervals
from fer_edge.training.evaluation.metrics import metrics
from fer_edge.training.evaluation.roc import roc
from fer_edge.training.evaluation.runner import opened


def evaluate(
    source: str | Path,
    data: str | Path,
    split: str | None = "val",
    *,
    target: str | None = None,
    precision: str | None = None,
    step: Step = silent,
) -> dict[str, Any]:
    """Evaluate a checkpoint folder (in torch, fp32, CPU) or a ``.fer`` bundle (on its engine).

    Gives ``all``: figures over every face; ``deduplicated``: over each distinct picture once,
    without those that have a twin in the source's ``train`` part; and ``abstention``.
    target, precision: which variant of a bundle. Raises DataError, CheckpointError, BundleError,
    TargetError.
    """
    return _judge(Path(source), target, precision, Exam(Path(data), split, step))[0]


def evaluate_all(
    sources: Sequence[str | Path],
    data: str | Path,
    split: str | None = "val",
    *,
    target: str | None = None,
    precision: str | None = None,
    step: Step = silent,
) -> dict[str, Any]:
    """Evaluate several on the same faces; ``inputs`` are what ``evaluate`` gives, each with a name.

    target: of bundles only; ``all`` takes each variant that runs here and tells of the others in
    ``refused``. ``comparisons`` are of each input with the first, face by face.
    """
    exam = Exam(Path(data), split, step)
    inputs: list[dict[str, Any]] = []
    answers: list[list[str]] = []
    refused: list[dict[str, str]] = []
    for source in map(Path, sources):
        for wanted in _variants(source, target, precision):
            try:
                report, given = _judge(source, *wanted, exam)
            except TargetError as error:
                if target != "all":
                    raise
                which = "/".join(filter(None, wanted))
                refused.append({"input": f"{source.name} {which}", "why": str(error)})
                continue
            inputs.append({"name": _name(source, report, inputs), **report})
            answers.append(given)
    if not inputs:
        raise TargetError("nothing to evaluate: " + "; ".join(row["why"] for row in refused))
    return {
        "inputs": inputs,
        "comparisons": [
            {
                "of": report["name"],
                "with": inputs[0]["name"],
                "agreement": float(np.mean([a == b for a, b in zip(answers[0], own, strict=True)])),
                **difference(exam.truth, answers[0], own),
            }
            for report, own in zip(inputs[1:], answers[1:], strict=True)
        ],
        "refused": refused,
        "method": METHOD,
        "environment": software(),
    }


def figures(
    probabilities: npt.NDArray[np.floating[Any]], truth: Sequence[str], labels: Sequence[str]
) -> dict[str, Any]:
    """Everything that is reported of a set of answers: metrics, their intervals and ROC curves."""
    found = metrics(probabilities, truth, labels)
    return {
        **found,
        "intervals": intervals(found["confusion"], labels),
        "roc": roc(probabilities, truth, labels),
    }


def abstention(
    probabilities: npt.NDArray[np.floating[Any]],
    truth: Sequence[str],
    labels: Sequence[str],
    threshold: float,
) -> dict[str, Any]:
    """Share of faces answered at that threshold, and of answers that are right (None: none)."""
    confident = probabilities.max(1) >= threshold
    right = probabilities.argmax(1) == np.array([list(labels).index(name) for name in truth])
    return {
        "threshold": threshold,
        "coverage": float(confident.mean()),
        "accuracy": float(right[confident].mean()) if confident.any() else None,
    }


@dataclass
class Exam:
    """The faces that everybody is judged on; twins are looked for once."""

    data: Path
    split: str | None
    step: Step
    faces: list[LabelledFace] = field(default_factory=list)

    def read(self, labels: Sequence[str]) -> list[LabelledFace]:
        """The faces, for a model that knows these labels. Raises LabelError for others."""
        self.faces = load_faces(self.data, self.split, labels)
        return self.faces

    @property
    def truth(self) -> list[str]:
        return [face.label for face in self.faces]

    @cached_property
    def distinct(self) -> list[int]:
        """Indices of pictures that stand only once, here and in the training part."""
        own = [pixel_hash(face) for face in self.faces]
        others: list[LabelledFace] = []
        if self.split not in (None, "train"):
            # A source without a train part has no twins to look for.
            with suppress(MissingPartError):
                others = load_faces(self.data, "train")
        trained = set()
        for i, face in enumerate(others):
            trained.add(pixel_hash(face))
            if i % 500 == 0:
                self.step("looking for twins", i, len(others))
        first: Counter[str] = Counter()
        kept = []
        for i, digest in enumerate(own):
            first[digest] += 1
            if first[digest] == 1 and digest not in trained:
                kept.append(i)
        if not kept:
            raise DataError(
                f"every picture of {self.data} is in its train part: nothing to evaluate on"
            )
        return kept


def _judge(
    source: Path, target: str | None, precision: str | None, exam: Exam
) -> tuple[dict[str, Any], list[str]]:
    """The report, and each face's answer by name."""
    with opened(source, target, precision) as who:
        faces = exam.read(who.labels)
        probabilities, _ = who.answer(faces, "evaluating", exam.step)
    truth, labels, distinct = exam.truth, who.labels, exam.distinct
    report = {
        **who.facts,
        "data": exam.data.name,
        "split": exam.split,
        "labels": list(labels),
        "all": figures(probabilities, truth, labels),
        "deduplicated": figures(probabilities[distinct], [truth[i] for i in distinct], labels),
        "abstention": abstention(probabilities, truth, labels, who.abstain_below),
    }
    return report, [labels[i] for i in probabilities.argmax(1)]


def _variants(
    source: Path, target: str | None, precision: str | None
) -> list[tuple[str | None, str | None]]:
    """What to open of one source: (target, precision)."""
    if source.suffix != ".fer":
        return [(None, None)]
    if target != "all":
        return [(target, precision)]
    pairs = dict.fromkeys((v.target, v.precision) for v in open_bundle(source).variants)
    wanted = [pair for pair in pairs if precision in (None, pair[1])]
    return [*wanted] or [(None, precision)]  # the Predictor says what is missing


def _name(source: Path, report: dict[str, Any], others: Sequence[dict[str, Any]]) -> str:
    """What a reader tells it from the others by: a run's ``best`` is named with its run."""
    path = source.resolve()
    name = f"{path.parent.name}/{path.name}" if path.name == "best" else path.name
    name = f"{name} {report['variant']}" if "variant" in report else name
    again = 1 + sum(other["name"].split(" #")[0] == name for other in others)
    return name if again == 1 else f"{name} #{again}"
