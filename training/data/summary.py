"""What is in a data set, counted before anything is trained on it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from itertools import combinations
from typing import Any

import numpy as np

from fer_edge.errors import MissingPartError
from fer_edge.preprocess import Image
from fer_edge.progress import Say, Step, silent
from fer_edge.training.data.dataset_spec import SPLITS, DatasetSpec, DatasetSpecs, as_dataset_specs
from fer_edge.training.data.faces import LabelledFace, hashed, load_faces


def load_parts(
    sources: Sequence[DatasetSpec],
    labels: Sequence[str] | None,
    say: Say,
    step: Step = silent,
) -> tuple[dict[str, list[LabelledFace]], list[dict[str, Any]]]:
    """Faces by part over all sources (an undivided one is train), and the counts of each.

    Broken pictures are among them. Raises MissingPartError, DataError, LabelError.
    """
    parts: dict[str, list[LabelledFace]] = {}
    counts = []
    for source in sources:
        own: dict[str, int] = {}
        missing: MissingPartError | None = None
        for part in SPLITS:
            try:
                faces = load_faces(replace(source, broken="fail"), part, labels, say, step)
            except MissingPartError as error:
                missing = error
                continue
            parts.setdefault(part, []).extend(faces)
            own[part] = len(faces)
        if not own:
            assert missing is not None
            raise missing
        counts.append({"source": source.path, "parts": own})
    return {part: parts[part] for part in SPLITS if part in parts}, counts


def summary(
    given: DatasetSpecs,
    labels: Sequence[str] | None = None,
    *,
    say: Say = lambda text: None,
    step: Step = silent,
) -> dict[str, Any]:
    """Counts by class and part, sizes, duplicates, broken pictures, and twins across parts.

    Gives ``sources``, ``labels``, ``parts`` (by part: ``faces``, ``per_class``, ``sizes_px`` as
    [width, height], ``duplicates``: pictures beyond the first of each, ``broken``, ``subjects``,
    ``clips``), ``twins_across``: how many pictures of the second part have a twin in the first,
    ``subjects_across``, and ``contradictory``: pictures that carry two labels somewhere.
    labels: as for load_faces.
    """
    parts, counts = load_parts(as_dataset_specs(given), labels, say, step)
    rows: dict[str, Any] = {}
    pictures: dict[str, Counter[str]] = {}
    labels_of: dict[str, set[str]] = {}
    for part, faces in parts.items():
        sizes: list[tuple[int, int]] = []

        def look(image: Image, sizes: list[tuple[int, int]] = sizes) -> None:
            sizes.append((image.shape[1], image.shape[0]))

        hashes, broken = hashed(faces, step, look)
        readable = [digest for digest in hashes if digest is not None]
        pictures[part] = Counter(readable)
        for face, digest in zip(faces, hashes, strict=True):
            if digest is not None:
                labels_of.setdefault(digest, set()).add(face.label)
        rows[part] = {
            "faces": len(faces),
            "per_class": dict(sorted(Counter(face.label for face in faces).items())),
            "sizes_px": _sizes(sizes),
            "duplicates": len(readable) - len(pictures[part]),
            "broken": [{"name": b.name, "why": b.why} for b in broken],
            "subjects": len({face.subject for face in faces if face.subject}),
            "clips": len({face.clip for face in faces if face.clip}),
        }
    across = list(combinations(parts, 2))
    return {
        "sources": counts,
        "labels": sorted({face.label for faces in parts.values() for face in faces}),
        "parts": rows,
        "twins_across": {
            f"{one}/{other}": sum(
                count for digest, count in pictures[other].items() if digest in pictures[one]
            )
            for one, other in across
        },
        "subjects_across": {
            f"{one}/{other}": sorted(_subjects(parts[one]) & _subjects(parts[other]))
            for one, other in across
        },
        "contradictory": sum(len(names) > 1 for names in labels_of.values()),
    }


def table(found: dict[str, Any]) -> list[str]:
    """The summary as lines for people."""
    parts = found["parts"]
    lines = [f"{'':14s}" + "".join(f"{part:>10s}" for part in (*parts, "all"))]

    def row(name: str, cells: list[int]) -> str:
        return f"{name:14s}" + "".join(f"{cell:10,}" for cell in (*cells, sum(cells)))

    for label in found["labels"]:
        lines.append(row(label, [p["per_class"].get(label, 0) for p in parts.values()]))
    lines.append(row("faces", [p["faces"] for p in parts.values()]))
    for key in ("duplicates", "subjects", "clips"):
        if any(p[key] for p in parts.values()):
            cells = "".join(f"{p[key]:10,}" for p in parts.values())
            lines.append(f"{key:14s}{cells}")
    lines.append(row("broken", [len(p["broken"]) for p in parts.values()]))
    for part, p in parts.items():
        if p["sizes_px"]:
            least, median, most = ("x".join(map(str, p["sizes_px"][k])) for k in _SIZES)
            lines.append(f"sizes, {part}: {least} to {most} px, median {median}")
    for pair, count in found["twins_across"].items():
        lines.append(f"twins across {pair}: {count:,}")
    for pair, subjects in found["subjects_across"].items():
        if subjects:
            lines.append(f"subjects across {pair}: {', '.join(subjects)}")
    lines.append(f"pictures with two labels: {found['contradictory']:,}")
    for part, p in parts.items():
        lines += [f"broken, {part}: {b['name']}: {b['why']}" for b in p["broken"]]
    return lines


_SIZES = ("least", "median", "most")


def _sizes(sizes: list[tuple[int, int]]) -> dict[str, list[int]]:
    """By area; empty without a readable picture."""
    if not sizes:
        return {}
    ordered = np.array(sorted(sizes, key=lambda size: (size[0] * size[1], size)))
    at = {"least": 0, "median": len(ordered) // 2, "most": len(ordered) - 1}
    return {key: [int(side) for side in ordered[at[key]]] for key in _SIZES}


def _subjects(faces: Sequence[LabelledFace]) -> set[str]:
    return {face.subject for face in faces if face.subject}
