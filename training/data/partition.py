"""Stratified partition of faces without shared pictures, clips or subjects."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Iterator, Sequence
from typing import Literal

import numpy as np

from fer_edge.errors import DataError
from fer_edge.training.data.faces import LabelledFace, seeded

By = Literal["subject", "clip", "picture"]
"""Faces that stay together, besides duplicates."""


def groups_of(faces: Sequence[LabelledFace], hashes: Sequence[str], by: By) -> list[int]:
    """Group faces that must stay in one part.

    Duplicates always share a group.

    Args:
        faces: Faces to group.
        hashes: Pixel hash of each face.
        by: ``subject`` also groups faces of one subject, or of one clip if the subject is unknown;
            ``clip`` also groups faces of one clip; ``picture`` groups duplicates only.

    Returns:
        A group number for each face.

    Raises:
        DataError: No face has a subject or clip to group by.
    """
    if by != "picture" and not any(
        face.clip or (by == "subject" and face.subject) for face in faces
    ):
        raise DataError(f"no picture of these sources has a {by}. Use --by picture")
    parent = list(range(len(faces)))

    def root(i: int) -> int:
        while parent[i] != i:
            parent[i] = parent[parent[i]]
            i = parent[i]
        return i

    first: dict[Hashable, int] = {}
    for i, (face, digest) in enumerate(zip(faces, hashes, strict=True)):
        for key in _group_keys(face, digest, by):
            one, other = root(first.setdefault(key, i)), root(i)
            parent[max(one, other)] = min(one, other)
    return [root(i) for i in range(len(faces))]


def _group_keys(face: LabelledFace, digest: str, by: By) -> Iterator[Hashable]:
    """Yield the keys that faces of one group share."""
    yield "picture", digest
    if by == "subject" and face.subject:
        yield "subject", face.subject
    elif by != "picture" and face.clip:
        yield "clip", face.clip


def partition(
    groups: Sequence[int], labels: Sequence[str], shares: Sequence[float], seed: int
) -> list[int]:
    """Assign each face to a part, stratified by label.

    Groups are never split.

    If all groups are single pictures, each class is within one picture of its share in every part.
    Otherwise the largest groups are placed first, each in the part that lacks its classes most.

    Args:
        groups: Group number of each face.
        labels: Label of each face.
        shares: Share of each part; normalised to 1.
        seed: Seed of the shuffle.

    Returns:
        The part of each face, 0 to ``len(shares) - 1``.

    Raises:
        DataError: Fewer than two shares, or one that is not positive.
        InputError: The seed is negative.
    """
    if len(shares) < 2 or not all(share > 0 for share in shares):
        raise DataError(f"expected at least two positive shares, got {list(shares)}")
    total = Counter(labels)
    names = sorted(total)
    column = {name: i for i, name in enumerate(names)}
    size = np.array([total[name] for name in names], float)
    need = np.stack([_rounded(total[name], shares) for name in names], axis=1).astype(float)
    sides = [0] * len(labels)
    for members in sorted(_shuffled(groups, seed), key=len, reverse=True):
        counts = np.zeros(len(names))
        for i in members:
            counts[column[labels[i]]] += 1
        side = int(np.argmax(need @ (counts / size)))
        need[side] -= counts
        for i in members:
            sides[i] = side
    return sides


def smallest_group(groups: Sequence[int], labels: Sequence[str], seed: int) -> list[int]:
    """Choose the smallest group without which every label still has faces.

    If every group is the only one of a label, the smallest of all is chosen.

    Args:
        groups: Group number of each face.
        labels: Label of each face.
        seed: Seed of the choice among groups of one size.

    Returns:
        Indices of the group's faces, ascending.
    """
    total = Counter(labels)

    def cost(members: list[int]) -> tuple[bool, int]:
        own = Counter(labels[i] for i in members)
        return any(own[label] == total[label] for label in own), len(members)

    return min(_shuffled(groups, seed), key=cost)


def _shuffled(groups: Sequence[int], seed: int) -> list[list[int]]:
    """Return the indices of each group's faces, the groups in a seeded order."""
    members: dict[int, list[int]] = {}
    for i, group in enumerate(groups):
        members.setdefault(group, []).append(i)
    ordered = list(members.values())
    return [ordered[i] for i in seeded(seed).permutation(len(ordered))]


def _rounded(count: int, shares: Sequence[float]) -> list[int]:
    """Divide ``count`` by largest remainder; each part is within 1 of its exact share."""
    exact = count * np.array(shares) / sum(shares)
    rounded = np.floor(exact).astype(int)
    for i in np.argsort(rounded - exact, kind="stable")[: count - int(rounded.sum())]:
        rounded[i] += 1
    return [int(n) for n in rounded]
