"""File names that are not UTF-8 or begin with a space, as archives and cameras leave them."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet
import pytest

from fer_edge.errors import DataError
from fer_edge.training.data.faces import LabelledFace, load_faces
from fer_edge.training.data.pack import pack_datasets, write_parts
from fer_edge.training.data.summary import summarise, table
from fer_edge.training.evaluation.embed import Embeddings

ODD = os.fsdecode(b"m\xfcller")


@pytest.fixture
def folder(samples: Any, tmp_path: Path) -> Path:
    root = tmp_path / ODD
    for name in ("happy", "sad"):
        samples.put(root / name / f"{ODD}.png", samples.png(name))
    return root


@pytest.mark.parametrize("out", ["packed", "packed.h5", f"{ODD}/packed", f"{ODD}/packed.h5"])
def test_they_are_packed_and_read_again(folder: Path, tmp_path: Path, out: str) -> None:
    pack_datasets(folder, tmp_path / out)
    faces = load_faces(tmp_path / out, "train")
    assert [f.label for f in faces] == ["happiness", "sadness"]
    for face, name in zip(faces, ("happy", "sad"), strict=True):
        assert face.name == f"{name}/m\\udcfcller.png"


def test_a_list_finds_the_files_again(folder: Path) -> None:
    write_parts(folder / "list.csv", {"train": load_faces(folder)}, None)
    faces = load_faces(folder / "list.csv")
    assert [f.read().shape for f in faces] == [(48, 48, 3)] * 2


def test_a_list_finds_files_that_begin_with_a_space(samples: Any, tmp_path: Path) -> None:
    for path in (" train/ happy/ 1.png", " 2/3.png", "plain.png"):
        samples.put(tmp_path / path, samples.png("happy"))
    files = sorted(tmp_path.rglob("*.png"))
    faces = [LabelledFace(file, "happiness", str(file)) for file in files]
    write_parts(tmp_path / "list.csv", {"train": faces}, None)
    found = load_faces(tmp_path / "list.csv")
    assert sorted(face.source for face in found if isinstance(face.source, Path)) == files


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such names")
@pytest.mark.parametrize("name", ["a\\b.png", "\ufeffa.png"])
def test_a_list_refuses_names_that_it_cannot_hold(samples: Any, tmp_path: Path, name: str) -> None:
    samples.put(tmp_path / name, samples.png("happy"))
    face = LabelledFace(tmp_path / name, "happiness", name)
    with pytest.raises(DataError, match=r"a list cannot name.*Rename the file"):
        write_parts(tmp_path / "list.csv", {"train": [face]}, None)
    assert not (tmp_path / "list.csv").exists()


def test_a_summary_can_be_printed(folder: Path) -> None:
    (folder / "sad" / f"{ODD}2.png").write_bytes(b"no picture")
    assert "\n".join(table(summarise(folder))).encode("utf-8")


def test_embeddings_keep_a_name() -> None:
    ones = np.ones((1, 2), np.float32)
    data = Embeddings([ODD], None, ["fear"], ones[0, :1], ones, {}).parquet()
    table = pyarrow.parquet.read_table(pyarrow.BufferReader(data))
    assert table["name"].to_pylist() == ["m\\udcfcller"]
