"""Faces are loaded with the right labels, hashed and sampled."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path
from typing import Any

import cv2
import datasets
import h5py
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fer_edge.errors import DataError, InputError, LabelError
from fer_edge.labels import EMOTIONS, EMOTIONS_8
from fer_edge.shipped import FACES
from fer_edge.training.data.faces import (
    LabelledFace,
    fingerprint,
    load_faces,
    pixel_hash,
    stratified,
    without_duplicates,
)
from fer_edge.training.data.partition import partition

PICTURES = st.lists(
    st.tuples(st.integers(0, 30), st.sampled_from(EMOTIONS)), min_size=2, max_size=120
)
"""(picture, label): few pictures, so that most rows have duplicates, some contradictory."""


def test_labels_with_umlauts_are_the_same_in_each_form(
    tmp_path: Path,
) -> None:
    """macOS, and a text copied from it, write an umlaut as two characters."""
    names = "schl\u00e4frig", "schla\u0308frig"
    for label in (names[1], "wach"):
        (tmp_path / label).mkdir()
        cv2.imwrite(str(tmp_path / label / "1.png"), np.full((48, 48), 90, np.uint8))
    for name in names:
        faces = load_faces(tmp_path, labels=(name, "wach"))
        assert {face.label for face in faces} == {name, "wach"}
        said: list[str] = []
        (kept,) = load_faces(f"{tmp_path}@drop={name}", labels=("wach",), say=said.append)
        assert "left out 1 schl\u00e4frig" in said[0]
        assert kept.label == "wach"


# --- numbers without an order --------------------------------------------------------------------


@pytest.mark.parametrize(
    "name", ["numbered_folders", "numbered_affectnet", "numbered_raf_db", "own_order"]
)
def test_numbers_without_an_order_are_refused(samples: Any, tmp_path: Path, name: str) -> None:
    path = getattr(samples, name)(tmp_path / "set").split("@")[0]
    with pytest.raises(LabelError, match=r"numbers have no order.*@order="):
        load_faces(path, "train")


def test_the_wrong_order_would_have_given_other_names(samples: Any, tmp_path: Path) -> None:
    """0.46 against 0.54 accuracy, from the last three numbers alone."""
    path = samples.numbered_folders(tmp_path / "set").split("@")[0]
    named = {
        order: [f.label for f in load_faces(f"{path}@order={order}")]
        for order in ("fer2013-folders", "fer2013-csv")
    }
    one, other = named.values()
    assert one[:4] == other[:4]
    assert all(a != b for a, b in zip(one[4:], other[4:], strict=True))


def test_numbers_in_hdf5_and_in_saved_datasets_are_refused(samples: Any, tmp_path: Path) -> None:
    with h5py.File(tmp_path / "data.h5", "w") as file:
        file["data_pixel"] = np.stack([samples.known(name) for name in samples.RAF_DB])
        file["data_label"] = np.arange(7)
    with pytest.raises(LabelError, match="no order"):
        load_faces(tmp_path / "data.h5")
    named = load_faces(f"{tmp_path / 'data.h5'}@order={'/'.join(samples.RAF_DB)}")
    assert [f.label for f in named] == samples.RAF_DB
    plain = samples.with_class_label().cast_column("label", datasets.Value("int64"))
    plain.save_to_disk(str(tmp_path / "plain"))
    with pytest.raises(LabelError, match="no order"):
        load_faces(tmp_path / "plain")


def test_a_number_outside_the_order_is_refused(samples: Any, tmp_path: Path) -> None:
    samples.put(tmp_path / "set" / "0" / "1.png", samples.png("fear"))
    with pytest.raises(LabelError, match="from 1 to 7"):
        load_faces(f"{tmp_path / 'set'}@order=raf-db")


def test_numbers_beside_names_are_refused(samples: Any, tmp_path: Path) -> None:
    samples.put(tmp_path / "set" / "0" / "1.png", samples.png("fear"))
    samples.put(tmp_path / "set" / "fear" / "1.png", samples.png("fear"))
    with pytest.raises(LabelError, match=r"numbers and with names: 0; fear"):
        load_faces(f"{tmp_path / 'set'}@order=raf-db")


# --- names ---------------------------------------------------------------------------------------


def test_an_unknown_label_lists_all_that_were_found(samples: Any, tmp_path: Path) -> None:
    for name in ("happy", "hangry", "sad"):
        samples.put(tmp_path / "set" / name / "1.png", samples.png("fear"))
    with pytest.raises(LabelError, match=r"unknown ones: 'hangry'.*'hangry', 'happy', 'sad'"):
        load_faces(tmp_path / "set")


def test_two_words_for_one_emotion_in_one_source_are_refused(samples: Any, tmp_path: Path) -> None:
    for name in ("happy", "joy", "fear"):
        samples.put(tmp_path / "set" / name / "1.png", samples.png("fear"))
    with pytest.raises(LabelError, match=r"happiness.*'happy' and 'joy'.*'fear'"):
        load_faces(tmp_path / "set")


def test_a_user_defined_class_is_known_from_the_model_and_spelt_exactly(
    samples: Any, tmp_path: Path
) -> None:
    samples.put(tmp_path / "set" / "drowsy" / "1.png", samples.png("neutral"))
    samples.put(tmp_path / "set" / "happy" / "1.png", samples.png("happy"))
    labels = ("alert", "drowsy", "happiness")
    assert [f.label for f in load_faces(tmp_path / "set", labels=labels)] == ["drowsy", "happiness"]
    for other in (None, EMOTIONS, ("Drowsy", "happiness")):
        with pytest.raises(LabelError, match="drowsy"):
            load_faces(tmp_path / "set", labels=other)


def test_contempt_is_the_eighth_class_or_dropped_by_name(samples: Any, tmp_path: Path) -> None:
    path = samples.affectnet_sets(tmp_path / "set")
    assert {f.label for f in load_faces(path, "train", EMOTIONS_8)} == set(EMOTIONS_8)
    with pytest.raises(LabelError, match=r"contempt.*@drop=contempt"):
        load_faces(path, "train", EMOTIONS)
    said: list[str] = []
    faces = load_faces(f"{path}@drop=contempt", "train", EMOTIONS, said.append)
    assert {f.label for f in faces} == set(EMOTIONS)
    assert re.search("left out 1 contempt", said[0])


# --- loading -------------------------------------------------------------------------------------


def test_the_shipped_composites_have_even_train_and_val_parts() -> None:
    for split in ("train", "val"):
        counts = Counter(f.label for f in load_faces(FACES, split))
        assert set(counts) == set(EMOTIONS)
        assert len(set(counts.values())) == 1


def test_an_unknown_split_is_refused(samples: Any, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="exam"):
        load_faces(samples.write_classes(tmp_path / "faces"), "exam")


def test_a_label_that_the_model_does_not_have_is_named(samples: Any, tmp_path: Path) -> None:
    with pytest.raises(LabelError, match="surprise"):
        load_faces(samples.write_classes(tmp_path / "faces"), labels=EMOTIONS[:-1])


@pytest.mark.parametrize("kind", ["text", "cut off"])
def test_a_broken_picture_is_a_data_error_that_names_it(
    samples: Any, tmp_path: Path, kind: str
) -> None:
    content = b"no picture" if kind == "text" else samples.noise_png(0)[:200]
    folder = samples.write_classes(tmp_path / "faces")
    (folder / "fear" / "broken.png").write_bytes(content)
    with pytest.raises(DataError, match=r"broken\.png"):
        [f.read() for f in load_faces(folder)]
    with pytest.raises(DataError, match="row 7"):
        pixel_hash(LabelledFace(content, "fear", "row 7"))


# --- duplicates and samples ----------------------------------------------------------------------


def test_a_duplicate_in_another_file_format_has_the_same_hash(samples: Any) -> None:
    bmp = cv2.imencode(".bmp", samples.noise(1))[1].tobytes()
    assert pixel_hash(LabelledFace(bmp, "anger", "a")) == pixel_hash(samples.face(1, "fear"))
    assert pixel_hash(samples.face(1)) != pixel_hash(samples.face(2))


def test_the_same_bytes_in_another_shape_are_another_picture(samples: Any) -> None:
    flat = cv2.imencode(".png", samples.noise(1).reshape(24, 96))[1].tobytes()
    assert pixel_hash(LabelledFace(flat, "anger", "a")) != pixel_hash(samples.face(1))


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
    assert stratified(faces[::-1], count, seed) == picked  # the order of the source does not matter


def test_stratified_depends_on_the_seed() -> None:
    faces = [LabelledFace(b"", "anger", str(i)) for i in range(100)]
    assert stratified(faces, 10, 1) != stratified(faces, 10, 2)


def test_fingerprint_forgets_order_and_names_but_not_labels_or_pixels(samples: Any) -> None:
    def of(*faces: LabelledFace) -> str:
        return fingerprint(faces, [pixel_hash(f) for f in faces])

    one, two = samples.face(1, "anger"), samples.face(2, "fear")
    known = of(one, two)
    assert of(LabelledFace(two.source, "fear", "renamed"), one) == known
    assert of(samples.face(1, "fear"), two) != known
    assert of(samples.face(3, "anger"), two) != known
    assert of(samples.face(2, "anger"), samples.face(1, "fear")) != known
    assert of(one, one, two) != known


def test_a_negative_seed_is_an_input_error() -> None:
    faces = [LabelledFace(b"", "fear", str(i)) for i in range(4)]
    for draw in (
        lambda: stratified(faces, 2, -1),
        lambda: partition([0, 1], ["fear", "fear"], [1, 1], -1),
    ):
        with pytest.raises(InputError, match=r"seed from 0 on, got -1\. Choose another"):
            draw()
