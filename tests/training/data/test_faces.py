"""Every form of data set lands on the right names, and no picture stands on two sides."""

from __future__ import annotations

import random
from collections import Counter
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pyarrow
import pyarrow.parquet
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fer_edge.errors import DataError, LabelError
from fer_edge.labels import EMOTIONS, SOURCE_ORDERS
from fer_edge.shipped import FACES
from fer_edge.training.data.faces import (
    LabelledFace,
    fingerprint,
    load_faces,
    pixel_hash,
    stratified,
    without_duplicates,
)

KAGGLE = ["anger", "disgust", "fear", "happiness", "sadness", "surprise", "neutral"]
"""What 0..6 mean in the CSV, as Kaggle's page states it."""
SPELT = ["angry", "disgust", "fear", "happy", "neutral", "sad", "surprise"]
"""Class folders as FER2013's repackings name them, in the order of EMOTIONS."""


def pixels(seed: int, side: int = 48) -> np.ndarray[Any, Any]:
    return np.random.default_rng(seed).integers(0, 256, (side, side), np.uint8)


def png(seed: int) -> bytes:
    return cv2.imencode(".png", pixels(seed))[1].tobytes()


def face(seed: int, label: str = "anger", **more: Any) -> LabelledFace:
    return LabelledFace(png(seed), label, f"face-{seed}", **more)


def write_csv(path: Path, rows: list[tuple[object, ...]], header: str | None = None) -> Path:
    lines = [header or "emotion,pixels,Usage", *(",".join(map(str, row)) for row in rows)]
    path.write_text("\n".join(lines) + "\n", "utf-8")
    return path


def csv_row(emotion: object, seed: int = 0, usage: str = "Training") -> tuple[object, ...]:
    return emotion, " ".join(map(str, pixels(seed).ravel())), usage


def write_parquet(path: Path, labels: list[Any], first: int = 0, **columns: Any) -> Path:
    images = [{"bytes": png(first + i), "path": None} for i in range(len(labels))]
    pyarrow.parquet.write_table(pyarrow.table({"image": images, "label": labels, **columns}), path)
    return path


def write_classes(folder: Path, per_class: int = 1, first: int = 0) -> Path:
    for i, name in enumerate(SPELT):
        (folder / name).mkdir(parents=True)
        for j in range(per_class):
            (folder / name / f"{j}.png").write_bytes(png(first + per_class * i + j))
    return folder


# --- names ---------------------------------------------------------------------------------------


def test_csv_numbers_are_named_in_kaggles_order(tmp_path: Path) -> None:
    assert sorted(KAGGLE) != KAGGLE  # or this would prove nothing
    path = write_csv(tmp_path / "fer2013.csv", [csv_row(i, i) for i in range(7)])
    assert [f.label for f in load_faces(path)] == KAGGLE


def test_csv_pictures_are_the_pixels_of_their_row(tmp_path: Path) -> None:
    path = write_csv(tmp_path / "fer2013.csv", [csv_row(3, 11), csv_row(6, 12)])
    for found, seed in zip(load_faces(path), (11, 12), strict=True):
        assert np.array_equal(found.read(), np.repeat(pixels(seed)[..., None], 3, axis=2))


def test_csv_names_are_taken_as_names(tmp_path: Path) -> None:
    path = write_csv(tmp_path / "fer2013.csv", [csv_row("Happy"), csv_row("sad", 1)])
    assert [f.label for f in load_faces(path)] == ["happiness", "sadness"]


def test_csv_with_spaces_in_its_header_is_read(tmp_path: Path) -> None:
    row = csv_row(0)
    path = write_csv(tmp_path / "f.csv", [(row[0], row[2], row[1])], "emotion, Usage, pixels")
    assert [f.label for f in load_faces(path, "train")] == ["anger"]


@pytest.mark.parametrize(
    ("usage", "split"), [("Training", "train"), ("PublicTest", "val"), ("PrivateTest", "test")]
)
def test_csv_usage_decides_the_split(tmp_path: Path, usage: str, split: str) -> None:
    usages = ["Training", "PublicTest", "PrivateTest"]
    path = write_csv(tmp_path / "f.csv", [csv_row(i, i, u) for i, u in enumerate(usages)])
    assert [f.label for f in load_faces(path, split)] == [KAGGLE[usages.index(usage)]]
    assert len(load_faces(path)) == 3


