"""Split of data sets into train, val and test."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from fer_edge.errors import DataError, MissingPartError
from fer_edge.progress import Say, Step, say_nothing, silent
from fer_edge.training.data.dataset_spec import SPLITS, Broken, DatasetSpecs
from fer_edge.training.data.faces import LabelledFace, readable_faces
from fer_edge.training.data.pack import OutputFormat, write_parts
from fer_edge.training.data.partition import By, groups_of, partition
from fer_edge.training.data.parts import load_parts

SplitBy = By | Literal["auto"]

_COUNTED = {"picture": "different pictures", "subject": "subjects", "clip": "clips"}
"""Words for the units that each part needs one of, for messages."""


def split_datasets(
    sources: DatasetSpecs,
    out: Path,
    shares: Sequence[float],
    *,
    by: SplitBy = "auto",
    part: str = "train",
    form: OutputFormat | None = None,
    labels: Sequence[str] | None = None,
    broken: Broken = "fail",
    seed: int = 2026,
    say: Say = say_nothing,
    step: Step = silent,
) -> dict[str, list[LabelledFace]]:
    """Split data sets, stratified by label, and write the parts.

    Args:
        sources: Data sets to merge and split.
        out: File or folder to write, see ``write_parts``.
        shares: Shares of train and val, or of train, val and test; normalised to 1.
        by: Faces to keep in one part besides duplicates; ``auto`` takes subjects (or clips) where
            the data sets name any, else single pictures.
        part: Part of the data sets to split, or ``all``.
        form: Format to write; None chooses it by the suffix of ``out``.
        labels: The model's labels, if user-defined.
        broken: Fail on unreadable pictures, or skip and report them.
        seed: Seed of the shuffle.
        say: Reports pictures that are left out.
        step: Reports progress.

    Returns:
        The faces of each part as written.

    Raises:
        DataError: A data set cannot be read, or ``out`` exists.
        MissingPartError: A part would be empty.
        LabelError: A label is unknown.
        InputError: The seed is negative.
    """
    parts, _ = load_parts(sources, labels, say, step)
    chosen = list(parts.values()) if part == "all" else [parts.get(part, [])]
    faces, hashes = readable_faces([f for faces in chosen for f in faces], broken, say, step)
    if not faces:
        raise DataError(f"no faces in part {part!r}; the sources have {', '.join(parts)}")
    by = _resolved(by, faces)
    sides = partition(groups_of(faces, hashes, by), [f.label for f in faces], shares, seed)
    names = SPLITS[: len(shares)]
    written: dict[str, list[LabelledFace]] = {name: [] for name in names}
    for face, side in zip(faces, sides, strict=True):
        written[names[side]].append(face)
    if empty := [name for name, own in written.items() if not own]:
        single = " or use --by picture" if by != "picture" else ""
        raise MissingPartError(
            f"too few {_COUNTED[by]}: {', '.join(empty)} would be empty. Add pictures, choose "
            f"larger --shares{single}"
        )
    write_parts(out, written, form, step)
    return written


def _resolved(by: SplitBy, faces: Sequence[LabelledFace]) -> By:
    if by != "auto":
        return by
    return "subject" if any(face.subject or face.clip for face in faces) else "picture"
