"""Faces that calibrate are never faces that verify."""

from __future__ import annotations

import weakref
from pathlib import Path

import pytest

from fer_edge.converters.pipeline import face_samples
from fer_edge.converters.pipeline.convert import convert
from fer_edge.converters.pipeline.face_samples import FaceSamples, calibration_faces, parity_faces
from fer_edge.errors import DataError
from fer_edge.labels import EMOTIONS
from fer_edge.preprocess import CropRule, Image, resize_into


def pictures(faces: FaceSamples) -> set[bytes]:
    return {image.tobytes() for image in faces.images}


def test_the_gate_and_the_calibration_share_no_picture(
    gate: FaceSamples, calibration: FaceSamples
) -> None:
    assert not pictures(gate) & pictures(calibration)
    assert len(calibration.images) == 300


def test_calibration_is_stratified_and_follows_its_seed(
    gate: FaceSamples, calibration: FaceSamples
) -> None:
    counts = [calibration.truth.count(name) for name in EMOTIONS]
    assert max(counts) - min(counts) <= 1
    rule = CropRule(48, 0.1)
    same, other = (calibration_faces(None, EMOTIONS, rule, gate, s) for s in (2026, 7))
    assert same.sha256 == calibration.sha256 != other.sha256


def as_folders(folder: Path, faces: FaceSamples, **parts: slice) -> Path:
    """Some of the faces as PNG in class folders, for each part."""
    import cv2

    for part, which in parts.items():
        for i in range(len(faces.images))[which]:
            target = folder / part / faces.truth[i]
            target.mkdir(parents=True, exist_ok=True)
            cv2.imwrite(str(target / f"{i}.png"), faces.images[i])
    return folder


def test_a_picture_that_judges_is_not_calibrated_on(tmp_path: Path, gate: FaceSamples) -> None:
    source = as_folders(tmp_path, gate, train=slice(0, 200), val=slice(150, 336))
    rule = CropRule(48, 0.1)
    judges = parity_faces(source, EMOTIONS, rule)
    calibrates = calibration_faces(source, EMOTIONS, rule, judges, 1)
    assert (len(judges.images), len(calibrates.images)) == (186, 150)
    assert not pictures(judges) & pictures(calibrates)


def test_faces_are_named_by_their_data_set_and_its_options(
    tmp_path: Path, gate: FaceSamples
) -> None:
    source = Path(f"{as_folders(tmp_path, gate, val=slice(0, 100))}@drop=anger/fear")
    name = f"{tmp_path.name}@drop=anger/fear"
    assert parity_faces(source, EMOTIONS, CropRule(48, 0.1)).source.startswith(f"{name}, ")


def test_faces_that_all_judge_cannot_calibrate(tmp_path: Path, gate: FaceSamples) -> None:
    source = as_folders(tmp_path, gate, train=slice(0, 120), val=slice(0, 120))
    rule = CropRule(48, 0.1)
    with pytest.raises(DataError, match="--calibrate"):
        calibration_faces(source, EMOTIONS, rule, parity_faces(source, EMOTIONS, rule), 1)


def test_a_source_without_a_val_part_is_said_in_the_converters_words(
    tmp_path: Path, gate: FaceSamples
) -> None:
    """convert has no --split."""
    source = as_folders(tmp_path, gate, train=slice(0, 120))
    with pytest.raises(DataError, match="val") as caught:
        parity_faces(source, EMOTIONS, CropRule(48, 0.1))
    assert "--split" not in str(caught.value)


def test_few_faces_judge_as_moved_copies(tmp_path: Path, gate: FaceSamples) -> None:
    source = as_folders(tmp_path / "faces", gate, train=slice(0, 120), val=slice(120, 160))
    faces = parity_faces(source, EMOTIONS, CropRule(48, 0.1))
    assert len(faces.images) == len(faces.truth) == 1_000
    assert len(set(faces.hashes)) > 990
    assert faces.source == "faces, 40 faces moved and mirrored"
    assert faces.sha256 == parity_faces(source, EMOTIONS, CropRule(48, 0.1)).sha256


def test_too_few_faces_give_no_verdict(tmp_path: Path, gate: FaceSamples) -> None:
    source = as_folders(tmp_path / "faces", gate, train=slice(0, 120), val=slice(120, 129))
    with pytest.raises(DataError, match=r"at least 10 faces.* got 9"):
        parity_faces(source, EMOTIONS, CropRule(48, 0.1))


def test_own_labels_ask_for_own_faces() -> None:
    with pytest.raises(DataError, match=r"awake, drowsy.*--data FOLDER"):
        parity_faces(None, ("awake", "drowsy"), CropRule(48, 0.1))


def test_a_damaged_picture_is_named_even_if_no_calibration_is_needed(
    checkpoint: Path, tmp_path: Path, gate: FaceSamples
) -> None:
    source = as_folders(tmp_path, gate, train=slice(0, 120), val=slice(120, 240))
    (next((source / "train").iterdir()) / "bad.png").write_bytes(b"no picture")
    with pytest.raises(DataError, match=r"bad\.png"):
        convert(checkpoint, ["onnxruntime"], tmp_path / "x.fer", ["fp32"], data=source, say=str)


@pytest.mark.parametrize(("judging", "most"), [(186, 3), (40, 43)], ids=["faces", "moved copies"])
def test_pictures_in_their_own_size_are_not_held_together(
    tmp_path: Path, gate: FaceSamples, monkeypatch: pytest.MonkeyPatch, judging: int, most: int
) -> None:
    source = as_folders(tmp_path, gate, val=slice(0, judging))
    alive: list[int] = []
    pictures: list[weakref.ref[Image]] = []

    def watched(picture: Image, out: Image) -> None:
        pictures.append(weakref.ref(picture))
        alive.append(sum(each() is not None for each in pictures))
        resize_into(picture, out)

    monkeypatch.setattr(face_samples, "resize_into", watched)
    faces = parity_faces(source, EMOTIONS, CropRule(48, 0.1))
    assert len(alive) == len(faces.images) >= judging
    assert max(alive) <= most  # few originals stay, to be moved again


def test_a_folder_without_parts_converts_what_needs_no_calibration(
    checkpoint: Path, tmp_path: Path, gate: FaceSamples
) -> None:
    source = as_folders(tmp_path, gate, all=slice(0, 120)) / "all"
    said: list[str] = []
    with pytest.raises(DataError, match="fer-edge data split"):
        convert(checkpoint, ["onnxruntime"], tmp_path / "x.fer", ["int8"], data=source, say=str)
    bundle = convert(
        checkpoint, ["onnxruntime"], tmp_path / "x.fer", ["fp32"], data=source, say=said.append
    )
    assert [variant.name for variant in bundle.variants] == ["onnxruntime/fp32"]
    assert "120 faces judge, none is left for calibration, and none is needed" in said
    with pytest.raises(DataError, match="nowhere"):
        convert(
            checkpoint,
            ["onnxruntime"],
            tmp_path / "y.fer",
            ["fp32"],
            data=source,
            calibrate=tmp_path / "nowhere",
            say=str,
        )