def test_class_folders_are_named_by_their_folder(tmp_path: Path) -> None:
    faces = load_faces(write_classes(tmp_path / "faces", per_class=2))
    assert Counter(f.label for f in faces) == dict.fromkeys(EMOTIONS, 2)
    assert {f.label for f in faces if "/happy/" in Path(f.name).as_posix()} == {"happiness"}


def test_files_that_are_no_pictures_are_passed_over(tmp_path: Path) -> None:
    folder = write_classes(tmp_path / "faces")
    (folder / "happy" / "notes.txt").write_text("not a face")
    assert len(load_faces(folder)) == 7


@pytest.mark.parametrize(
    ("written", "split"),
    [("train", "train"), ("Training", "train"), ("validation", "val"), ("fer_test", "test")],
)
def test_folders_of_splits_hold_class_folders(tmp_path: Path, written: str, split: str) -> None:
    write_classes(tmp_path / written)
    assert {f.label for f in load_faces(tmp_path, split)} == set(EMOTIONS)


def test_a_folder_of_parquet_files_is_split_by_their_names(tmp_path: Path) -> None:
    write_parquet(tmp_path / "fer2013-train.parquet", ["happy"] * 3)
    write_parquet(tmp_path / "fer2013-val.parquet", ["sad"] * 2)
    assert [f.label for f in load_faces(tmp_path, "train")] == ["happiness"] * 3
    assert [f.label for f in load_faces(tmp_path, "val")] == ["sadness"] * 2


@pytest.mark.parametrize(
    ("name", "split"),
    [("faces-train", "train"), ("faces-val", "val"), ("faces", "train"), ("faces-val", None)],
)
def test_one_parquet_file_is_what_its_name_says_or_train(
    tmp_path: Path, name: str, split: str | None
) -> None:
    path = write_parquet(tmp_path / f"{name}.parquet", ["happy", "sad"])
    assert [f.label for f in load_faces(path, split)] == ["happiness", "sadness"]


def test_parquet_names_are_canonical_and_fer2013_label_wins(tmp_path: Path) -> None:
    path = write_parquet(tmp_path / "f.parquet", ["sad"], fer2013_label=["Happy"], name=["row 7"])
    (found,) = load_faces(path)
    assert (found.label, found.name, found.votes) == ("happiness", "row 7", None)
    assert np.array_equal(found.read()[..., 0], pixels(0))


def test_the_shipped_composites_have_even_train_and_val_parts() -> None:
    for split in ("train", "val"):
        counts = Counter(f.label for f in load_faces(FACES, split))
        assert set(counts) == set(EMOTIONS)
        assert len(set(counts.values())) == 1


def test_fer2013_itself_is_read(shared: Path) -> None:
    faces = load_faces(shared / "data" / "fer2013", "val")
    assert len(faces) == 3579
    assert {f.label for f in faces} == set(EMOTIONS)
    assert all(f.votes is not None and sum(f.votes) == 10 for f in faces[:100])


# --- votes ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(3))
def test_vote_columns_are_found_by_name_in_any_order(tmp_path: Path, seed: int) -> None:
    spelt = {"not a face": "NF", "happiness": "happy"}
    columns = {f"ferplus_{spelt.get(n, n)}": i for i, n in enumerate(SOURCE_ORDERS["ferplus"])}
    order = random.Random(seed).sample(sorted(columns), len(columns))
    votes = {name: [columns[name]] for name in order}
    (found,) = load_faces(write_parquet(tmp_path / "f.parquet", ["happy"], **votes))
    assert found.votes == tuple(range(10))


def test_a_missing_vote_column_is_named(tmp_path: Path) -> None:
    votes = {f"ferplus_{n}": [1] for n in SOURCE_ORDERS["ferplus"] if n != "disgust"}
    with pytest.raises(DataError, match="disgust"):
        load_faces(write_parquet(tmp_path / "f.parquet", ["happy"], **votes))


# --- what is wrong is said -----------------------------------------------------------------------


