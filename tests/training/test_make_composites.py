"""Composite faces show a class and nobody in particular."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from fer_edge.shipped import DEFAULT_CHECKPOINT, FACES
from fer_edge.training.data.faces import load_faces
from fer_edge.training.make_composites import (
    AVERAGED,
    are_duplicates,
    make,
    normalised,
    of_one_pose,
)


@pytest.fixture(scope="module")
def pool() -> np.ndarray:
    return normalised(load_faces(FACES, "val")[:: 336 // 84])


def test_a_face_is_its_own_duplicate_moved_mirrored_or_brightened(pool: np.ndarray) -> None:
    face, other = pool[0], pool[-1]
    assert are_duplicates(face, np.roll(face, (4, -3), (0, 1)))
    assert are_duplicates(face, np.ascontiguousarray(face[:, ::-1]))
    assert are_duplicates(face, 2 * face + 7)
    assert not are_duplicates(face, other)


def test_no_duplicates_are_averaged(pool: np.ndarray) -> None:
    mirrored = np.concatenate([pool, pool[:, :, ::-1]])
    picked = sorted(of_one_pose(mirrored, 3))
    assert 3 in picked
    assert len(picked) <= AVERAGED
    pairs = [(a, b) for a in picked for b in picked if a < b]
    faces = [(mirrored[a], mirrored[b]) for a, b in pairs]
    assert not any(are_duplicates(a, b) and are_duplicates(b, a) for a, b in faces)


def test_the_same_files_come_out_each_time(shared: Path, tmp_path: Path) -> None:
    import pyarrow.parquet

    table = pyarrow.parquet.read_table(shared / "data" / "fer2013" / "fer2013-train.parquet")
    (tmp_path / "data").mkdir()
    pyarrow.parquet.write_table(table.slice(0, 600), tmp_path / "data" / "few-train.parquet")
    for name in ("one", "two"):
        make(tmp_path / "data", DEFAULT_CHECKPOINT, tmp_path / name)
    for path in (tmp_path / "one").iterdir():
        assert path.read_bytes() == (tmp_path / "two" / path.name).read_bytes()
    assert {"happiness", "neutral"} <= {f.label for f in load_faces(tmp_path / "one", "val")}
