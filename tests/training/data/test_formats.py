"""Known pictures in every supported format get the right labels."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from multiprocessing.reduction import ForkingPickler
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pyarrow
import pyarrow.parquet
import pytest

from fer_edge.errors import DataError, FerEdgeError, MissingPartError
from fer_edge.labels import EMOTIONS
from fer_edge.training.data.faces import hash_of, hashed, load_faces, pixel_hash


@pytest.mark.filterwarnings("ignore:.*left out")
def test_known_pictures_land_on_the_right_names(
    samples: Any, tmp_path: Path, make: Callable[[Path], str]
) -> None:
    faces = load_faces(make(tmp_path / "set"), "train")
    expected = {
        hash_of(
            cv2.imdecode(
                np.frombuffer((samples.jpg if make in samples.LOSSY else samples.png)(n), np.uint8),
                1,
            )
        ): n
        for n in samples.FORMS[make]
    }
    assert len(expected) == len(faces) == len(samples.FORMS[make])
    assert {pixel_hash(f): f.label for f in faces} == {
        h: samples.meant(n) for h, n in expected.items()
    }


@pytest.mark.filterwarnings("ignore:.*left out")
def test_every_form_can_be_sent_to_workers(
    samples: Any, tmp_path: Path, make: Callable[[Path], str]
) -> None:
    faces = load_faces(make(tmp_path / "set"), "train")
    again = ForkingPickler.loads(ForkingPickler.dumps(faces))
    assert [pixel_hash(f) for f in again] == [pixel_hash(f) for f in faces]


@pytest.mark.filterwarnings("ignore")
def test_whatever_is_damaged_ends_in_a_sentence(
    samples: Any, tmp_path: Path, make: Callable[[Path], str]
) -> None:
    """Every file but the pictures, cut off and with bytes changed: our errors, or faces."""
    spec = make(tmp_path / "set")
    rng = np.random.default_rng(1)
    for file in sorted((tmp_path / "set").rglob("*")):
        if not file.is_file() or file.suffix in (".png", ".jpg"):
            continue
        whole = file.read_bytes()
        for _ in range(6):
            damaged = bytearray(
                whole[: int(rng.integers(len(whole)))] if rng.random() < 0.5 else whole
            )
            for at in rng.integers(0, max(len(damaged), 1), 8 if damaged else 0):
                damaged[at] = rng.integers(256)
            file.write_bytes(bytes(damaged))
            with contextlib.suppress(FerEdgeError):
                hashed(load_faces(spec, "train"))
        file.write_bytes(whole)


@pytest.mark.parametrize(
    ("written", "split"),
    [
        *(("train", "train"), ("Training", "train"), ("validation", "val"), ("fer_test", "test")),
        *(("dev", "val"), ("eval", "val")),
    ],
)
def test_folders_of_splits_hold_class_folders(
    samples: Any, tmp_path: Path, written: str, split: str
) -> None:
    samples.write_classes(tmp_path / written)
    assert {f.label for f in load_faces(tmp_path, split)} == set(EMOTIONS)


@pytest.mark.parametrize("other", ["val", "fer_valid", "eval"])
def test_dev_beside_another_validation_set_is_refused(
    samples: Any, tmp_path: Path, other: str
) -> None:
    for name in ("train", "dev", other):
        samples.write_classes(tmp_path / name)
    with pytest.raises(DataError, match=r"one folder for val .* 'dev' and"):
        load_faces(tmp_path, "train")


def test_a_folder_of_results_is_no_part(samples: Any, tmp_path: Path) -> None:
    samples.write_classes(tmp_path / "val")
    samples.write_classes(tmp_path / "eval_results")
    said: list[str] = []
    assert len(load_faces(tmp_path, "val", say=said.append)) == len(EMOTIONS)
    assert "state no part: 'eval_results'" in said[0]


@pytest.mark.parametrize("beside", ["angry", "held-out", "more/deeper"])
def test_pictures_in_a_folder_beside_the_parts_are_reported(
    samples: Any, tmp_path: Path, beside: str
) -> None:
    samples.write_classes(tmp_path / "train")
    samples.write_classes(tmp_path / beside)
    name = beside.split("/")[0]
    said: list[str] = []
    assert len(load_faces(tmp_path, "train", say=said.append)) == len(EMOTIONS)
    assert f"not read, because the names state no part: '{name}'. Rename" in said[0]


@pytest.mark.parametrize("suffix", ["parquet", "tar"])
def test_a_shard_without_a_part_beside_others_is_reported(
    samples: Any, tmp_path: Path, suffix: str
) -> None:
    write_shard(samples, tmp_path / f"train-000.{suffix}", "happy")
    write_shard(samples, tmp_path / f"extra.{suffix}", "sad")
    said: list[str] = []
    assert {face.label for face in load_faces(tmp_path, "train", say=said.append)} == {"happiness"}
    assert f"state no part: 'extra.{suffix}'. Rename" in said[0]


def test_few_of_many_names_without_a_part_are_said(samples: Any, tmp_path: Path) -> None:
    for name in ("train", *"abcdefg"):
        samples.write_classes(tmp_path / name)
    (tmp_path / "x.png").write_bytes(samples.png("sad"))
    said: list[str] = []
    load_faces(tmp_path, "train", say=said.append)
    assert "'a', 'b', 'c', 'd', 'e' and 2 more. Rename those" in said[0]
    assert "1 pictures outside a class folder" in said[0]


def test_a_picture_beside_the_parts_is_counted_and_notes_are_not(
    samples: Any, tmp_path: Path
) -> None:
    samples.write_classes(tmp_path / "train")
    (tmp_path / "x.png").write_bytes(samples.png("sad"))
    (tmp_path / "README.md").touch()
    (tmp_path / "scripts").mkdir()
    (tmp_path / "scripts" / "make.py").write_text("pass")
    said: list[str] = []
    load_faces(tmp_path, "train", say=said.append)
    assert len(said) == 1
    assert "1 files were passed over: 1 pictures outside a class folder" in said[0]


def test_the_previews_beside_shards_are_not_counted(samples: Any, tmp_path: Path) -> None:
    write_shard(samples, tmp_path / "train.parquet", "happy")
    (tmp_path / "preview.png").write_bytes(samples.png("happy"))
    said: list[str] = []
    load_faces(tmp_path, "train", say=said.append)
    assert said == []


def test_a_folder_of_parquet_files_is_split_by_their_names(samples: Any, tmp_path: Path) -> None:
    samples.write_parquet(tmp_path / "fer2013-train.parquet", ["happy"] * 3)
    samples.write_parquet(tmp_path / "fer2013-val.parquet", ["sad"] * 2)
    assert [f.label for f in load_faces(tmp_path, "train")] == ["happiness"] * 3
    assert [f.label for f in load_faces(tmp_path, "val")] == ["sadness"] * 2


@pytest.mark.parametrize("suffix", ["parquet", "tar"])
def test_any_word_of_a_shards_name_tells_its_part(
    samples: Any, tmp_path: Path, suffix: str
) -> None:
    names = ("fer-train-000000", "fer2013_test_0001", "valid.00000-of-00001", "x Training 7")
    for name, label in zip(names, ("happy", "sad", "fear", "disgust"), strict=True):
        write_shard(samples, tmp_path / f"{name}.{suffix}", label)
    for split, labels in (("train", ["happiness", "disgust"]), ("test", ["sadness"])):
        assert [f.label for f in load_faces(tmp_path, split)] == labels
    assert [f.label for f in load_faces(tmp_path, "val")] == ["fear"]
    alone = tmp_path / f"fer2013_test_0001.{suffix}"
    assert [f.label for f in load_faces(alone, "test")] == ["sadness"]
    with pytest.raises(MissingPartError, match="'train' part, only test"):
        load_faces(alone, "train")


@pytest.mark.parametrize("suffix", ["parquet", "tar"])
def test_a_shard_with_the_words_of_two_parts_is_refused(
    samples: Any, tmp_path: Path, suffix: str
) -> None:
    path = write_shard(samples, tmp_path / f"train-test-000.{suffix}", "happy")
    for source in (path, tmp_path):
        with pytest.raises(DataError, match=r"expected the word of one part.*test and train"):
            load_faces(source, "train")
    assert len(load_faces(path)) == 1  # without a part, all of a file is read


def write_shard(samples: Any, path: Path, label: str) -> Path:
    if path.suffix == ".parquet":
        return Path(samples.write_parquet(path, [label]))
    return Path(samples.shard(path, ("1.png", samples.png(label)), ("1.cls", label.encode())))


def test_a_missing_source_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="nowhere"):
        load_faces(tmp_path / "nowhere")


def test_a_source_of_another_kind_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "faces.zip"
    path.write_bytes(b"PK")
    with pytest.raises(DataError, match=r"faces\.zip"):
        load_faces(path)


@pytest.mark.parametrize("kind", ["folder", "csv", "parquet", "class"])
def test_an_empty_source_is_refused(samples: Any, tmp_path: Path, kind: str) -> None:
    path = tmp_path / "empty"
    if kind == "csv":
        path = samples.write_csv(tmp_path / "empty.csv", [])
    elif kind == "parquet":
        path = samples.write_parquet(tmp_path / "empty.parquet", ["happy"])
        pyarrow.parquet.write_table(pyarrow.parquet.read_table(path).slice(0, 0), path)
    else:
        (path / "happy" if kind == "class" else path).mkdir(parents=True)
    with pytest.raises(DataError, match="no faces"):
        load_faces(path)


@pytest.mark.parametrize("kind", ["class folders", "split folders", "csv", "parquet"])
def test_a_split_that_is_not_there_is_refused(samples: Any, tmp_path: Path, kind: str) -> None:
    if kind == "class folders":
        source = samples.write_classes(tmp_path / "faces")
    elif kind == "split folders":
        source = samples.write_classes(tmp_path / "faces" / "train").parent
    elif kind == "csv":
        source = samples.write_csv(tmp_path / "f.csv", [samples.csv_row(0)])
    else:
        source = samples.write_parquet(tmp_path / "faces-train.parquet", ["happy"])
    with pytest.raises(DataError, match="val"):
        load_faces(source, "val")


def test_a_source_with_splits_wants_one(samples: Any, tmp_path: Path) -> None:
    samples.write_classes(tmp_path / "train")
    with pytest.raises(DataError, match="train"):
        load_faces(tmp_path)
