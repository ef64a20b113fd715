"""Pictures in class folders are read, or counted in a sentence; clutter is neither."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import Any

import cv2
import pytest

from fer_edge.errors import DataError
from fer_edge.training.data.faces import load_faces

CLUTTER = [
    "._0.png",
    "Thumbs.db",
    "THUMBS.DB",
    ".DS_Store",
    "desktop.ini",
    "@eaDir/0.png",
    ".ipynb_checkpoints/0-checkpoint.png",
    "__MACOSX/0.png",
    "0.png:Zone.Identifier",
    "#recycle/0.png",
    "$RECYCLE.BIN/0.png",
]


def loaded(path: Path) -> tuple[list[str], list[str]]:
    """Names below the data set of the faces, and the sentences."""
    said: list[str] = []
    faces = load_faces(path, say=said.append)
    return sorted(f.name.removeprefix(f"{path}{os.sep}") for f in faces), said


def test_pictures_in_sub_folders_belong_to_the_class(samples: Any, tmp_path: Path) -> None:
    for name in ("happy/0.png", "happy/s1/0.png", "happy/s1/a/b/0.png", "sad/s2/0.png"):
        samples.put(tmp_path / name, samples.png("happy"))
    names, said = loaded(tmp_path)
    assert names == ["happy/0.png", "happy/s1/0.png", "happy/s1/a/b/0.png", "sad/s2/0.png"]
    assert not said


@pytest.mark.parametrize("suffix", [".jfif", ".jpe", ".JPG", ".JFIF", "", ".jpg_large", ".0001"])
def test_jpegs_are_read_whatever_their_suffix(samples: Any, tmp_path: Path, suffix: str) -> None:
    samples.put(tmp_path / "happy" / f"0{suffix}", samples.jpg("happy"))
    names, said = loaded(tmp_path)
    assert names == [f"happy/0{suffix}"]
    assert not said
    assert load_faces(tmp_path)[0].read().shape == (48, 48, 3)


@pytest.mark.parametrize("form", [".png", ".bmp", ".webp", ".jpg"])
def test_a_picture_without_a_suffix_is_read(samples: Any, tmp_path: Path, form: str) -> None:
    samples.put(tmp_path / "happy" / "0", cv2.imencode(form, samples.known("happy"))[1].tobytes())
    assert loaded(tmp_path) == (["happy/0"], [])


def test_other_files_are_counted_and_said(samples: Any, tmp_path: Path) -> None:
    tiff = cv2.imencode(".tiff", samples.known("happy"))[1].tobytes()
    for name in ("happy/0.tif", "happy/1.TIF", "happy/s/2.tiff", "happy/3.gif", "sad/notes"):
        samples.put(tmp_path / name, tiff)
    samples.put(tmp_path / "happy" / "0.png", samples.png("happy"))
    samples.put(tmp_path / "stray.png", samples.png("happy"))
    names, (sentence,) = loaded(tmp_path)
    assert names == ["happy/0.png"]
    for words in (
        "6 files were passed over",
        "1 .gif, 2 .tif, 1 .tiff, 1 without a suffix",
        "1 pictures outside a class folder",
    ):
        assert words in sentence


@pytest.mark.parametrize("clutter", CLUTTER)
@pytest.mark.parametrize("where", ["happy", "."])
def test_clutter_is_passed_over_silently(
    samples: Any, tmp_path: Path, clutter: str, where: str
) -> None:
    samples.put(tmp_path / "happy" / "0.png", samples.png("happy"))
    samples.put(tmp_path / where / clutter, samples.png("happy"))
    assert loaded(tmp_path) == (["happy/0.png"], [])


def test_clutter_beside_parquet_is_passed_over(samples: Any, tmp_path: Path) -> None:
    samples.write_parquet(tmp_path / "faces-train.parquet", ["happy"])
    (tmp_path / "._faces-train.parquet").write_bytes(b"x")
    assert len(load_faces(tmp_path, "train")) == 1


def test_linked_folders_are_counted_and_not_followed(samples: Any, tmp_path: Path) -> None:
    samples.put(tmp_path / "set" / "happy" / "0.png", samples.png("happy"))
    (tmp_path / "set" / "happy" / "again").symlink_to(tmp_path / "set")
    names, (sentence,) = loaded(tmp_path / "set")
    assert names == ["happy/0.png"]
    assert "1 linked folders" in sentence


def test_folders_nested_deeper_than_the_stack_are_read(samples: Any, tmp_path: Path) -> None:
    deep = tmp_path / "happy"
    deep.mkdir()
    for _ in range(1200):
        deep = deep / "d"
        deep.mkdir()
    (deep / "0.png").write_bytes(samples.png("happy"))
    try:
        assert len(load_faces(tmp_path)) == 1
    finally:  # shutil, and so pytest, removes it with recursion
        subprocess.run(["rm", "-r", str(tmp_path / "happy")], check=True)


def test_parts_below_classes_are_refused(samples: Any, tmp_path: Path) -> None:
    """They would otherwise be trained on together."""
    for part in ("train", "test"):
        samples.put(tmp_path / "happy" / part / "0.png", samples.png("happy"))
    with pytest.raises(DataError, match="parts above classes, like test/happy") as refused:
        load_faces(tmp_path)
    assert str(refused.value).endswith(f"If {tmp_path / 'happy'} is the data set, name it")


def test_no_face_at_all_says_what_was_passed_over(tmp_path: Path) -> None:
    (tmp_path / "happy").mkdir()
    (tmp_path / "happy" / "0.heic").write_bytes(b"x")
    said: list[str] = []
    with pytest.raises(DataError, match="no faces"):
        load_faces(tmp_path, say=said.append)
    assert "1 .heic" in said[0]
