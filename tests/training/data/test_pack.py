"""Packed datasets read back unchanged, and are written completely or not at all."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import h5py
import numpy as np
import pytest

from fer_edge.errors import DataError
from fer_edge.labels import EMOTIONS, EMOTIONS_8
from fer_edge.training.data import pack
from fer_edge.training.data.faces import LabelledFace, load_faces, pixel_hash

FORMS = [("parquet", "set"), ("hdf5", "set.h5"), ("folders", "set"), ("list", "set.csv")]


def pixels(seed: int, channels: int = 1) -> np.ndarray[Any, Any]:
    shape = (20, 16, channels)
    return np.random.default_rng(seed).integers(0, 256, shape, np.uint8).squeeze()


@pytest.fixture
def parts(tmp_path: Path) -> dict[str, list[LabelledFace]]:
    """Faces in files; some with votes, subject, clip, a label of one's own, colour."""
    made: dict[str, list[LabelledFace]] = {"train": [], "val": []}
    for i, label in enumerate([*EMOTIONS_8, "drowsy"]):
        for part, faces in made.items():
            file = tmp_path / "pictures" / f"{part}-{label}.{'jpg' if i % 2 else 'png'}"
            file.parent.mkdir(exist_ok=True)
            image = pixels(2 * i + (part == "val"), 3 if i % 3 else 1)
            file.write_bytes(cv2.imencode(file.suffix, image)[1].tobytes())
            votes = None if i == 3 else (*range(i, i + 9), 1_000_000)
            subject, clip = (None, None) if i == 4 else (f"s{i}", f"c{i}")
            faces.append(LabelledFace(file, label, str(file), votes, subject, clip))
    return made


@pytest.mark.parametrize(("form", "name"), FORMS)
def test_a_written_data_set_comes_back(
    tmp_path: Path, parts: dict[str, list[LabelledFace]], form: Any, name: str
) -> None:
    out = pack.write_parts(tmp_path / name, parts, form)
    for part, faces in parts.items():
        again = load_faces(out, part, [*EMOTIONS_8, "drowsy"])
        known = {pixel_hash(f): f for f in faces}
        assert len(again) == len(faces)
        for face in again:
            original = known[pixel_hash(face)]
            assert face.label == original.label
            if form != "folders":
                assert face.votes == original.votes
                assert (face.subject, face.clip) == (original.subject, original.clip)


@pytest.mark.parametrize(("form", "name"), FORMS)
def test_nothing_is_written_over(
    tmp_path: Path, parts: dict[str, list[LabelledFace]], form: Any, name: str
) -> None:
    (tmp_path / name).write_text("mine")
    with pytest.raises(DataError, match="exists already"):
        pack.write_parts(tmp_path / name, parts, form)
    assert (tmp_path / name).read_text() == "mine"


@pytest.mark.parametrize(("form", "name"), FORMS[:3])
def test_a_broken_picture_leaves_nothing_behind(
    tmp_path: Path, parts: dict[str, list[LabelledFace]], form: Any, name: str
) -> None:
    parts["val"].append(LabelledFace(b"no picture", "fear", "broken", box=(0, 0, 8, 8)))
    before = sorted(tmp_path.iterdir())
    with pytest.raises(DataError, match="broken"):
        pack.write_parts(tmp_path / name, parts, form)
    assert sorted(tmp_path.iterdir()) == before


@pytest.mark.parametrize(
    "label",
    ["../../esc", "/nowhere/esc", "a/b", "a\\b", "c:esc", "..", ".", "#tired", ".hidden", "Train"],
)
def test_a_label_that_names_no_folder_is_refused(tmp_path: Path, label: str) -> None:
    data = cv2.imencode(".png", pixels(1))[1].tobytes()
    face = LabelledFace(data, label, "a")
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(DataError, match=r"cannot name a folder\. Rename it, or write parquet"):
        pack.write_parts(tmp_path / "set", {"train": [face], "val": [face]}, "folders")
    assert sorted(tmp_path.rglob("*")) == before
    assert pack.write_parts(tmp_path / "set", {"train": [face]}, "parquet").is_dir()