def test_an_unknown_folder_name_is_named(tmp_path: Path) -> None:
    folder = write_classes(tmp_path / "faces")
    (folder / "hangry").mkdir()
    (folder / "hangry" / "1.png").write_bytes(png(0))
    with pytest.raises(LabelError, match="hangry"):
        load_faces(folder)


def test_numbers_in_parquet_are_refused(tmp_path: Path) -> None:
    with pytest.raises(LabelError, match=r"f\.parquet.*3"):
        load_faces(write_parquet(tmp_path / "f.parquet", [3, 4]))


@pytest.mark.parametrize("column", ["image", "label"])
def test_a_missing_parquet_column_is_named(tmp_path: Path, column: str) -> None:
    path = write_parquet(tmp_path / "f.parquet", ["happy"])
    pyarrow.parquet.write_table(pyarrow.parquet.read_table(path).drop_columns(column), path)
    with pytest.raises(DataError, match=column):
        load_faces(path)


def test_a_parquet_image_column_of_another_form_is_a_data_error(tmp_path: Path) -> None:
    path = tmp_path / "f.parquet"
    pyarrow.parquet.write_table(pyarrow.table({"image": [png(0)], "label": ["happy"]}), path)
    with pytest.raises(DataError, match="image"):
        [f.read() for f in load_faces(path)]


def test_a_damaged_parquet_file_is_a_data_error(tmp_path: Path) -> None:
    path = write_parquet(tmp_path / "f.parquet", ["happy"])
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(DataError, match=r"f\.parquet"):
        load_faces(path)


@pytest.mark.parametrize(
    "row",
    [
        (7, *csv_row(0)[1:]),
        (-1, *csv_row(0)[1:]),
        ("hangry", *csv_row(0)[1:]),
        (0, "1 2 3", "Training"),
        (0, "1 2 x", "Training"),
        (0, " ".join(["256"] * 2304), "Training"),
        (0,),
    ],
    ids=["too high", "negative", "no emotion", "too few", "no number", "over 255", "short"],
)
def test_a_broken_csv_row_is_named_by_its_line(tmp_path: Path, row: tuple[object, ...]) -> None:
    path = write_csv(tmp_path / "f.csv", [csv_row(0), csv_row(1), row])
    with pytest.raises(DataError, match="line 4"):
        load_faces(path)


def test_a_csv_without_the_columns_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="emotion, pixels"):
        load_faces(write_csv(tmp_path / "f.csv", [(1, 2)], "label,image"))


def test_a_csv_that_is_no_text_is_a_data_error(tmp_path: Path) -> None:
    path = tmp_path / "f.csv"
    path.write_bytes(png(0))
    with pytest.raises(DataError, match=r"f\.csv"):
        load_faces(path)


def test_a_missing_source_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="nowhere"):
        load_faces(tmp_path / "nowhere")


def test_a_source_of_another_kind_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "faces.zip"
    path.write_bytes(b"PK")
    with pytest.raises(DataError, match=r"faces\.zip"):
        load_faces(path)


@pytest.mark.parametrize("kind", ["folder", "csv", "parquet", "class"])
def test_an_empty_source_is_refused(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "empty"
    if kind == "csv":
        path = write_csv(tmp_path / "empty.csv", [])
    elif kind == "parquet":
        path = write_parquet(tmp_path / "empty.parquet", ["happy"])
        pyarrow.parquet.write_table(pyarrow.parquet.read_table(path).slice(0, 0), path)
    else:
        (path / "happy" if kind == "class" else path).mkdir(parents=True)
    with pytest.raises(DataError, match="no faces"):
        load_faces(path)


@pytest.mark.parametrize("kind", ["class folders", "split folders", "csv", "parquet"])
def test_a_split_that_is_not_there_is_refused(tmp_path: Path, kind: str) -> None:
    if kind == "class folders":
        source = write_classes(tmp_path / "faces")
    elif kind == "split folders":
        source = write_classes(tmp_path / "faces" / "train").parent
    elif kind == "csv":
        source = write_csv(tmp_path / "f.csv", [csv_row(0)])
    else:
        source = write_parquet(tmp_path / "faces-train.parquet", ["happy"])
    with pytest.raises(DataError, match="val"):
        load_faces(source, "val")


def test_a_source_with_splits_wants_one(tmp_path: Path) -> None:
    write_classes(tmp_path / "train")
    with pytest.raises(DataError, match="train"):
        load_faces(tmp_path)


def test_an_unknown_split_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="exam"):
        load_faces(write_classes(tmp_path / "faces"), "exam")


