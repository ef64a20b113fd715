"""Evaluation of checkpoints and bundles on labelled faces."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from fer_edge.bundle import open_bundle
from fer_edge.errors import DataError, LabelError, MissingPartError, TargetError
from fer_edge.machine import software
from fer_edge.progress import Step, silent
from fer_edge.shipped import checkpoint_path
from fer_edge.training.data.dataset_spec import DatasetSpec
from fer_edge.training.data.faces import (
    LabelledFace,
    fingerprint,
    load_faces,
    pixel_hash,
    without_duplicates,
)
from fer_edge.training.data.near_duplicates import near_duplicates as find_near_duplicates
from fer_edge.training.evaluation.bootstrap import METHOD, difference, intervals
from fer_edge.training.evaluation.metrics import metrics
from fer_edge.training.evaluation.roc import roc
from fer_edge.training.evaluation.runner import open_model


def evaluate(
    source: str | Path,
    data: str | Path,
    split: str | None = "val",
    *,
    target: str | None = None,
    precision: str | None = None,
    near_duplicates: bool = False,
    step: Step = silent,
) -> dict[str, Any]:
    """Evaluate a checkpoint or a bundle on labelled faces.

    A checkpoint runs in torch (fp32, CPU), a bundle on its engine.

    Args:
        source: Checkpoint folder, or ``.fer`` bundle.
        data: Labelled faces.
        split: Part of the data to evaluate on; None for data without parts.
        target: Target of the bundle's variant; None lets the Predictor choose.
        precision: Precision of the bundle's variant; None lets the Predictor choose.
        near_duplicates: Add figures without near duplicates.
        step: Receives progress.

    Returns:
        Figures over every face (``all``), ``abstention``, and facts about model and data.
        ``deduplicated`` counts each distinct image without a duplicate in the ``train`` part.
        ``near_deduplicated``, if asked for, leaves out near duplicates as well. ``trained_on`` is
        True if the model's card names these faces as its training data, None if nothing is known.
        ``train_part`` is True if the data has such a part beside these faces.

    Raises:
        DataError: The data cannot be read, or every image is in its ``train`` part.
        LabelError: The data has labels that the model does not have.
        CheckpointError: The checkpoint cannot be loaded.
        BundleError: The bundle is damaged.
        TargetError: No requested variant runs on this machine.
    """
    test_set = EvaluationSet(Path(data), split, step, near_duplicates)
    return _evaluate_one(checkpoint_path(source), target, precision, test_set)[0]


def evaluate_all(
    sources: Sequence[str | Path],
    data: str | Path,
    split: str | None = "val",
    *,
    target: str | None = None,
    precision: str | None = None,
    near_duplicates: bool = False,
    step: Step = silent,
) -> dict[str, Any]:
    """Evaluate models on the same faces, and compare them with the first.

    Args:
        sources: Checkpoint folders and ``.fer`` bundles.
        data: Labelled faces.
        split: Part of the data to evaluate on; None for data without parts.
        target: Target of the bundles' variants. ``all`` evaluates every variant that runs on this
            machine; None lets the Predictor choose.
        precision: Precision of the bundles' variants; None lets the Predictor choose.
        near_duplicates: Add figures without near duplicates.
        step: Receives progress.

    Returns:
        ``inputs``, reports as from evaluate, each with a ``name``. ``comparisons`` with the first
        input are face by face. ``refused`` lists variants that do not run here. ``method`` is that
        of the intervals, and ``environment`` has the versions of software.

    Raises:
        TargetError: No variant runs on this machine. Other errors are as from evaluate.
    """
    test_set = EvaluationSet(Path(data), split, step, near_duplicates)
    inputs: list[dict[str, Any]] = []
    answers: list[list[str]] = []
    refused: list[dict[str, str]] = []
    for source in map(checkpoint_path, sources):
        for variant in _variants(source, target, precision):
            try:
                report, predicted = _evaluate_one(source, *variant, test_set)
            except TargetError as error:
                if target != "all":
                    raise
                name = "/".join(filter(None, variant))
                refused.append({"input": f"{source.name} {name}", "why": str(error)})
                continue
            inputs.append({"name": input_name(source, report, inputs), **report})
            answers.append(predicted)
    if not inputs:
        raise TargetError("nothing to evaluate: " + "; ".join(row["why"] for row in refused))
    return {
        "inputs": inputs,
        "comparisons": [
            {
                "of": report["name"],
                "with": inputs[0]["name"],
                "agreement": float(np.mean([a == b for a, b in zip(answers[0], own, strict=True)])),
                **difference(test_set.truth, answers[0], own),
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
    """Compute metrics, their intervals and ROC curves; arguments are as for metrics."""
    report = metrics(probabilities, truth, labels)
    return {
        **report,
        "intervals": intervals(report["confusion"], labels),
        "roc": roc(probabilities, truth, labels),
    }


def abstention(
    probabilities: npt.NDArray[np.floating[Any]],
    truth: Sequence[str],
    labels: Sequence[str],
    threshold: float,
    abstains: npt.NDArray[np.bool_] | None = None,
) -> dict[str, Any]:
    """Return coverage and accuracy of answers at a threshold.

    The accuracy is None if no face is answered. ``abstains`` are faces that are withheld; None
    withholds those below the threshold.
    """
    confident = probabilities.max(1) >= threshold if abstains is None else ~abstains
    right = probabilities.argmax(1) == np.array([list(labels).index(name) for name in truth])
    return {
        "threshold": threshold,
        "coverage": float(confident.mean()),
        "accuracy": float(right[confident].mean()) if confident.any() else None,
    }


@dataclass
class EvaluationSet:
    """Faces that all models are evaluated on; duplicates are searched once.

    Attributes:
        data: Data set.
        split: Part of the data, or None.
        step: Receives progress.
        near_duplicates: True if near duplicates are searched for.
        faces: Faces, after the first ``read``.
        labels: Labels of the last model that read them.
    """

    data: Path
    split: str | None
    step: Step
    near_duplicates: bool = False
    faces: list[LabelledFace] = field(default_factory=list)
    labels: Sequence[str] = ()

    def read(self, labels: Sequence[str]) -> list[LabelledFace]:
        """Return the faces. Raises LabelError for labels unknown to the model."""
        self.labels = labels
        self.faces = load_faces(self.data, self.split, labels)
        return self.faces

    @property
    def truth(self) -> list[str]:
        """Label of each face."""
        return [face.label for face in self.faces]

    @cached_property
    def hashes(self) -> list[str]:
        """Pixel hash of each face."""
        with skip_advice(self.data):
            return [pixel_hash(face) for face in self.faces]

    @cached_property
    def distinct(self) -> list[int]:
        """Indices of distinct images that have no duplicate in the ``train`` part."""
        own, others = self.hashes, self._train_part
        trained = set()
        with skip_advice(self.data):
            for i, face in enumerate(others):
                trained.add(pixel_hash(face))
                if i % 500 == 0:
                    self.step("looking for duplicates", i, len(others))
        seen: Counter[str] = Counter()
        distinct = []
        for i, digest in enumerate(own):
            seen[digest] += 1
            if seen[digest] == 1 and digest not in trained:
                distinct.append(i)
        if not distinct:
            raise DataError(
                f"every image of {self.data} is in its train part: nothing to evaluate on. Use "
                "faces that were not trained on"
            )
        return distinct

    @cached_property
    def near_distinct(self) -> list[int]:
        """Indices of distinct images without a near duplicate in the ``train`` part or before."""
        with skip_advice(self.data):
            matches = find_near_duplicates(
                [self.faces[i] for i in self.distinct], self._train_part, self.step
            )
        kept = [i for i, match in zip(self.distinct, matches, strict=True) if match is None]
        if not kept:
            raise DataError(
                f"every image of {self.data} is a near duplicate of one in its train part: nothing "
                "to evaluate on. Use faces that were not trained on"
            )
        return kept

    @cached_property
    def _train_part(self) -> list[LabelledFace]:
        """Faces of the ``train`` part; none if it is evaluated, or there is none."""
        if self.split not in (None, "train"):
            with suppress(MissingPartError):
                return load_faces(self.data, "train", self.labels)
        return []

    @property
    def has_train_part(self) -> bool:
        """True if the faces are compared with a ``train`` part."""
        return bool(self._train_part)

    @cached_property
    def _fingerprints(self) -> list[str]:
        """Fingerprints of the faces: of all, and of those that training keeps beside a ``val``."""
        known = [fingerprint(self.faces, self.hashes)]
        if self.split == "train":
            with suppress(DataError, LabelError):  # without a readable val, training keeps all
                validation = load_faces(self.data, "val", self.labels)
                others = map(pixel_hash, validation)
                known.append(fingerprint(*without_duplicates(self.faces, self.hashes, others)))
        return known

    def trained_on(self, trained: str | None) -> bool | None:
        """Return True if a model was trained on these faces, None if unknown.

        Args:
            trained: Fingerprint of the faces that the model was trained on, or None.
        """
        if trained is None:
            return None
        if trained in self._fingerprints:
            return True
        return False if self.has_train_part else None


@contextmanager
def skip_advice(data: str | Path | None) -> Iterator[None]:
    """Add advice on skipping a data set's broken pictures to a DataError. None adds nothing."""
    try:
        yield
    except DataError as error:
        if data is None:
            raise
        skipping = DatasetSpec.parse(data).skipping
        raise DataError(f"{error}. Or skip broken pictures: --data {skipping}") from error


