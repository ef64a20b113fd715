"""Embeddings of faces as a file, and whether faces of one expression lie near each other."""

from __future__ import annotations

import io
import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from fer_edge.errors import InputError
from fer_edge.progress import Step, silent
from fer_edge.training.data.faces import LabelledFace, load_faces
from fer_edge.training.evaluation.bootstrap import METHOD, mean_interval
from fer_edge.training.evaluation.evaluate import Exam
from fer_edge.training.evaluation.runner import opened
from fer_edge.training.models import torchvision_compat  # noqa: F401  (before torchmetrics)

from torchmetrics.functional import retrieval as tm  # isort: skip

NEIGHBOURS = 10
_SUFFIXES = {".png", ".jpg", ".jpeg", ".bmp", ".webp"}


@dataclass(frozen=True)
class Embeddings:
    """One row for each face. labels: canonical names, or None where the faces have none.

    embeddings: float32 ``[N, D]``; answers and confidences: what the model says of each.
    """

    names: list[str]
    labels: list[str] | None
    answers: list[str]
    confidences: npt.NDArray[np.float32]
    embeddings: npt.NDArray[np.float32]
    model: dict[str, Any]

    def npz(self) -> bytes:
        """Arrays ``names, labels, answers, confidences, embeddings, model`` (JSON); for
        ``numpy.load`` as it is, without pickles."""
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
        """Columns ``name, label, answer, confidence, embedding``; the model is in the metadata."""
        import pyarrow
        import pyarrow.parquet

        width = self.embeddings.shape[1]
        flat = pyarrow.array(self.embeddings.ravel(), pyarrow.float32())
        table = pyarrow.table(
            {
                "name": self.names,
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
    pictures: Sequence[str | Path] = (),
    data: str | Path | None = None,
    split: str | None = "val",
    *,
    target: str | None = None,
    precision: str | None = None,
    step: Step = silent,
) -> Embeddings:
    """Embed face crops: picture files and folders of them, or the labelled faces of a data set.

    model: a checkpoint folder or a ``.fer`` bundle. Raises InputError (nothing to embed),
    DataError (a picture that cannot be read), and what opening the model raises.
    """
    if bool(pictures) == (data is not None):
        raise InputError("expected either pictures or --data with labelled faces")
    with opened(model, target, precision) as who:
        faces = _found(pictures) if data is None else load_faces(data, split)
        probabilities, embeddings = who.answer(faces, "embedding", step)
    return Embeddings(
        names=[face.name for face in faces],
        labels=None if data is None else [face.label for face in faces],
        answers=[who.labels[i] for i in probabilities.argmax(1)],
        confidences=probabilities.max(1),
        embeddings=embeddings,
        model={**who.facts, "labels": list(who.labels)},
    )


def _found(pictures: Sequence[str | Path]) -> list[LabelledFace]:
    faces = []
    for path in map(Path, pictures):
        if path.is_dir():
            inside = sorted(p for p in path.rglob("*") if p.suffix.lower() in _SUFFIXES)
            if not inside:
                raise InputError(f"expected pictures ({', '.join(sorted(_SUFFIXES))}) in {path}")
            faces += [LabelledFace(p, "", str(p)) for p in inside]
        else:
            faces.append(LabelledFace(path, "", str(path)))
    return faces


def check(
    model: str | Path,
    data: str | Path,
    split: str = "val",
    *,
    target: str | None = None,
    precision: str | None = None,
    step: Step = silent,
) -> dict[str, Any]:
    """Whether a face lies nearer to faces of its own expression than to others.

    Each distinct face of ``split`` looks, by cosine, for its like among the faces of ``train``;
    pictures that have a twin there are left out. Gives, each with its interval and beside chance:
    ``knn_accuracy`` (NEIGHBOURS vote, weighted by cosine), ``precision_at_10`` and ``map``
    (retrieval), and ``nearer``: how often a face of the same expression is nearer than one of
    another. ``holds`` says whether all are above chance with confidence.
    Raises DataError, LabelError, and what opening the model raises.
    """
    exam = Exam(Path(data), split, step)
    with opened(model, target, precision) as who:
        faces = exam.read(who.labels)
        queries = [faces[i] for i in exam.distinct]
        gallery = load_faces(data, "train", who.labels)
        probabilities, asked = who.answer(queries, "embedding", step)
        _, known = who.answer(gallery, "embedding the gallery", step)
    index = {name: i for i, name in enumerate(who.labels)}
    own = torch.tensor([index[face.label] for face in queries])
    theirs = torch.tensor([index[face.label] for face in gallery])
    found = torch.isin(own, theirs)
    values = _search(_unit(asked)[found], own[found], _unit(known), theirs, step)
    figures = {name: _beside_chance(value, chance) for name, (value, chance) in values.items()}
    answers = torch.from_numpy(probabilities.argmax(1))
    return {
        **who.facts,
        "data": Path(data).name,
        "split": split,
        "queries": int(found.sum()),
        "without_their_like": int((~found).sum()),
        "gallery": len(gallery),
        "neighbours": NEIGHBOURS,
        "figures": figures,
        "per_class": {
            name: {
                "queries": int((own[found] == i).sum()),
                **{k: float(v[own[found].numpy() == i].mean()) for k, (v, _) in values.items()},
            }
            for name, i in index.items()
            if (own[found] == i).any()
        },
        "classifier_accuracy": float((answers[found] == own[found]).double().mean()),
        "holds": all(row["above_chance"][0] > 0 for row in figures.values()),
        "method": METHOD,
    }


Values = npt.NDArray[np.float64]


def _search(
    asked: Tensor, own: Tensor, known: Tensor, theirs: Tensor, step: Step
) -> dict[str, tuple[Values, Values]]:
    """By figure: its value for each query, and what a random order would give that query."""
    rows: dict[str, list[float]] = {"knn": [], "p10": [], "ap": [], "auc": []}
    for i, (query, label) in enumerate(zip(asked, own, strict=True)):
        cosine = known @ query
        like = theirs == label
        near, which = cosine.topk(min(NEIGHBOURS, len(cosine)))
        votes = torch.zeros(int(theirs.max()) + 1).index_add_(0, theirs[which], near)
        rows["knn"].append(float(votes.argmax() == label))
        rows["p10"].append(float(tm.retrieval_precision(cosine, like, top_k=NEIGHBOURS)))
        rows["ap"].append(float(tm.retrieval_average_precision(cosine, like)))
        rows["auc"].append(float(tm.retrieval_auroc(cosine, like)) if not like.all() else 1.0)
        if i % 50 == 0:
            step("searching", i, len(asked))
    counts = Counter(theirs.tolist())
    relevant = np.array([counts[int(label)] for label in own])
    most = max(counts, key=lambda label: counts[label])
    return {
        "knn_accuracy": (np.array(rows["knn"]), (own.numpy() == most).astype(float)),
        f"precision_at_{NEIGHBOURS}": (np.array(rows["p10"]), relevant / len(theirs)),
        "map": (np.array(rows["ap"]), expected_average_precision(relevant, len(theirs))),
        "nearer": (np.array(rows["auc"]), np.full(len(own), 0.5)),
    }


def expected_average_precision(relevant: npt.NDArray[np.integer[Any]], total: int) -> Values:
    """The mean average precision of a random order: R relevant of N give
    (H + (R - 1) / (N - 1) (N - H)) / N with H = 1 + 1/2 + … + 1/N (Bestgen, 2015)."""
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
