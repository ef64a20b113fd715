"""Faces without labels: read from any form, without a fold, and never a held-out face."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fer_edge.errors import DataError
from fer_edge.labels import EMOTIONS
from fer_edge.progress import Step
from fer_edge.shipped import FACES
from fer_edge.training.data.dataset_spec import DatasetSpec
from fer_edge.training.data.faces import LabelledFace, load_faces
from fer_edge.training.data.folds import Fold, fold_of
from fer_edge.training.data.pack import pack_datasets
from fer_edge.training.data.summary import summarise, table


def rows(count: int) -> list[dict[str, Any]]:
    content: list[dict[str, Any]] = pyarrow.parquet.read_table(
        FACES / "faces-val.parquet"
    ).to_pylist()[:count]
    return content


def write(path: Path, content: Sequence[dict[str, Any]], leave_out: Sequence[str] = ()) -> Path:
    kept = [{key: v for key, v in row.items() if key not in leave_out} for row in content]
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(kept), path)
    return path


def pictures_below(folder: Path, content: Sequence[dict[str, Any]]) -> Path:
    for i, row in enumerate(content):
        below = folder / ("more" if i % 2 else ".")
        below.mkdir(parents=True, exist_ok=True)
        (below / f"{i}.png").write_bytes(row["image"]["bytes"])
    return folder


def quiet(_: str) -> None:
    pass


def test_a_set_without_labels_is_read(tmp_path: Path) -> None:
    path = write(tmp_path / "people.parquet", rows(4), ["label"])
    faces = load_faces(f"{path}@labels=none", "train")
    assert [face.label for face in faces] == [""] * 4
    assert [face.name for face in faces] == [row["name"] for row in rows(4)]


@pytest.mark.parametrize("label", ["happy", "no such expression", "7"])
def test_labels_of_the_set_are_ignored(tmp_path: Path, label: str) -> None:
    """The votes too: nothing that a person said about these faces may reach a target."""
    voted = [{**row, "label": label} for row in rows(4)]
    faces = load_faces(f"{write(tmp_path / 'people.parquet', voted)}@labels=none", "train")
    assert [face.label for face in faces] == [""] * 4
    assert [face.votes for face in faces] == [None] * 4


def test_a_folder_of_pictures_needs_no_classes(tmp_path: Path) -> None:
    folder = pictures_below(tmp_path / "people", rows(4))
    said: list[str] = []
    faces = load_faces(f"{folder}@labels=none", "train", say=said.append)
    assert {Path(face.name).name for face in faces} == {"0.png", "1.png", "2.png", "3.png"}
    assert {face.label for face in faces} == {""}
    assert said == []


def test_a_command_that_needs_labels_says_so() -> None:
    with pytest.raises(DataError, match=r"data\.unlabelled"):
        load_faces(f"{FACES}@labels=none", "val", EMOTIONS)


# --- folds ---------------------------------------------------------------------------------------


def test_a_fold_is_left_out_and_counted() -> None:
    said: list[str] = []
    every = load_faces(FACES, "val", EMOTIONS)
    third = Fold(0, 3).of(every, str(FACES))
    rest = load_faces(f"{FACES}@without=0/3", "val", EMOTIONS, said.append)
    assert sorted(f.name for f in [*third, *rest]) == sorted(f.name for f in every)
    assert said == [f"{FACES}, val: left out {len(third):,} of fold 0/3"]


def test_the_fold_is_part_of_the_name_of_a_source() -> None:
    spec = DatasetSpec.parse("a/people.parquet@labels=none,without=0/3")
    assert spec == DatasetSpec("a/people.parquet", "none", without="0/3")
    assert spec.described == "people.parquet@labels=none,without=0/3"


@pytest.mark.parametrize("fold", ["3/3", "0", "a/b", "0/101"])
def test_a_fold_that_is_none_is_refused(fold: str) -> None:
    with pytest.raises(DataError, match="fold such as 0/3"):
        DatasetSpec.parse(f"people.parquet@without={fold}")


@pytest.mark.parametrize("form", ["parquet", "folder"])
def test_folds_do_not_depend_on_where_the_set_lies(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, form: str
) -> None:
    """Evaluation and training may run on two machines, or in two folders."""
    for place in ("here", "there"):
        (tmp_path / place).mkdir()
        if form == "parquet":
            write(tmp_path / place / "people.parquet", rows(24), ["name", "label"])
        else:
            pictures_below(tmp_path / place / "people", rows(24))
    name = "people.parquet" if form == "parquet" else "people"
    monkeypatch.chdir(tmp_path / "there")

    def left(path: str) -> list[bytes]:
        faces = load_faces(f"{path}@labels=none,without=1/3", "train", say=quiet)
        return [face.read().tobytes() for face in faces]

    one = left(str(tmp_path / "here" / name))
    assert 0 < len(one) < 24
    assert left(name) == one
    assert left(f"../here/{name}") == one


@given(st.text(min_size=1, max_size=20), st.integers(1, 100))
def test_a_name_of_its_own_decides_alone(name: str, count: int) -> None:
    face = LabelledFace(b"", "", name)
    assert Fold(fold_of(name, count), count).of([face], "data/people.parquet") == [face]


# --- packed --------------------------------------------------------------------------------------


def left_half_of_bright(faces: Sequence[LabelledFace], _: Step) -> list[LabelledFace | None]:
    """Locate a face in the left half of each picture but the first."""
    return [None, *(replace(face, box=(0, 0, 24, 24)) for face in faces[1:])]


@pytest.mark.parametrize(
    ("form", "name"), [("parquet", "out"), ("hdf5", "out.h5"), ("folders", "out")]
)
def test_faces_are_packed_without_labels(tmp_path: Path, form: Any, name: str) -> None:
    path = write(tmp_path / "people.parquet", rows(6), ["label"])
    said: list[str] = []
    packed = pack_datasets(
        f"{path}@labels=none",
        tmp_path / name,
        form=form,
        locate=left_half_of_bright,
        say=said.append,
    )
    assert [face.name for face in packed["train"]] == [row["name"] for row in rows(6)[1:]]
    assert said == ["train: left out 1 of 6 pictures, in which no face was found"]
    again = load_faces(f"{tmp_path / name}@labels=none", "train")
    assert [face.read().shape for face in again] == [(24, 24, 3)] * 5
    assert [face.label for face in again] == [""] * 5
    if form != "folders":  # folders have no names; the fold of a face stays with its name
        assert [face.name for face in again] == [face.name for face in packed["train"]]


def test_no_face_anywhere_writes_nothing(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no face was found in part val"):
        pack_datasets(
            f"{FACES / 'faces-val.parquet'}@labels=none",
            tmp_path / "out",
            locate=lambda faces, step: [None] * len(faces),
        )
    assert not (tmp_path / "out").exists()


def test_labelled_and_unlabelled_sets_are_not_mixed(tmp_path: Path) -> None:
    path = write(tmp_path / "people.parquet", rows(2), ["label"])
    with pytest.raises(DataError, match="got both"):
        pack_datasets([str(FACES), f"{path}@labels=none"], tmp_path / "out")


def test_a_summary_counts_them(tmp_path: Path) -> None:
    path = write(tmp_path / "people.parquet", rows(6), ["label"])
    report = summarise([f"{path}@labels=none"])
    assert report["parts"]["train"]["per_class"] == {"": 6}
    lines = table(report)
    assert any(line.split() == ["unlabelled", "6", "6"] for line in lines)
    assert not any("warning" in line for line in lines)
