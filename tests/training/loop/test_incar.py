"""In-car changes: bounds, fresh draws, places, and off by default."""

from __future__ import annotations

from multiprocessing.reduction import ForkingPickler
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import pytest
import torch
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from fer_edge.errors import DataError
from fer_edge.preprocess import Image, read_image
from fer_edge.shipped import FACES
from fer_edge.training.config.schema import Augment, InCar
from fer_edge.training.data.dataset_spec import DatasetSpec
from fer_edge.training.data.faces import load_faces
from fer_edge.training.face_mesh import PRESENT, FaceMesh, Meshes
from fer_edge.training.loop.augment import augmentation
from fer_edge.training.loop.incar import (
    CHANGES,
    Change,
    as_image,
    changed,
    contact_sheet,
    in_car,
    main,
    one_of,
    turned,
)


def face(channels: int, size_px: int = 48) -> torch.Tensor:
    image = cv2.resize(read_image(FACES / "happiness.png"), (size_px, size_px))
    return torch.from_numpy(image).permute(2, 0, 1)[:channels].contiguous()


@pytest.mark.parametrize("name", CHANGES)
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("size_px", [33, 48, 224])
def test_a_change_keeps_shape_and_type_and_changes_something(
    name: str, channels: int, size_px: int
) -> None:
    torch.manual_seed(0)
    pixels = face(channels, size_px)
    before = pixels.clone()
    after = changed(CHANGES[name], pixels)
    assert (after.shape, after.dtype) == (pixels.shape, torch.uint8)
    assert not torch.equal(after, before)
    assert torch.equal(pixels, before)
    assert not torch.equal(changed(CHANGES[name], pixels), after)  # drawn again


@given(st.integers(0, 2**31), st.sampled_from(sorted(CHANGES)), st.sampled_from([0, 255]))
def test_black_and_white_pictures_stay_finite(seed: int, name: str, value: int) -> None:
    torch.manual_seed(seed)
    after = CHANGES[name](torch.full((3, 24, 24), value / 255))
    assert torch.isfinite(after).all()


@pytest.mark.parametrize("name", CHANGES)
def test_the_same_seed_draws_the_same(name: str) -> None:
    torch.manual_seed(5)
    one = changed(CHANGES[name], face(3))
    torch.manual_seed(5)
    assert torch.equal(changed(CHANGES[name], face(3)), one)


def test_things_that_are_worn_cover_their_part_and_leave_the_rest() -> None:
    for seed in range(20):
        torch.manual_seed(seed)
        x = torch.rand(1, 48, 48)
        other = x.clone()
        other[:, 36:42, 18:30] = 0  # another mouth
        glasses, mask = ((CHANGES[name], seed) for name in ("sunglasses", "mask"))
        assert torch.equal(drawn(*glasses, x)[:, 30:], x[:, 30:])  # the mouth is free
        assert torch.equal(drawn(*mask, x)[:, :24], x[:, :24])  # and here the eyes are
        eye = drawn(*glasses, x)[:, 16:20, 12:16]
        assert eye.mean() < 0.7 * x[:, 16:20, 12:16].mean()
        assert torch.equal(drawn(*mask, other), drawn(*mask, x))  # nothing of a mouth shows


def drawn(change: Change, seed: int, x: torch.Tensor) -> torch.Tensor:
    torch.manual_seed(seed)
    return change(x)


def test_near_infrared_has_no_colour() -> None:
    torch.manual_seed(0)
    after = CHANGES["near_infrared"](torch.rand(3, 48, 48))
    assert torch.equal(after[0], after[1])
    assert torch.equal(after[1], after[2])


def test_night_noise_has_fine_and_coarse_grain() -> None:
    torch.manual_seed(0)
    alike = []
    for _ in range(60):
        noise = CHANGES["night_noise"](torch.full((1, 128, 128), 0.5))[0]
        noise = noise - noise.mean()
        alike.append(float((noise[:, 1:] * noise[:, :-1]).mean() / noise.square().mean()))
    assert min(alike) < 0.1  # neighbours independent: a pixel of the camera is one of the crop's
    assert max(alike) > 0.7  # 40 pixels of the camera across 128


