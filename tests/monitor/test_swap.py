"""A monitor exchanges its bundle between frames, and its states say which one answered."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from fer_edge import BundleError, InputError, Predictor, open_bundle
from fer_edge.backends.fake import write_fake_bundle
from fer_edge.bundle import write_bundle
from fer_edge.monitor import DriverMonitor, Frames, WholeFrame
from fer_edge.preprocess import Image

Picture = Callable[..., Image]


@pytest.fixture
def monitor(fake_bundle: Path, picture: Picture) -> DriverMonitor:
    frames = Frames((picture(n) for n in range(120)), hz=30)
    return DriverMonitor(fake_bundle, frames, detector=WholeFrame())


def test_the_new_bundle_answers_from_the_next_frame_on(
    monitor: DriverMonitor, fake_bundle: Path, tmp_path: Path
) -> None:
    new = write_fake_bundle(tmp_path / "new.fer", {"fear": 0.9})
    with monitor:
        before = [next(monitor) for _ in range(40)]
        monitor.swap(new)
        after = list(monitor)
    assert {state.bundle_sha256 for state in before} == {open_bundle(fake_bundle).sha256}
    assert {state.bundle_sha256 for state in after} == {open_bundle(new).sha256}
    assert before[-1].driver is not None
    assert after[-1].driver is not None
    assert (before[-1].driver.label, after[-1].driver.label) == ("neutral", "fear")
    assert after[-1].as_dict()["bundle_sha256"] == open_bundle(new).sha256


def test_a_bundle_of_another_crop_rule_is_refused(
    monitor: DriverMonitor, fake_bundle: Path, tmp_path: Path
) -> None:
    opened = open_bundle(fake_bundle)
    other = replace(opened, path=tmp_path / "other.fer", crop=replace(opened.crop, size_px=64))
    write_bundle(other, opened.read(opened.variants[0]))
    with monitor:
        with pytest.raises(BundleError, match="crop rule"):
            monitor.swap(other.path)
        assert next(monitor).bundle_sha256 == opened.sha256


def test_a_shared_predictor_is_swapped_by_its_owner(fake_bundle: Path, picture: Picture) -> None:
    frames = Frames((picture(n) for n in range(5)), hz=30)
    with (
        Predictor(fake_bundle) as predictor,
        DriverMonitor(predictor, frames, detector=WholeFrame()) as monitor,
        pytest.raises(InputError, match=r"swap\(\)"),
    ):
        monitor.swap(fake_bundle)
