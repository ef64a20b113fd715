"""Embeddings of faces, and a check of their neighbourhoods by expression."""

from __future__ import annotations

import io
import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from fer_edge.errors import DataError, InputError
from fer_edge.progress import Step, silent
from fer_edge.training.data.dataset_spec import DatasetSpec
from fer_edge.training.data.faces import BrokenPicture, LabelledFace, load_faces
from fer_edge.training.data.picture_files import (
    PassedOver,
    passed_over_files,
    pictures,
    utf8_name,
)
from fer_edge.training.evaluation.bootstrap import METHOD, mean_interval
from fer_edge.training.evaluation.evaluate import EvaluationSet, skip_advice
from fer_edge.training.evaluation.runner import open_model

NEIGHBOURS = 10
"""Number of nearest faces in ``knn_accuracy`` and ``precision_at_10``; all of a smaller gallery."""
_ANOTHER = "Name a folder of JPEG, PNG, BMP or WebP images"


@dataclass(frozen=True)
class Embeddings:
    """Embeddings of N faces, with the model's predictions.

    Attributes:
        names: Name of each face.
        labels: Label of each face, or None for images without labels.
        answers: Predicted label of each face.
        confidences: Probability of each prediction, float32 ``[N]``.
        embeddings: Embeddings, float32 ``[N, D]``.
        model: Facts about the model, and its labels.
        left_out: Images that cannot be read. Their faces are in no other field.
        passed_over: Number of files in folders that are no images, by suffix.
    """

    names: list[str]
    labels: list[str] | None
    answers: list[str]
    confidences: npt.NDArray[np.float32]
    embeddings: npt.NDArray[np.float32]
    model: dict[str, Any]
    left_out: list[BrokenPicture] = field(default_factory=list)
    passed_over: dict[str, int] = field(default_factory=dict)

    def npz(self) -> bytes:
        """Return an ``.npz`` file for ``numpy.load``, without pickles.

        Arrays: ``names, labels, answers, confidences, embeddings, model`` (JSON).
        """
        out = io.BytesIO()
        arrays: dict[str, Any] = {
            "names": np.array(self.names, np.str_),
            "answers": np.array(self.answers, np.str_),
            "confidences": self.confidences,
            "embeddings": self.embeddings,
            "model": np.array(json.dumps(self.model), np.str_),
        }
        if self.labels is not None:
            arrays["labels"] = np.array(self.labels, np.str_)
        np.savez(out, **arrays)
        return out.getvalue()

    def parquet(self) -> bytes:
        """Return a Parquet file.

        Columns: ``name, label, answer, confidence, embedding``. The model is in the metadata.
        """
        import pyarrow
        import pyarrow.parquet

        width = self.embeddings.shape[1]
        flat = pyarrow.array(self.embeddings.ravel(), pyarrow.float32())
        table = pyarrow.table(
            {
                "name": [utf8_name(name) for name in self.names],
                **({} if self.labels is None else {"label": self.labels}),
                "answer": self.answers,
                "confidence": self.confidences,
                "embedding": pyarrow.FixedSizeListArray.from_arrays(flat, width),
            }
        ).replace_schema_metadata({"fer_edge.model": json.dumps(self.model)})
        out = io.BytesIO()
        pyarrow.parquet.write_table(table, out, compression="zstd")
        return out.getvalue()


def embed(
    model: str | Path,
    images: Sequence[str | Path] = (),
    data: str | Path | None = None,
    split: str | None = "val",
    *,
    target: str | None = None,
    precision: str | None = None,
    step: Step = silent,
) -> Embeddings:
    """Embed face crops: image files, folders, or a data set.

    An image that cannot be read is left out and listed.

    Args:
        model: Checkpoint folder, or ``.fer`` bundle.
        images: Image files and folders of them.
        data: Data set; instead of ``images``.
        split: Part of the data set; None for data without parts.
        target: Target of the bundle's variant; None lets the Predictor choose.
        precision: Precision of the bundle's variant; None lets the Predictor choose.
        step: Receives progress.

    Returns:
        Embeddings, in the order of the faces.

    Raises:
        InputError: Neither or both of ``images`` and ``data`` are given, or a folder is empty.
        DataError: No image can be read, or a picture of the data set is broken.
        CheckpointError: The checkpoint cannot be loaded.
        BundleError: The bundle is damaged.
        TargetError: No requested variant runs on this machine.
    """
    if bool(images) == (data is not None):
        raise InputError(
            "expected either images or --data with labelled faces, got neither or both"
        )
    passed_over = PassedOver()
    with open_model(model, target, precision) as runner:
        if data is None:
            faces, left_out = _readable(_image_faces(images, passed_over), step)
        else:
            faces, left_out = load_faces(data, split, runner.labels), []
        with skip_advice(data):
            probabilities, embeddings = runner.predict(faces, "embedding", step)
    return Embeddings(
        names=[face.name for face in faces],
        labels=None if data is None else [face.label for face in faces],
        answers=[runner.labels[i] for i in probabilities.argmax(1)],
        confidences=probabilities.max(1),
        embeddings=embeddings,
        model={**runner.facts, "labels": list(runner.labels)},
        left_out=left_out,
        passed_over=passed_over.counts(),
    )