def test_a_turned_head_moves_the_nose_and_narrows_one_cheek() -> None:
    x = torch.zeros(1, 96, 96)
    for column in (10, 48, 85):  # right cheek, nose, left cheek of the picture
        x[:, :, column - 1 : column + 2] = 1
    left, nose, right = marks(turned(x, 25)[0, 48])
    assert nose > 48.5
    assert right - nose < 0.75 * (nose - left)
    assert torch.allclose(turned(x, 0), x, atol=0.05)  # OpenCV rounds to 1/32 pixel


@given(st.floats(-30, 30), st.integers(0, 2**31))
def test_turning_left_is_turning_right_in_a_mirror(angle: float, seed: int) -> None:
    x = torch.rand(3, 40, 40, generator=torch.Generator().manual_seed(seed))
    mirrored = turned(x.flip(2), -angle).flip(2)
    assert torch.allclose(turned(x, angle), mirrored, atol=0.05)  # OpenCV rounds to 1/32 pixel


@pytest.mark.parametrize("angle_deg", [-20, 20])
def test_landmarks_of_a_turned_face_turn_with_it(shared: Path, angle_deg: float) -> None:
    """MediaPipe's landmarks read 14 degrees of 20."""
    data = DatasetSpec.parse(str(shared / "data" / "fer2013"))
    faces = [face.read() for face in load_faces(data, "val", None, print)[:60]]
    mesh = FaceMesh(shared / "data" / "weights" / "face_landmarker.task")
    before = mesh.read(faces)
    after = mesh.read([image_turned(image, angle_deg) for image in faces])
    frontal = (abs(yaw_deg(before)) < 10) & (np.minimum(before.presence, after.presence) > PRESENT)
    assert frontal.sum() > 20
    read_deg = float((yaw_deg(after) - yaw_deg(before))[frontal].mean())
    assert 0.6 < read_deg / angle_deg < 0.9


def image_turned(image: Image, angle_deg: float) -> Image:
    pixels = torch.from_numpy(image).permute(2, 0, 1)
    return as_image(changed(lambda x: turned(x, angle_deg), pixels))


def yaw_deg(meshes: Meshes) -> npt.NDArray[np.float32]:
    """Return how far the nose points to the right of the picture, by both sides of the face."""
    across = meshes.landmarks[:, 454] - meshes.landmarks[:, 234]
    return np.rad2deg(np.arctan2(across[:, 2], across[:, 0]))


def marks(row: torch.Tensor) -> list[float]:
    """Return the middle of each bright stretch of a row, in pixels."""
    lit = torch.nonzero(row > 0.5)[:, 0].tolist()
    groups: list[list[int]] = []
    for column in lit:
        if groups and column - groups[-1][-1] <= 2:
            groups[-1].append(column)
        else:
            groups.append([column])
    return [sum(g) / len(g) for g in groups]


def test_shares_say_how_often() -> None:
    assert in_car(InCar()) == []
    assert augmentation(Augment(flip=0), 48) is None
    torch.manual_seed(0)
    change = augmentation(Augment(flip=0, incar=InCar(mask=0.25)), 48)
    assert change is not None
    pixels = face(1)
    count = sum(not torch.equal(change(pixels), pixels) for _ in range(400))
    assert 70 < count < 130


def test_the_contact_sheet_in_the_documentation_is_what_the_code_draws(tmp_path: Path) -> None:
    contact_sheet(tmp_path / "incar.png")
    ours = cv2.imread(str(tmp_path / "incar.png"))
    shipped = cv2.imread(str(Path(__file__).parents[3] / "docs/images/in-car.png"))
    assert ours.shape == shipped.shape
    assert cv2.absdiff(ours, shipped).mean() < 1  # a machine may round otherwise


def test_the_command_draws_the_sheet_or_says_what_is_wrong(tmp_path: Path) -> None:
    assert CliRunner().invoke(main, [str(tmp_path / "a.png")]).exit_code == 0
    assert (tmp_path / "a.png").stat().st_size > 1000
    done = CliRunner().invoke(main, [str(tmp_path / "none" / "a.png")])
    assert (done.exit_code, "Choose another file" in done.output) == (DataError.exit_code, True)
    assert CliRunner().invoke(main, []).exit_code == 2


def test_one_effect_comes_back_from_a_pickle() -> None:
    pixels = []
    change = one_of(InCar(**dict.fromkeys(CHANGES, 0.1)))
    for copy in (change, ForkingPickler.loads(ForkingPickler.dumps(change))):
        torch.manual_seed(0)
        pixels.append(torch.stack([copy(face(1)) for _ in range(20)]))
    assert torch.equal(*pixels)
