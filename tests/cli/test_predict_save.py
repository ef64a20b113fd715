"""``fer-edge predict --save``: drawn pictures in a file or a folder, and what is never replaced."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fer_edge.atomic import _HOST
from fer_edge.preprocess import read_image
from fer_edge.shipped import FACES

HAPPY = FACES / "happiness.png"


def test_save_draws_one_image_into_a_file(
    run: Any, photo: Path, two: None, fake_bundle: Path, tmp_path: Path
) -> None:
    result = run("predict", photo, "--bundle", fake_bundle, "--save", "drawn.jpg", "--json")
    assert json.loads(result.stdout)[0]["saved"] == "drawn.jpg"
    drawn = read_image(tmp_path / "drawn.jpg")
    assert drawn.shape == (320, 480, 3)
    assert np.abs(drawn.astype(int) - read_image(photo)).max() > 60


def test_save_draws_several_images_into_a_folder(
    run: Any, photo: Path, two: None, fake_bundle: Path, tmp_path: Path
) -> None:
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "photo.png").write_bytes(photo.read_bytes())
    for _ in range(2):  # what the first run drew is drawn again
        result = run("predict", photo, "b", "--bundle", fake_bundle, "--save", "out")
        assert result.exit_code == 0
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == ["photo-2.png", "photo.png"]


def test_save_sweeps_its_folder_once(
    run: Any, photo: Path, two: None, fake_bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, looks, scandir = photo.parent / "out", [], os.scandir
    out.mkdir()
    left = out / f".gone.png.{_HOST}-{2**22 + 1}-abc.tmp"  # no pid is that high
    left.touch()

    def noted(path: Any = ".") -> Any:
        looks.append(os.path.realpath(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", noted)
    result = run("predict", photo, *FACES.glob("*s*.png"), "--bundle", fake_bundle, "--save", "out")
    assert result.exit_code == 0, result.output
    assert looks.count(os.path.realpath(out)) == 1
    assert len(list(out.glob("*.png"))) == 5
    assert not left.exists()


@pytest.mark.parametrize(
    ("images", "save", "code"),
    [(1, "drawn.gif", 3), (2, "drawn.png", 2), (1, "photo.png", 3), (1, "no/drawn.png", 3)],
)
def test_save_refuses_what_it_cannot_write(
    images: int,
    save: str,
    code: int,
    run: Any,
    photo: Path,
    two: None,
    fake_bundle: Path,
) -> None:
    before = photo.read_bytes()
    names = [photo, HAPPY][:images]
    result = run("predict", *names, "--bundle", fake_bundle, "--save", save)
    assert result.exit_code == code
    assert photo.read_bytes() == before


def test_save_never_writes_over_an_image(
    run: Any, photo: Path, fake_bundle: Path, tmp_path: Path
) -> None:
    (tmp_path / "photo.bmp").write_bytes(photo.read_bytes())
    before = photo.read_bytes()
    names = ["photo.bmp", "photo.png", "--crop", "--save", "."]
    result = run("predict", *names, "--bundle", fake_bundle)
    assert result.exit_code == 3
    assert "photo.png is one of the images" in result.stderr
    assert photo.read_bytes() == before


def test_save_never_writes_over_another_picture_in_its_folder(
    run: Any, photo: Path, two: None, fake_bundle: Path, tmp_path: Path
) -> None:
    (tmp_path / "tour.jpg").write_bytes(photo.read_bytes())
    (tmp_path / "tour.png").write_bytes(photo.read_bytes())
    result = run("predict", "tour.jpg", HAPPY, "--bundle", fake_bundle, "--save", ".")
    assert "tour.png is there, and fer-edge did not draw it" in result.stderr
    assert (tmp_path / "tour.png").read_bytes() == photo.read_bytes()
    assert (tmp_path / "happiness.png").exists()


def test_save_waits_for_no_pipe_in_its_folder(
    run: Any, photo: Path, two: None, fake_bundle: Path, tmp_path: Path
) -> None:
    (tmp_path / "out").mkdir()
    os.mkfifo(tmp_path / "out" / "photo.png")
    result = run("predict", photo, "--bundle", fake_bundle, "--save", "out")
    assert "photo.png is there, and fer-edge did not draw it" in result.stderr
    assert (tmp_path / "out" / "photo.png").is_fifo()


def test_save_says_how_a_name_with_a_dot_becomes_a_folder(
    run: Any, photo: Path, two: None, fake_bundle: Path, tmp_path: Path
) -> None:
    words = ["predict", photo, HAPPY, "--bundle", fake_bundle, "--save", "out.2026/"]
    result = run(*words)
    assert result.exit_code == 2
    assert "make it first: mkdir out.2026" in " ".join(result.stderr.split())
    (tmp_path / "out.2026").mkdir()
    assert run(*words).exit_code == 0