def test_a_label_that_the_model_does_not_have_is_named(tmp_path: Path) -> None:
    with pytest.raises(LabelError, match="surprise"):
        load_faces(write_classes(tmp_path / "faces"), labels=EMOTIONS[:-1])


@pytest.mark.parametrize("content", [b"no picture", png(0)[:200]], ids=["text", "cut off"])
def test_a_broken_picture_is_a_data_error_that_names_it(tmp_path: Path, content: bytes) -> None:
    folder = write_classes(tmp_path / "faces")
    (folder / "fear" / "broken.png").write_bytes(content)
    with pytest.raises(DataError, match=r"broken\.png"):
        [f.read() for f in load_faces(folder)]
    with pytest.raises(DataError, match="row 7"):
        pixel_hash(LabelledFace(content, "fear", "row 7"))


# --- twins, parts, samples -----------------------------------------------------------------------

LABELS = st.sampled_from(EMOTIONS)
PICTURES = st.lists(st.tuples(st.integers(0, 30), LABELS), min_size=2, max_size=120)
"""(which picture, its label): few pictures, so that most rows have twins, some contradictory."""


def test_a_twin_in_another_file_format_has_the_same_hash() -> None:
    bmp = cv2.imencode(".bmp", pixels(1))[1].tobytes()
    assert pixel_hash(LabelledFace(bmp, "anger", "a")) == pixel_hash(face(1, "fear"))
    assert pixel_hash(face(1)) != pixel_hash(face(2))


def test_the_same_bytes_in_another_shape_are_another_picture() -> None:
    flat = cv2.imencode(".png", pixels(1).reshape(24, 96))[1].tobytes()
    assert pixel_hash(LabelledFace(flat, "anger", "a")) != pixel_hash(face(1))


@given(PICTURES, st.sets(st.integers(0, 30)))
def test_without_duplicates_keeps_exactly_what_the_others_lack(
    rows: list[tuple[int, str]], others: set[int]
) -> None:
    faces = [LabelledFace(b"", label, str(i)) for i, (_, label) in enumerate(rows)]
    kept, hashes = without_duplicates(faces, [str(p) for p, _ in rows], map(str, others))
    assert [f.name for f in kept] == [str(i) for i, (p, _) in enumerate(rows) if p not in others]
    assert hashes == [str(rows[int(f.name)][0]) for f in kept]


@given(st.lists(st.integers(0, 12), min_size=7, max_size=7), st.integers(0, 60), st.integers(0, 99))
def test_stratified_is_as_even_as_the_data_allow(sizes: list[int], count: int, seed: int) -> None:
    faces = [
        LabelledFace(b"", name, f"{name}-{i}")
        for name, size in zip(EMOTIONS, sizes, strict=True)
        for i in range(size)
    ]
    picked = stratified(faces, count, seed)
    assert len(picked) == len({f.name for f in picked}) == min(count, len(faces))
    counts = Counter(f.label for f in picked)
    for name, size in zip(EMOTIONS, sizes, strict=True):
        assert counts[name] == size or counts[name] >= max(counts.values(), default=0) - 1
    assert stratified(faces[::-1], count, seed) == picked  # the order of the source is no matter


def test_stratified_depends_on_the_seed() -> None:
    faces = [LabelledFace(b"", "anger", str(i)) for i in range(100)]
    assert stratified(faces, 10, 1) != stratified(faces, 10, 2)


def test_fingerprint_forgets_order_and_names_but_not_labels_or_pixels() -> None:
    def of(*faces: LabelledFace) -> str:
        return fingerprint(faces, [pixel_hash(f) for f in faces])

    one, two = face(1, "anger"), face(2, "fear")
    known = of(one, two)
    assert of(LabelledFace(two.source, "fear", "renamed"), one) == known
    assert of(face(1, "fear"), two) != known
    assert of(face(3, "anger"), two) != known
    assert of(face(2, "anger"), face(1, "fear")) != known
    assert of(one, one, two) != known