def _image_faces(images: Sequence[str | Path], passed_over: PassedOver) -> list[LabelledFace]:
    faces = []
    for path in map(Path, images):
        if path.is_dir():
            inside = list(pictures(path, passed_over))
            if not inside:
                sentences = passed_over_files(passed_over.counts(), "images") or _ANOTHER
                raise InputError(f"expected images of faces in {path}, found none. {sentences}")
            faces += [LabelledFace(p, "", str(p)) for p in inside]
        else:
            faces.append(LabelledFace(path, "", str(path)))
    return faces


def _readable(
    faces: Sequence[LabelledFace], step: Step
) -> tuple[list[LabelledFace], list[BrokenPicture]]:
    """Return the faces that can be read, and the others. Raises DataError if none can be read."""
    readable, broken = [], []
    for done, face in enumerate(faces, 1):
        try:
            face.read()
        except DataError as error:
            broken.append(BrokenPicture(face.name, str(error)))
        else:
            readable.append(face)
        if done % 100 == 0:
            step("reading images", done, len(faces))
    if not readable:
        more = f"; and {len(broken) - 1} more images" if len(broken) > 1 else ""
        raise DataError(f"no image can be read: {broken[0]}{more}")
    return readable, broken


def check(
    model: str | Path,
    data: str | Path,
    split: str = "val",
    *,
    target: str | None = None,
    precision: str | None = None,
    step: Step = silent,
) -> dict[str, Any]:
    """Check that faces of one expression are near each other.

    Queries are the distinct faces of ``split`` without a duplicate in ``train``. The gallery is the
    ``train`` part. Similarity is the cosine of embeddings.

    Args:
        model: Checkpoint folder, or ``.fer`` bundle.
        data: Data set with labelled faces.
        split: Part of the data set with the queries.
        target: Target of the bundle's variant; None lets the Predictor choose.
        precision: Precision of the bundle's variant; None lets the Predictor choose.
        step: Receives progress.

    Returns:
        ``figures``, each with its interval and its chance level. ``knn_accuracy`` has votes of
        NEIGHBOURS, weighted by cosine. ``precision_at_10`` and ``map`` are those of retrieval.
        ``nearer`` is the probability that a face of the same expression is nearer than another.
        ``holds`` is True if the intervals of all figures are above chance.

    Raises:
        InputError: ``split`` is ``train``, the gallery.
        DataError: The data cannot be read, a part is missing, or ``train`` has none of its classes.
        LabelError: The data has labels that the model does not have.
        CheckpointError: The checkpoint cannot be loaded.
        BundleError: The bundle is damaged.
        TargetError: No requested variant runs on this machine.
    """
    if split == "train":
        raise InputError(
            "expected another part than train, which is the gallery: each of its faces would find "
            "itself. Use --split val or --split test"
        )
    test_set = EvaluationSet(Path(data), split, step)
    with open_model(model, target, precision) as runner:
        faces = test_set.read(runner.labels)
        queries = [faces[i] for i in test_set.distinct]
        gallery = load_faces(data, "train", runner.labels)
        if not {face.label for face in queries} & {face.label for face in gallery}:
            raise DataError(
                f"expected faces of the classes of part {split} in the train part of {data}, the "
                "gallery, found none. Add some"
            )
        probabilities, asked = runner.predict(queries, "embedding", step)
        _, known = runner.predict(gallery, "embedding the gallery", step)
    index = {name: i for i, name in enumerate(runner.labels)}
    own = torch.tensor([index[face.label] for face in queries])
    theirs = torch.tensor([index[face.label] for face in gallery])
    in_gallery = torch.isin(own, theirs)
    values = _search(_unit(asked)[in_gallery], own[in_gallery], _unit(known), theirs, step)
    figures = {name: _beside_chance(value, chance) for name, (value, chance) in values.items()}
    answers = torch.from_numpy(probabilities.argmax(1))
    return {
        **runner.facts,
        "data": DatasetSpec.parse(data).described,
        "split": split,
        "queries": int(in_gallery.sum()),
        "without_their_like": int((~in_gallery).sum()),
        "gallery": len(gallery),
        "neighbours": min(NEIGHBOURS, len(gallery)),
        "figures": figures,
        "per_class": {
            name: {
                "queries": int((own[in_gallery] == i).sum()),
                **{
                    k: float(v[own[in_gallery].numpy() == i].mean()) for k, (v, _) in values.items()
                },
            }
            for name, i in index.items()
            if (own[in_gallery] == i).any()
        },
        "classifier_accuracy": float((answers[in_gallery] == own[in_gallery]).double().mean()),
        "holds": all(row["above_chance"][0] > 0 for row in figures.values()),
        "method": METHOD,
    }


