"""Fixtures that several commands' tests share."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
from click.testing import CliRunner, Result

from fer_edge.cli import main
from fer_edge.manifest import sealed
from fer_edge.monitor import Boxes, detector_default
from fer_edge.preprocess import read_image
from fer_edge.shipped import FACES


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Result]:
    """Invoke ``fer-edge`` in an empty folder; any exception but an exit fails the test."""
    monkeypatch.chdir(tmp_path)

    def invoke(*arguments: object) -> Result:
        result = CliRunner().invoke(main, [str(argument) for argument in arguments])
        assert result.exception is None or isinstance(result.exception, SystemExit), (
            f"{result.exception!r} reached the user"
        )
        return result

    return invoke


@pytest.fixture
def damaged_bundle(fake_bundle: Path) -> Path:
    """Bundle in which one file does not match its hash."""
    (fake_bundle / "fake-fp32" / "answers.json").write_bytes(b"{}")
    return fake_bundle


@pytest.fixture
def somechip_bundle(fake_bundle: Path) -> Path:
    """Bundle for a chip that fer_edge does not know."""
    manifest = json.loads((fake_bundle / "bundle.json").read_text("utf-8"))
    manifest["variants"][0]["target"] = "somechip"
    (fake_bundle / "bundle.json").write_text(json.dumps(sealed(manifest)), "utf-8")
    return fake_bundle


@pytest.fixture
def text_named_jpg(tmp_path: Path) -> Path:
    path = tmp_path / "notes.jpg"
    path.write_text("not a picture")
    return path


PLACES = [(40, 60, 96, 96), (300, 150, 96, 96)]
"""Boxes of the two composites in photo.png."""


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    """Two composites on a grey canvas of 480x320."""
    picture = np.full((320, 480, 3), 120, np.uint8)
    for name, (x, y, w, h) in zip(("happiness", "surprise"), PLACES, strict=True):
        picture[y : y + h, x : x + w] = cv2.resize(read_image(FACES / f"{name}.png"), (w, h))
    path = tmp_path / "photo.png"
    path.write_bytes(cv2.imencode(".png", picture)[1].tobytes())
    return path


@pytest.fixture
def two(monkeypatch: pytest.MonkeyPatch) -> None:
    """The default detector finds a face at both places, in any picture."""
    boxes = Boxes(lambda _: PLACES)
    monkeypatch.setattr(detector_default, "default_detector", lambda file=None: boxes)
