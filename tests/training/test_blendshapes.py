"""Blendshapes teach as any opinions do, and no face is judged by what was fitted to it."""

from __future__ import annotations

import sys
import zipfile
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from click.testing import CliRunner

sys.path.insert(0, str(Path(__file__).parent))  # importlib mode does not add this folder
from landmarker_file import blendshapes_network, write_task

from fer_edge.errors import DataError
from fer_edge.preprocess import Image
from fer_edge.training.blendshapes import main, write_blendshape_opinions
from fer_edge.training.data.faces import load_faces
from fer_edge.training.face_mesh import FaceMesh
from fer_edge.training.loop.opinions import read_opinion

LABELS = ["happiness", "sadness"]


@pytest.fixture(scope="module")
def task(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_task(tmp_path_factory.mktemp("task") / "face_landmarker.task")


def noise(seed: int, light: slice | None = None) -> Image:
    """A picture of chance, with brighter rows."""
    image = np.random.default_rng(seed).integers(60, 120, (48, 48, 3), np.uint8)
    if light is not None:
        image[light] += 120
    return image


def folder(root: Path, pictures: dict[str, list[Image]]) -> Path:
    """A data set of class folders."""
    for label, images in pictures.items():
        (root / label).mkdir(parents=True, exist_ok=True)
        for i, image in enumerate(images):
            cv2.imwrite(str(root / label / f"{i:03d}.png"), image)
    return root


def quiet(_: str) -> None:
    pass


def test_the_command_writes_opinions_that_a_run_reads(task: Path, tmp_path: Path) -> None:
    data = folder(
        tmp_path / "data",
        {
            "happiness": [noise(i, slice(0, 24)) for i in range(20)],
            "sadness": [noise(100 + i, slice(24, 48)) for i in range(20)],
        },
    )
    more = folder(tmp_path / "more", {"": [noise(300 + i, slice(0, 24)) for i in range(3)]})
    out = tmp_path / "op" / "blendshapes.parquet"
    ran = CliRunner().invoke(
        main, [str(task), "--data", str(data), "--unlabelled", str(more), "-o", str(out)]
    )
    assert ran.exit_code == 0, ran.output
    assert "43 faces, 0 of them without a mesh. Labelled faces: 100.0% right" in ran.output
    faces = load_faces(f"{more}@labels=none", "train")
    assert (read_opinion(out, faces, LABELS).argmax(1) == 0).all()


def test_labels_of_chance_stay_unknown(task: Path, tmp_path: Path) -> None:
    # 53 values explain most of 60 labels; duplicates would give them away as well.
    pictures = [noise(i) for i in range(60)]
    data = folder(tmp_path / "data", {"happiness": pictures[:30] * 2, "sadness": pictures[30:] * 2})
    result = write_blendshape_opinions(task, (str(data),), (), tmp_path / "o.parquet", quiet)
    assert result.faces == 120
    assert result.accuracy < 0.75


def test_faces_without_a_mesh_have_the_shares_of_their_like(task: Path, tmp_path: Path) -> None:
    dark = [np.full((48, 48, 3), i, np.uint8) for i in range(1, 17)]
    data = folder(
        tmp_path / "data",
        {
            "happiness": [noise(i, slice(0, 24)) for i in range(10)] + dark[:12],
            "sadness": [noise(100 + i, slice(24, 48)) for i in range(10)] + dark[12:],
        },
    )
    more = folder(tmp_path / "more", {"": [np.full((48, 48, 3), 20, np.uint8)]})
    out = tmp_path / "o.parquet"
    result = write_blendshape_opinions(task, (str(data),), (str(more),), out, quiet)
    assert result.without_mesh == 17
    opinion = read_opinion(out, load_faces(f"{more}@labels=none", "train"), LABELS).exp()
    assert torch.allclose(opinion, torch.tensor([[0.75, 0.25]]).double(), atol=0.02)


@pytest.mark.parametrize(("height", "width"), [(48, 48), (30, 50)])
def test_landmarks_are_in_pixels_of_the_picture(task: Path, height: int, width: int) -> None:
    mesh = FaceMesh(task).read(
        [np.full((k * height, k * width, 3), 200, np.uint8) for k in (1, 2, 3)]
    )
    for k in (2, 3):
        assert mesh.landmarks[k - 1] == pytest.approx(k * mesh.landmarks[0], abs=0.05 * k)
    assert (mesh.presence > 0.99).all()
    assert mesh.blendshapes.shape == (3, 52)


def test_another_file_is_refused_in_a_sentence(task: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.task"
    with pytest.raises(DataError, match=r"cannot read .* Give MediaPipe's face_landmarker\.task"):
        FaceMesh(other)
    other.write_bytes(b"no zip")
    with pytest.raises(DataError, match="cannot read"):
        FaceMesh(other)
    with zipfile.ZipFile(other, "w") as empty:
        empty.writestr("a", b"")
    with pytest.raises(DataError, match=r"expected face_landmarks_detector\.tflite and"):
        FaceMesh(other)
    swapped = {"face_landmarks_detector.tflite": blendshapes_network()}
    with pytest.raises(DataError, match="expected 478 landmarks, a score and 52 blendshapes"):
        FaceMesh(write_task(other, **swapped))
    with pytest.raises(DataError, match=r"other\.task"):
        FaceMesh(write_task(other, **{"face_blendshapes.tflite": b"damaged"}))


@pytest.mark.parametrize("method", [zipfile.ZIP_DEFLATED, zipfile.ZIP_LZMA])
def test_a_compressed_file_that_is_damaged_is_a_sentence(
    task: Path, tmp_path: Path, method: int
) -> None:
    other = tmp_path / "other.task"
    with zipfile.ZipFile(task) as whole, zipfile.ZipFile(other, "w", method) as packed:
        for name in whole.namelist():
            packed.writestr(name, whole.read(name))
    data = bytearray(other.read_bytes())
    data[200:400] = bytes(200)
    other.write_bytes(data)
    with pytest.raises(DataError, match=r"cannot read .* Give MediaPipe's"):
        FaceMesh(other)