def _evaluate_one(
    source: Path, target: str | None, precision: str | None, test_set: EvaluationSet
) -> tuple[dict[str, Any], list[str]]:
    """Return the report, and the predicted label of each face."""
    with open_model(source, target, precision) as runner:
        faces = test_set.read(runner.labels)
        with skip_advice(test_set.data):
            probabilities, _, abstains = runner.judge(faces, "evaluating", test_set.step)
    truth, labels = test_set.truth, runner.labels

    def on(chosen: Sequence[int]) -> dict[str, Any]:
        return figures(probabilities[chosen], [truth[i] for i in chosen], labels)

    report = {
        **runner.facts,
        "data": DatasetSpec.parse(test_set.data).described,
        "split": test_set.split,
        "labels": list(labels),
        "trained_on": test_set.trained_on(runner.fingerprint),
        "train_part": test_set.has_train_part,
        "all": figures(probabilities, truth, labels),
        "deduplicated": on(test_set.distinct),
        **({"near_deduplicated": on(test_set.near_distinct)} if test_set.near_duplicates else {}),
        "abstention": abstention(probabilities, truth, labels, runner.abstain_below, abstains),
    }
    return report, [labels[i] for i in probabilities.argmax(1)]


def _variants(
    source: Path, target: str | None, precision: str | None
) -> list[tuple[str | None, str | None]]:
    """Return the variants to evaluate of one source, as (target, precision)."""
    if source.suffix != ".fer":
        return [(None, None)]
    if target != "all":
        return [(target, precision)]
    pairs = dict.fromkeys((v.target, v.precision) for v in open_bundle(source).variants)
    requested = [pair for pair in pairs if precision in (None, pair[1])]
    return [*requested] or [(None, precision)]  # the Predictor reports what is missing


def input_name(source: Path, report: dict[str, Any], others: Sequence[dict[str, Any]]) -> str:
    """Return a distinct name; ``best`` is named with its run folder.

    Args:
        source: Checkpoint folder, or ``.fer`` bundle.
        report: Report of the input, with its variant if it is a bundle.
        others: Named reports of earlier inputs.
    """
    path = source.resolve()
    name = f"{path.parent.name}/{path.name}" if path.name == "best" else path.name
    name = f"{name} {report['variant']}" if "variant" in report else name
    again = 1 + sum(other["name"].split(" #")[0] == name for other in others)
    return name if again == 1 else f"{name} #{again}"
