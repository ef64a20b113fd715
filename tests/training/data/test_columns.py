"""Columns beside the label: read where asked for, with or without labels."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pyarrow
import pyarrow.parquet
import pytest

from fer_edge.errors import DataError
from fer_edge.labels import EMOTIONS
from fer_edge.shipped import FACES
from fer_edge.training.data.dataset_spec import DatasetSpec
from fer_edge.training.data.faces import load_faces
from fer_edge.training.data.folds import Fold, fold_of


def rows(count: int) -> list[dict[str, Any]]:
    content: list[dict[str, Any]] = pyarrow.parquet.read_table(
        FACES / "faces-val.parquet"
    ).to_pylist()[:count]
    return [{**row, "Gender": "female" if i % 2 else "male"} for i, row in enumerate(content)]


def as_parquet(folder: Path, content: list[dict[str, Any]]) -> Path:
    path = folder / "people.parquet"
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(content), path)
    return path


def as_list(folder: Path, content: list[dict[str, Any]]) -> Path:
    names = [key for key in content[0] if key not in ("image", "name")]
    lines = [",".join(["path", *names])]
    for i, row in enumerate(content):
        (folder / f"{i}.png").write_bytes(row["image"]["bytes"])
        lines.append(",".join([f"{i}.png", *(row[name] for name in names)]))
    path = folder / "people.csv"
    path.write_text("\n".join(lines), "utf-8")
    return path


def as_hdf5(folder: Path, content: list[dict[str, Any]]) -> Path:
    path = folder / "people.h5"
    with h5py.File(path, "w") as file:
        kind = h5py.vlen_dtype(np.uint8)
        images = file.create_dataset("image", (len(content),), dtype=kind)
        for i, row in enumerate(content):
            images[i] = np.frombuffer(row["image"]["bytes"], np.uint8)
        for name in [key for key in content[0] if key not in ("image", "name")]:
            file[name] = [row[name].encode() for row in content]
    return path


def as_saved(folder: Path, content: list[dict[str, Any]]) -> Path:
    datasets = pytest.importorskip("datasets")
    path = folder / "people"
    datasets.Dataset.from_list(content).save_to_disk(str(path))
    return path


FORMS = [as_parquet, as_list, as_hdf5, as_saved]
Form = Callable[[Path, list[dict[str, Any]]], Path]


@pytest.mark.parametrize("form", FORMS)
def test_a_column_comes_with_each_face(form: Form, tmp_path: Path) -> None:
    spec = DatasetSpec(str(form(tmp_path, rows(6))), columns=("gender",))
    faces = load_faces(spec, None, EMOTIONS)
    assert [face.cells["gender"] for face in faces] == ["male", "female"] * 3
    assert {face.label for face in faces} <= set(EMOTIONS)


@pytest.mark.parametrize("form", FORMS)
def test_labels_may_be_absent_if_columns_are_read(form: Form, tmp_path: Path) -> None:
    content = [{k: v for k, v in row.items() if k != "label"} for row in rows(4)]
    path = form(tmp_path, content)
    faces = load_faces(DatasetSpec(str(path), columns=("gender",)), None, EMOTIONS)
    assert [face.label for face in faces] == [""] * 4
    if path.suffix:  # a saved folder without labels has no other reader that refuses it
        with pytest.raises(DataError, match="label"):
            load_faces(path, None, EMOTIONS)


@pytest.mark.parametrize("form", FORMS)
def test_an_unknown_column_names_those_that_exist(form: Form, tmp_path: Path) -> None:
    spec = DatasetSpec(str(form(tmp_path, rows(2))), columns=("race",))
    with pytest.raises(DataError, match=r"no column 'race'\. It has: .*'[Gg]ender'"):
        load_faces(spec, None, EMOTIONS)


def test_folders_know_subjects_alone(tmp_path: Path) -> None:
    for name, row in zip(("01_AN_mr_005.jpg", "02_HA_mr_001.jpg"), rows(2), strict=True):
        (tmp_path / name).write_bytes(row["image"]["bytes"])
    faces = load_faces(DatasetSpec(str(tmp_path), columns=("subject",)), None, EMOTIONS)
    assert {face.cells["subject"] for face in faces} == {"kmu-fed:01", "kmu-fed:02"}
    with pytest.raises(DataError, match=r"no column 'gender'\. It has: 'subject'"):
        load_faces(DatasetSpec(str(tmp_path), columns=("gender",)), None, EMOTIONS)


def test_columns_are_no_option_of_the_text() -> None:
    with pytest.raises(DataError, match="columns=gender"):
        DatasetSpec.parse("people.parquet@columns=gender")
    assert DatasetSpec("people.parquet", columns=("gender",)).described == "people.parquet"


def test_folds_share_the_faces_out_by_name(tmp_path: Path) -> None:
    faces = load_faces(FACES, "val", EMOTIONS)
    parts = [Fold(i, 3).of(faces) for i in range(3)]
    assert sorted(f.name for part in parts for f in part) == sorted(f.name for f in faces)
    assert all(len(part) > len(faces) / 4 for part in parts)
    # The rule is public: a set that was held out stays held out in every version.
    assert [fold_of(name, 3) for name in ("30106.jpg", "35616.jpg", "700.jpg")] == [0, 2, 0]