Values = npt.NDArray[np.float64]
_COSINES_AT_ONCE = 1 << 22
"""Cosines that are in memory at once: 16 MiB."""


def _search(
    asked: Tensor, own: Tensor, known: Tensor, theirs: Tensor, step: Step
) -> dict[str, tuple[Values, Values]]:
    """Return value and chance level of each figure for each query."""
    classes = theirs.numpy()
    rows: list[tuple[float, float, float, float]] = []
    at_once = max(1, _COSINES_AT_ONCE // len(known))
    for start in range(0, len(asked), at_once):
        block = slice(start, start + at_once)
        cosines = (asked[block] @ known.T).numpy()
        for cosine, label in zip(cosines, own[block].tolist(), strict=True):
            if len(rows) % 50 == 0:
                step("searching", len(rows), len(asked))
            rows.append(_ranking_figures(cosine, classes, label))
    knn, precision, average, nearer = np.array(rows, np.float64).T
    counts = Counter(theirs.tolist())
    relevant = np.array([counts[int(label)] for label in own])
    most = max(counts, key=lambda label: counts[label])
    return {
        "knn_accuracy": (knn, (own.numpy() == most).astype(float)),
        f"precision_at_{NEIGHBOURS}": (precision, relevant / len(theirs)),
        "map": (average, expected_average_precision(relevant, len(theirs))),
        "nearer": (nearer, np.full(len(own), 0.5)),
    }


def _ranking_figures(
    cosine: npt.NDArray[np.float32], classes: npt.NDArray[np.int64], label: int
) -> tuple[float, float, float, float]:
    """Return kNN accuracy, precision, average precision and AUROC of one query."""
    order = np.argsort(-cosine)
    ranked, like = cosine[order], classes[order] == label
    first = order[:NEIGHBOURS]
    # Classes of the neighbours alone: one without a vote would win against negative cosines.
    voted, which = np.unique(classes[first], return_inverse=True)
    winner = voted[np.bincount(which, cosine[first]).argmax()]
    places = np.flatnonzero(like) + 1
    average = float((np.arange(1, len(places) + 1) / places).mean())
    return float(winner == label), float(like[:NEIGHBOURS].mean()), average, _auroc(ranked, like)


def _auroc(ranked: npt.NDArray[np.float32], like: npt.NDArray[np.bool_]) -> float:
    """Return the probability that a like face is before another; 1 without others.

    Equal cosines count half.
    """
    starts = np.flatnonzero(np.r_[True, ranked[1:] != ranked[:-1]])
    alike = np.add.reduceat(like, starts, dtype=np.int64)
    others = np.diff(np.r_[starts, len(like)]) - alike
    pairs = alike.sum() * others.sum()
    before = np.cumsum(alike) - alike / 2
    return float((before * others).sum() / pairs) if pairs else 1.0


def expected_average_precision(relevant: npt.NDArray[np.integer[Any]], total: int) -> Values:
    """Return the mean average precision of a random order (Bestgen, 2015).

    R relevant of N give (H + (R - 1) / (N - 1) (N - H)) / N with H = 1 + 1/2 + … + 1/N.
    """
    harmonic = float((1 / np.arange(1, total + 1)).sum())
    share = (relevant - 1) / max(total - 1, 1)
    return np.asarray((harmonic + share * (total - harmonic)) / total)


def _beside_chance(value: Values, chance: Values) -> dict[str, Any]:
    return {
        "value": float(value.mean()),
        "interval": mean_interval(value),
        "chance": float(chance.mean()),
        "above_chance": mean_interval(value - chance),
    }


def _unit(embeddings: npt.NDArray[np.float32]) -> Tensor:
    return torch.nn.functional.normalize(torch.from_numpy(embeddings), dim=1)
