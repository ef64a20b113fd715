"""Parts share no picture, no clip and no subject, and every class keeps its share."""

from __future__ import annotations

from collections import Counter, defaultdict

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fer_edge.errors import DataError
from fer_edge.labels import EMOTIONS
from fer_edge.training.data.faces import LabelledFace
from fer_edge.training.data.partition import groups_of, partition

LABELS = st.sampled_from(EMOTIONS)
SHARES = st.lists(st.floats(0.05, 1), min_size=2, max_size=3)
ROWS = st.lists(
    st.tuples(
        st.integers(0, 40),
        LABELS,
        st.none() | st.sampled_from("abcdefgh"),
        st.none() | st.sampled_from("uvwxyz"),
    ),
    min_size=2,
    max_size=120,
)
"""(which picture, its label, subject, clip): few of each, so that groups run into each other."""


def faces_of(
    rows: list[tuple[int, str, str | None, str | None]],
) -> tuple[list[LabelledFace], list[str]]:
    faces = [
        LabelledFace(b"", row[1], str(i), subject=row[2], clip=row[3]) for i, row in enumerate(rows)
    ]
    return faces, [str(row[0]) for row in rows]


@given(ROWS, SHARES, st.integers(0, 99), st.sampled_from(["subject", "clip"]))
def test_duplicates_subjects_and_clips_stand_on_one_side(
    rows: list[tuple[int, str, str | None, str | None]], shares: list[float], seed: int, by: str
) -> None:
    faces, hashes = faces_of([(-1, "fear", "a", "u"), *rows])
    groups = groups_of(faces, hashes, by)  # type: ignore[arg-type]
    sides = partition(groups, [f.label for f in faces], shares, seed)
    assert set(sides) <= set(range(len(shares)))
    seen: dict[object, set[int]] = defaultdict(set)
    for face, digest, side in zip(faces, hashes, sides, strict=True):
        seen[digest].add(side)
        if by == "clip" and face.clip:
            seen["clip", face.clip].add(side)
        if by == "subject" and face.subject:
            seen["subject", face.subject].add(side)
    assert all(len(own) == 1 for own in seen.values())
    assert sides == partition(groups, [f.label for f in faces], shares, seed)


@given(st.lists(LABELS, min_size=2, max_size=200), SHARES, st.integers(0, 99))
def test_single_pictures_keep_every_share_within_one(
    labels: list[str], shares: list[float], seed: int
) -> None:
    sides = partition(range(len(labels)), labels, shares, seed)
    for label, count in Counter(labels).items():
        for part, share in enumerate(shares):
            got = sum(s == part for s, own in zip(sides, labels, strict=True) if own == label)
            assert abs(got - count * share / sum(shares)) < 1


@given(
    st.lists(st.tuples(LABELS, st.integers(1, 6)), min_size=1, max_size=60),
    SHARES,
    st.integers(0, 99),
)
def test_groups_of_one_class_keep_it_within_their_size(
    sets: list[tuple[str, int]], shares: list[float], seed: int
) -> None:
    groups = [i for i, (_, size) in enumerate(sets) for _ in range(size)]
    labels = [sets[group][0] for group in groups]
    sides = partition(groups, labels, shares, seed)
    for label, count in Counter(labels).items():
        largest = max(size for own, size in sets if own == label)
        for part, share in enumerate(shares):
            got = sum(s == part for s, own in zip(sides, labels, strict=True) if own == label)
            assert abs(got - count * share / sum(shares)) < 1 + largest


def test_twelve_subjects_are_shared_out_whole() -> None:
    """As many faces, subjects and classes as KMU-FED has."""
    rows = [(i, EMOTIONS[i % 6], f"s{i // 92}", None) for i in range(12 * 92)]
    faces, hashes = faces_of(rows)
    sides = partition(
        groups_of(faces, hashes, "subject"), [f.label for f in faces], [0.8, 0.1, 0.1], 1
    )
    assert sorted(Counter(sides).values()) == [92, 92, 10 * 92]


def test_the_seed_decides() -> None:
    labels = ["fear"] * 100
    parts = {tuple(partition(range(100), labels, [0.5, 0.5], seed)) for seed in range(5)}
    assert len(parts) == 5


@pytest.mark.parametrize("shares", [[1.0], [1.0, 0.0], [0.5, -0.5]])
def test_shares_that_are_none_are_refused(shares: list[float]) -> None:
    with pytest.raises(DataError, match="shares"):
        partition([0, 1], ["fear", "fear"], shares, 0)


@pytest.mark.parametrize("by", ["subject", "clip"])
def test_nobody_to_keep_together_is_an_error(by: str) -> None:
    with pytest.raises(DataError, match="--by picture"):
        groups_of([LabelledFace(b"", "fear", "a")], ["x"], by)  # type: ignore[arg-type]
