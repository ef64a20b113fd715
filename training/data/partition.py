"""Parts of a data set that share no picture, no clip and no subject."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Iterator, Sequence
from typing import Literal

import numpy as np

from fer_edge.errors import DataError
from fer_edge.training.data.faces import LabelledFace

By = Literal["subject", "clip", "picture"]


def groups_of(faces: Sequence[LabelledFace], hashes: Sequence[str], by: By) -> list[int]:
    """A number for each face; faces that must not be parted have the same.

    Twins never are. ``subject`` keeps a person together too, or the clip where no person is
    named; ``clip`` a clip. Raises DataError if no face says its subject or clip.
    """
    if by != "picture" and not any(
        face.clip or (by == "subject" and face.subject) for face in faces
    ):
        raise DataError(f"no picture of these sources says its {by}. Use --by picture")
    parent = list(range(len(faces)))

    def root(i: int) -> int:
        while parent[i] != i:
            parent[i] = parent[parent[i]]
            i = parent[i]
        return i

    first: dict[Hashable, int] = {}
    for i, (face, digest) in enumerate(zip(faces, hashes, strict=True)):
        for key in _bonds(face, digest, by):
            one, other = root(first.setdefault(key, i)), root(i)
            parent[max(one, other)] = min(one, other)
    return [root(i) for i in range(len(faces))]


def _bonds(face: LabelledFace, digest: str, by: By) -> Iterator[Hashable]:
    yield "picture", digest
    if by == "subject" and face.subject:
        yield "subject", face.subject
    elif by != "picture" and face.clip:
        yield "clip", face.clip


def partition(
    groups: Sequence[int], labels: Sequence[str], shares: Sequence[float], seed: int
) -> list[int]:
    """The part, 0 to len(shares) - 1, of each face: stratified by label, groups kept whole.

    Each class comes within one picture of its share in every part where all groups are single
    pictures, and otherwise as near as the groups allow: the largest are placed first, each where
    its classes are missed most. Seeded. Raises DataError for shares that are not positive.
    """
    if len(shares) < 2 or not all(share > 0 for share in shares):
        raise DataError(f"expected at least two positive shares, got {list(shares)}")
    total = Counter(labels)
    names = sorted(total)
    column = {name: i for i, name in enumerate(names)}
    size = np.array([total[name] for name in names], float)
    need = np.stack([_rounded(total[name], shares) for name in names], axis=1).astype(float)
    members: dict[int, list[int]] = {}
    for i, group in enumerate(groups):
        members.setdefault(group, []).append(i)
    shuffled = [list(members)[i] for i in np.random.default_rng(seed).permutation(len(members))]
    sides = [0] * len(labels)
    for group in sorted(shuffled, key=lambda g: -len(members[g])):
        held = np.zeros(len(names))
        for i in members[group]:
            held[column[labels[i]]] += 1
        side = int(np.argmax(need @ (held / size)))
        need[side] -= held
        for i in members[group]:
            sides[i] = side
    return sides


def _rounded(count: int, shares: Sequence[float]) -> list[int]:
    """``count`` in whole numbers by largest remainder; each within one of its exact share."""
    exact = count * np.array(shares) / sum(shares)
    whole = np.floor(exact).astype(int)
    for i in np.argsort(whole - exact, kind="stable")[: count - int(whole.sum())]:
        whole[i] += 1
    return [int(n) for n in whole]
