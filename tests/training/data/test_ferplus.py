"""FER+ votes become labels and targets by its own rules."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow
import pyarrow.parquet
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fer_edge.errors import DataError
from fer_edge.labels import EMOTIONS, EMOTIONS_8, SOURCE_ORDERS
from fer_edge.training.data import ferplus
from fer_edge.training.data.faces import load_faces

VOTES = st.lists(st.integers(0, 10), min_size=10, max_size=10)


@pytest.mark.parametrize(
    ("votes", "name"),
    [
        ([8, 1, 0, 0, 0, 0, 0, 1, 0, 0], "neutral"),  # single votes do not count
        ([5, 5, 0, 0, 0, 0, 0, 0, 0, 0], None),  # half is not more than half
        ([0, 0, 0, 0, 0, 0, 0, 8, 0, 2], "contempt"),
        ([2, 0, 0, 0, 0, 0, 0, 0, 8, 0], None),
        ([1, 1, 1, 1, 1, 1, 1, 1, 1, 1], None),
    ],
)
def test_the_majority_is_ferplus_own(votes: list[int], name: str | None) -> None:
    assert ferplus.majority(votes) == name


@given(VOTES)
def test_shares_of_votes_are_a_distribution_and_agree_with_the_majority(votes: list[int]) -> None:
    shares = ferplus.distribution(votes, EMOTIONS_8)
    if shares is not None:
        assert sum(shares) == pytest.approx(1)
        assert min(shares) >= 0
    if (name := ferplus.majority(votes)) is not None:
        assert shares is not None
        assert EMOTIONS_8[int(np.argmax(shares))] == name == ferplus.most_voted(votes)


@pytest.mark.parametrize("seed", range(3))
def test_vote_columns_are_found_by_name_in_any_order(
    samples: Any, tmp_path: Path, seed: int
) -> None:
    spelt = {"not a face": "NF", "happiness": "happy"}
    columns = {f"ferplus_{spelt.get(n, n)}": i for i, n in enumerate(SOURCE_ORDERS["ferplus"])}
    order = random.Random(seed).sample(sorted(columns), len(columns))
    votes = {name: [columns[name]] for name in order}
    (found,) = load_faces(samples.write_parquet(tmp_path / "f.parquet", ["happy"], **votes))
    assert found.votes == tuple(range(10))


def test_a_missing_vote_column_is_named(samples: Any, tmp_path: Path) -> None:
    votes = {f"ferplus_{n}": [1] for n in SOURCE_ORDERS["ferplus"] if n != "disgust"}
    with pytest.raises(DataError, match="disgust"):
        load_faces(samples.write_parquet(tmp_path / "f.parquet", ["happy"], **votes))


def test_soft_labels_are_the_target_and_hard_ones_the_label(samples: Any, tmp_path: Path) -> None:
    votes = {f"ferplus_{name}": [0] for name in samples.FERPLUS}
    votes |= {"ferplus_fear": [6], "ferplus_surprise": [3], "ferplus_anger": [1]}
    table = {"image": [samples.struct("fear")], "label": ["sad"]} | votes
    pyarrow.parquet.write_table(pyarrow.table(table), tmp_path / "f.parquet")
    targets = {}
    for labels in ("own", "ferplus", "ferplus-soft"):
        (face,) = load_faces(f"{tmp_path / 'f.parquet'}@labels={labels}")
        targets[labels] = dict(zip(EMOTIONS, face.target(EMOTIONS), strict=True))
    assert targets["own"]["sadness"] == targets["ferplus"]["fear"] == 1
    assert targets["ferplus-soft"]["fear"] == pytest.approx(2 / 3)
    assert targets["ferplus-soft"]["surprise"] == pytest.approx(1 / 3)


def test_ferplus_labels_need_votes(samples: Any, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no FER\+ votes"):
        load_faces(f"{samples.parquet(tmp_path / 'set')}@labels=ferplus", "train")


def test_fer2013_has_more_neutral_faces_by_its_voters(shared: Path) -> None:
    said: list[str] = []
    path = f"{shared / 'data' / 'fer2013'}@labels=ferplus,drop=contempt"
    faces = load_faces(path, "val", EMOTIONS, said.append)
    assert {f.label for f in faces} == set(EMOTIONS)
    assert 3000 < len(faces) < 3579
    assert "without an agreed expression" in said[0]


def test_votes_with_a_point_are_whole_numbers() -> None:
    assert ferplus.votes_from(["9.0", " 1 ", "0."]) == (9, 1, 0)
    with pytest.raises(ValueError, match=r"expected a whole number, got '9\.5'"):
        ferplus.votes_from(["9.5"])
