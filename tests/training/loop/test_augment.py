"""Random changes to training faces."""

from __future__ import annotations

from multiprocessing.reduction import ForkingPickler

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fer_edge.training.config.recipe import RECIPE_DIR, load_recipe
from fer_edge.training.config.schema import Augment
from fer_edge.training.loop.augment import Change, augmentation

from torchvision.transforms.v2.functional import (  # isort: skip  (after the shim)
    adjust_brightness,
    adjust_contrast,
)

MOVED = Augment(flip=0, rotate_deg=12, translate=0.06, scale=0.15)


def _disc(side: int, channels: int = 1) -> torch.Tensor:
    """Return a bright disc in the middle, uint8 ``[C, side, side]``."""
    place = torch.arange(side) - (side - 1) / 2
    inside = place[:, None] ** 2 + place[None] ** 2 < (side / 4) ** 2
    return (200 * inside).to(torch.uint8).expand(channels, -1, -1).contiguous()


def _centre(pixels: torch.Tensor) -> torch.Tensor:
    """Return the centre of brightness, row and column in pixels."""
    weight = pixels[0].double()
    places = torch.arange(weight.shape[0], dtype=torch.float64)
    return torch.stack([(weight.sum(axis) * places).sum() for axis in (1, 0)]) / weight.sum()


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 10_000), side=st.integers(24, 128), channels=st.sampled_from([1, 3]))
def test_a_face_moves_and_grows_as_far_as_the_recipe_says(
    seed: int, side: int, channels: int
) -> None:
    change = augmentation(MOVED, side)
    assert change is not None
    torch.manual_seed(seed)
    moved = change(_disc(side, channels))
    assert moved.shape == (channels, side, side)
    assert moved.dtype == torch.uint8
    assert torch.equal(moved[0], moved[-1])
    away = (_centre(moved) - (side - 1) / 2).abs()
    assert float(away.max()) <= 0.06 * side + 0.5
    area = float(moved[0].double().sum() / _disc(side)[0].double().sum())
    assert 0.85**2 * 0.93 <= area <= 1.15**2 * 1.07


def test_the_moves_fill_the_range_and_differ_from_face_to_face() -> None:
    change = augmentation(MOVED, 64)
    assert change is not None
    torch.manual_seed(0)
    away = torch.stack([_centre(change(_disc(64))) - 31.5 for _ in range(400)])
    assert away.abs().amax(0).min() > 0.05 * 64
    assert away.mean(0).abs().max() < 0.5


def test_a_rotation_turns_about_the_centre_and_fills_with_black() -> None:
    change = augmentation(Augment(flip=0, rotate_deg=45), 64)
    assert change is not None
    torch.manual_seed(3)
    turned = change(torch.full((1, 64, 64), 255, dtype=torch.uint8))
    assert int(turned[0, 28:36, 28:36].min()) == 255
    assert int(turned.min()) == 0


def test_the_same_seed_gives_the_same_face() -> None:
    change = augmentation(MOVED, 48)
    assert change is not None
    faces = []
    for _ in range(2):
        torch.manual_seed(7)
        faces.append(change(_disc(48)))
    assert torch.equal(*faces)


def test_no_change_is_no_step() -> None:
    assert augmentation(Augment(flip=0), 48) is None


@pytest.mark.parametrize("channels", [1, 3])
def test_mirrored_faces_are_exact_and_as_many_as_the_recipe_says(channels: int) -> None:
    torch.manual_seed(0)
    face = torch.randint(0, 256, (channels, 47, 47), dtype=torch.uint8)
    always, often = (augmentation(Augment(flip=share), 47) for share in (1, 0.3))
    assert always is not None
    assert often is not None
    assert torch.equal(always(face), face.flip(-1))
    drawn = [often(face) for _ in range(400)]
    assert all(torch.equal(one, face) or torch.equal(one, face.flip(-1)) for one in drawn)
    assert 90 < sum(torch.equal(one, face.flip(-1)) for one in drawn) < 150


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    channels=st.sampled_from([1, 3]),
    least=st.sampled_from([0, 100, 200]),
)
def test_light_changes_as_in_torchvision(seed: int, channels: int, least: int) -> None:
    change = augmentation(Augment(flip=0, brightness=0.4, contrast=0.4), 24)
    assert change is not None
    torch.manual_seed(seed)
    face = torch.randint(least, 256, (channels, 24, 24), dtype=torch.uint8)
    state = torch.get_rng_state()
    first, brighter, stronger = (2 * torch.rand(3) - 1).tolist()
    torch.set_rng_state(state)
    expected = face
    for name in ("brightness", "contrast") if first < 0 else ("contrast", "brightness"):
        if name == "brightness":
            expected = adjust_brightness(expected, 1 + 0.4 * brighter)
        else:
            expected = adjust_contrast(expected, 1 + 0.4 * stronger)
    assert (change(face).int() - expected.int()).abs().max() <= 3  # each step of it rounds down


def test_light_draws_its_whole_range() -> None:
    change = augmentation(Augment(flip=0, brightness=0.4, contrast=0.4), 24)
    assert change is not None
    torch.manual_seed(0)
    face = torch.full((1, 24, 24), 100, dtype=torch.uint8)  # contrast leaves an even picture
    means = torch.stack([change(face).float().mean() for _ in range(400)])
    assert 60 <= means.min() < 65
    assert 135 < means.max() <= 140


def _drawn(change: Change | None) -> torch.Tensor:
    assert change is not None
    torch.manual_seed(0)
    return torch.cat([change(_disc(256)).flatten() for _ in range(5)])


def test_every_augmentation_comes_back_from_a_pickle(every_augmentation: Augment) -> None:
    """Processes that load faces are spawned on macOS and Windows."""
    for spec in (every_augmentation, *(load_recipe(p).augment for p in RECIPE_DIR.glob("*.yaml"))):
        change = augmentation(spec, 256)
        again = ForkingPickler.loads(ForkingPickler.dumps(change))
        assert torch.equal(_drawn(change), _drawn(again))
