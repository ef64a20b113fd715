"""Data sets are split by what they know of their faces, and written as parts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from fer_edge.errors import DataError
from fer_edge.training.data.parts import load_parts
from fer_edge.training.data.split import split_datasets


def quiet(text: str) -> None:
    pass


@pytest.fixture
def drivers(samples: Any, tmp_path: Path) -> Path:
    """Four subjects with three pictures of each of two classes, named as in KMU-FED."""
    seed = 0
    for subject in range(1, 5):
        for code in ("AN", "HA"):
            for frame in range(3):
                name = f"{subject:02d}_{code}_mr_{frame:03d}.png"
                samples.put(tmp_path / "kmu" / name, samples.noise_png(seed))
                seed += 1
    return tmp_path / "kmu"


def test_subjects_stay_together_where_they_are_known(drivers: Path, tmp_path: Path) -> None:
    written = split_datasets(drivers, tmp_path / "out", [0.5, 0.25, 0.25])
    subjects = [{face.subject for face in faces} for faces in written.values()]
    assert list(written) == ["train", "val", "test"]
    assert sum(map(len, subjects)) == len(set.union(*subjects)) == 4


def test_single_pictures_are_split_where_no_subject_is_known(samples: Any, tmp_path: Path) -> None:
    faces = samples.write_classes(tmp_path / "faces", per_class=4)
    written = split_datasets(faces, tmp_path / "out", [3, 1])
    assert {part: len(own) for part, own in written.items()} == {"train": 21, "val": 7}


def test_what_is_written_is_what_is_returned(drivers: Path, tmp_path: Path) -> None:
    written = split_datasets(drivers, tmp_path / "out.h5", [3, 1])
    parts, _ = load_parts(tmp_path / "out.h5", None, quiet)
    assert {p: len(f) for p, f in parts.items()} == {p: len(f) for p, f in written.items()}


def test_all_parts_may_be_split_together(samples: Any, tmp_path: Path) -> None:
    samples.write_classes(tmp_path / "faces" / "train", per_class=2)
    samples.write_classes(tmp_path / "faces" / "val", per_class=2, first=100)
    for part, count in (("val", 14), ("all", 28)):
        written = split_datasets(tmp_path / "faces", tmp_path / part, [1, 1], part=part)
        assert sum(map(len, written.values())) == count


def test_an_empty_part_is_an_error_and_writes_nothing(drivers: Path, tmp_path: Path) -> None:
    for file in drivers.glob("0[2-4]_*"):
        file.unlink()
    with pytest.raises(DataError, match=r"too few subjects: val would be empty.*--by picture"):
        split_datasets(drivers, tmp_path / "out", [0.9, 0.1])
    assert not (tmp_path / "out").exists()
    with pytest.raises(DataError, match=r"different pictures: val would be.*larger --shares$"):
        split_datasets(drivers, tmp_path / "out", [1, 1e-9], by="picture")