def test_faces_without_labels_are_written_as_folders(tmp_path: Path) -> None:
    face = LabelledFace(cv2.imencode(".png", pixels(1))[1].tobytes(), "", "a")
    out = pack.write_parts(tmp_path / "set", {"train": [face]}, "folders")
    assert len(load_faces(f"{out}@labels=none", "train")) == 1


def test_the_ending_decides_where_no_form_is_said(tmp_path: Path) -> None:
    face = LabelledFace(cv2.imencode(".png", pixels(1))[1].tobytes(), "fear", "a")
    assert h5py.is_hdf5(pack.write_parts(tmp_path / "a.h5", {"train": [face]}, None))
    assert (pack.write_parts(tmp_path / "a", {"train": [face]}, None) / "train.parquet").is_file()


def test_files_are_copied_as_they_are_and_boxes_are_cut_out(tmp_path: Path) -> None:
    image = pixels(3, 3)
    data = cv2.imencode(".png", image)[1].tobytes()
    assert pack.encoded(LabelledFace(data, "fear", "a")) == data
    cut = LabelledFace(pack.encoded(LabelledFace(data, "fear", "a", box=(2, 3, 8, 8))), "fear", "b")
    assert np.array_equal(cut.read(), image[3:11, 2:10])


def test_stored_pixels_become_lossless_pictures_and_grey_stays_grey(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "f.h5", "w") as file:
        file["image"] = np.stack([pixels(1), pixels(2)])
        file["label"] = np.array(["fear", "anger"], h5py.string_dtype())
    for face in load_faces(tmp_path / "f.h5"):
        again = cv2.imdecode(np.frombuffer(pack.encoded(face), np.uint8), cv2.IMREAD_UNCHANGED)
        assert again is not None
        assert again.ndim == 2
        assert np.array_equal(again, face.read()[..., 0])


def test_a_list_wants_files_below_it(tmp_path: Path, parts: dict[str, list[LabelledFace]]) -> None:
    (tmp_path / "elsewhere").mkdir()
    with pytest.raises(DataError, match="folder above them"):
        pack.write_parts(tmp_path / "elsewhere" / "list.csv", parts, "list")
    held = LabelledFace(cv2.imencode(".png", pixels(1))[1].tobytes(), EMOTIONS[0], "row 7")
    with pytest.raises(DataError, match="row 7"):
        pack.write_parts(tmp_path / "list.csv", {"train": [held]}, "list")
    assert not (tmp_path / "list.csv").exists()


@pytest.mark.parametrize("form", ["parquet", "hdf5"])
def test_a_fold_stays_the_same_after_packing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, form: Any
) -> None:
    monkeypatch.chdir(tmp_path)
    for i in range(12):
        file = tmp_path / "set" / ("happy" if i % 2 else "sad") / f"{i}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        picture = np.full((48, 48), i, np.uint8)
        picture[24:] = 200
        file.write_bytes(cv2.imencode(".png", picture)[1].tobytes())
    out = Path("packed.h5" if form == "hdf5" else "packed")
    pack.pack_datasets(["set"], out, form=form)

    def pixels(data: str) -> set[int]:
        return {int(face.read()[0, 0, 0]) for face in load_faces(f"{data}@without=0/3", "train")}

    assert pixels(str(out)) == pixels("set") == pixels(str(tmp_path / "set"))
    assert all(face.name.startswith(("happy/", "sad/")) for face in load_faces(out, "train"))
    pack.pack_datasets(["set", str(tmp_path / "set")], tmp_path / "two", form="parquet")
    assert {face.name.split("/")[0] for face in load_faces("two", "train")} == {"set-0", "set-1"}
