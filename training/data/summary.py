"""Summary of data sets: counts, sizes, duplicates and broken pictures."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import Any

import numpy as np

from fer_edge.errors import DataError
from fer_edge.labels import EMOTIONS
from fer_edge.preprocess import Image
from fer_edge.progress import Say, Step, say_nothing, silent
from fer_edge.training.data.dataset_spec import DatasetSpecs
from fer_edge.training.data.faces import LabelledFace, hashed
from fer_edge.training.data.near_duplicates import near_duplicates as find_near_duplicates
from fer_edge.training.data.parts import Parts, load_parts, per_class
from fer_edge.training.data.picture_files import utf8_name


def summarise(
    sources: DatasetSpecs,
    labels: Sequence[str] | None = None,
    *,
    near_duplicates: bool = False,
    say: Say = say_nothing,
    step: Step = silent,
) -> dict[str, Any]:
    """Count a data set's faces, and find its duplicates and broken pictures.

    Args:
        sources: Data sets, counted together.
        labels: The model's labels, if user-defined.
        near_duplicates: Search for near duplicates across parts.
        say: Reports faces that are left out.
        step: Reports progress.

    Returns:
        Plain values, ready for JSON:

        - ``sources``: faces by part of each data set.
        - ``labels``: all labels.
        - ``parts``: by part, ``faces``, ``per_class``, ``sizes_px`` (``[width, height]``, see
          ``table``), ``duplicates`` (pictures beyond the first of each), ``broken``, ``subjects``
          and ``clips``.
        - ``duplicates_across``: by pair of parts, pictures of the second that are in the first.
        - ``near_duplicates_across``: if asked for, by pair of parts, the near duplicates in the
          second of pictures in the first: ``name``, ``of`` and ``correlation`` of each.
        - ``subjects_across``: by pair of parts, the subjects in both.
        - ``contradictory``: pictures with two labels.
        - ``without_faces``: the model's labels that no face has.

    Raises:
        DataError: A data set is missing, empty or unreadable.
        LabelError: A label is unknown.
    """
    parts, counts = load_parts(sources, labels, say, step)
    rows: dict[str, Any] = {}
    pictures: dict[str, Counter[str]] = {}
    labels_of: dict[str, set[str]] = {}
    readable: dict[str, list[LabelledFace]] = {}
    for part, faces in parts.items():
        rows[part], hashes = _part_summary(faces, step)
        readable[part] = [f for f, digest in zip(faces, hashes, strict=True) if digest is not None]
        pictures[part] = Counter(digest for digest in hashes if digest is not None)
        for face, digest in zip(faces, hashes, strict=True):
            if digest is not None:
                labels_of.setdefault(digest, set()).add(face.label)
    return {
        "sources": counts,
        "labels": sorted({face.label for faces in parts.values() for face in faces}),
        "parts": rows,
        "duplicates_across": _duplicates_across(pictures),
        **({"near_duplicates_across": _near_across(readable, step)} if near_duplicates else {}),
        "subjects_across": _subjects_across(parts),
        "contradictory": sum(len(names) > 1 for names in labels_of.values()),
        "without_faces": _without_faces(parts, labels),
    }


def _part_summary(
    faces: Sequence[LabelledFace], step: Step
) -> tuple[dict[str, Any], list[str | None]]:
    """Return the summary of one part, and the hash of each face, None if broken."""
    sizes: list[tuple[int, int]] = []

    def note_size(image: Image) -> None:
        sizes.append((image.shape[1], image.shape[0]))

    hashes, broken = hashed(faces, step, note_size)
    readable = [digest for digest in hashes if digest is not None]
    summary = {
        "faces": len(faces),
        "per_class": per_class(faces),
        "sizes_px": _sizes(sizes),
        "duplicates": len(readable) - len(set(readable)),
        "broken": [{"name": picture.name, "why": picture.why} for picture in broken],
        "subjects": len(_subjects(faces)),
        "clips": len({face.clip for face in faces if face.clip}),
    }
    return summary, hashes


def _without_faces(parts: Parts, labels: Sequence[str] | None) -> list[str]:
    """Return the labels without a face, of the model or of the seven emotions."""
    present = {face.label for faces in parts.values() for face in faces}
    if labels is None:
        labels = EMOTIONS if present <= set(EMOTIONS) else ()
    return [label for label in labels if label not in present]


def _duplicates_across(pictures: Mapping[str, Counter[str]]) -> dict[str, int]:
    return {
        f"{one}/{other}": sum(
            count for digest, count in pictures[other].items() if digest in pictures[one]
        )
        for one, other in combinations(pictures, 2)
    }


def _near_across(
    readable: Mapping[str, Sequence[LabelledFace]], step: Step
) -> dict[str, list[dict[str, Any]]]:
    found = {}
    for one, other in combinations(readable, 2):
        matches = find_near_duplicates(readable[other], readable[one], step, within=False)
        found[f"{one}/{other}"] = [
            {
                "name": face.name,
                "of": readable[one][match.of].name,
                "correlation": match.correlation,
            }
            for face, match in zip(readable[other], matches, strict=True)
            if match is not None
        ]
    return found


def _subjects_across(parts: Parts) -> dict[str, list[str]]:
    return {
        f"{one}/{other}": sorted(_subjects(parts[one]) & _subjects(parts[other]))
        for one, other in combinations(parts, 2)
    }


def _subjects(faces: Sequence[LabelledFace]) -> set[str]:
    return {face.subject for face in faces if face.subject}


def check_unbroken(report: dict[str, Any]) -> None:
    """Raise DataError if a summary lists broken pictures."""
    count = sum(len(part["broken"]) for part in report["parts"].values())
    if count:
        raise DataError(
            f"{count} pictures are broken. Repair or remove them, or skip them with --broken skip"
        )


def table(report: dict[str, Any]) -> list[str]:
    """Return a summary as lines of text."""
    parts = report["parts"]
    lines = [f"{'':14s}" + "".join(f"{part:>10s}" for part in (*parts, "all"))]

    def row(name: str, cells: list[int]) -> str:
        return f"{name:14s}" + "".join(f"{cell:10,}" for cell in (*cells, sum(cells)))

    for label in report["labels"]:
        lines.append(
            row(label or "unlabelled", [p["per_class"].get(label, 0) for p in parts.values()])
        )
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
    for pair, count in report["duplicates_across"].items():
        lines.append(f"duplicates across {pair}: {count:,}")
    for pair, copies in report.get("near_duplicates_across", {}).items():
        lines.append(f"near duplicates across {pair}: {len(copies):,}")
    for pair, subjects in report["subjects_across"].items():
        if subjects:
            lines.append(f"subjects across {pair}: {', '.join(subjects)}")
    lines.append(f"pictures with two labels: {report['contradictory']:,}")
    if report["without_faces"]:
        lines.append(f"warning: no face of {', '.join(report['without_faces'])}")
    if len(report["labels"]) == 1 and report["labels"][0]:
        lines.append(f"warning: all faces are {report['labels'][0]}")
    for part, p in parts.items():
        lines += [f"broken, {part}: {b['name']}: {b['why']}" for b in p["broken"]]
    return [utf8_name(line) for line in lines]


_SIZES = ("least", "median", "most")


def _sizes(sizes: list[tuple[int, int]]) -> dict[str, list[int]]:
    """Return ``[width, height]`` of the least, median and largest area; {} without pictures."""
    if not sizes:
        return {}
    ordered = np.array(sorted(sizes, key=lambda size: (size[0] * size[1], size)))
    at = {"least": 0, "median": len(ordered) // 2, "most": len(ordered) - 1}
    return {key: [int(side) for side in ordered[at[key]]] for key in _SIZES}
