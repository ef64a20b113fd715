"""A monitor exchanges its bundle between frames, and its states say which one answered."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from fer_edge import BundleError, InputError, Predictor, open_bundle
from fer_edge.backends.fake import FakeSession, write_fake_bundle
from fer_edge.bundle import write_bundle
from fer_edge.labels import EMOTIONS
from fer_edge.monitor import DriverMonitor, Frames, HealthCause, Settings, WholeFrame
from fer_edge.preprocess import CropRule, Image

Picture = Callable[..., Image]


def changed(bundle: Path, path: Path, **changes: Any) -> Path:
    """Write a bundle with other facts and the same engines."""
    opened = open_bundle(bundle)
    contents = {file.path: (bundle / file.path).read_bytes() for file in opened.files}
    write_bundle(replace(opened, path=path, **changes), contents)
    return path


def rewritten(bundle: Path, **changes: Any) -> None:
    """Put a bundle with other facts at the same path."""
    new = changed(bundle, bundle.with_suffix(".new"), **changes)
    shutil.rmtree(bundle)
    new.rename(bundle)


@pytest.fixture
def sides(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Side of each batch that reaches an engine."""
    seen: list[int] = []
    run = FakeSession.run

    def watched(self: FakeSession, batch: Any) -> Any:
        seen.append(batch.shape[1])
        return run(self, batch)

    monkeypatch.setattr(FakeSession, "run", watched)
    return seen


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


@pytest.mark.parametrize("swapped", [False, True])
def test_a_relative_path_is_that_of_the_folder_at_the_start(
    fake_variants: Callable[..., Path],
    picture: Picture,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    swapped: bool,
) -> None:
    bundle = fake_variants(int8={"fail_after": 25}, fp32={})
    monkeypatch.chdir(bundle.parent)
    frames = Frames((picture(n) for n in range(60)), hz=30)
    with DriverMonitor(bundle.name, frames, detector=WholeFrame()) as monitor:
        if swapped:
            monitor.swap(bundle.name)
        next(monitor)
        (tmp_path / "elsewhere").mkdir()
        monkeypatch.chdir(tmp_path / "elsewhere")  # as a daemon goes to /
        last = list(monitor)[-1]
    assert list(last.health.causes) == [HealthCause.FAILOVER]
    assert last.driver is not None


def test_a_shared_predictor_is_swapped_by_its_owner(fake_bundle: Path, picture: Picture) -> None:
    frames = Frames((picture(n) for n in range(5)), hz=30)
    with (
        Predictor(fake_bundle) as predictor,
        DriverMonitor(predictor, frames, detector=WholeFrame()) as monitor,
        pytest.raises(InputError, match=r"swap\(\)"),
    ):
        monitor.swap(fake_bundle)


def test_a_monitor_follows_the_swap_of_a_shared_predictor(
    fake_bundle: Path, picture: Picture, tmp_path: Path, sides: list[int]
) -> None:
    unsure = write_fake_bundle(tmp_path / "unsure.fer", {"neutral": 0.7})
    new = changed(unsure, tmp_path / "new.fer", crop=CropRule(64, 0.5), abstain_below=0.95)
    frames = Frames((picture(n) for n in range(120)), hz=30)
    settings = Settings(baseline_s=1.0)
    with (
        Predictor(fake_bundle) as predictor,
        DriverMonitor(predictor, frames, detector=WholeFrame(), settings=settings) as monitor,
    ):
        before = [next(monitor) for _ in range(60)][-1]
        assert sides[-1] == 48
        predictor.swap(new)
        sides.clear()
        first, *_, last = list(monitor)
    assert set(sides) == {64}
    assert before.driver is not None
    assert first.driver is not None
    assert last.driver is not None
    assert {first.bundle_sha256, last.bundle_sha256} == {open_bundle(new).sha256}
    assert before.bundle_sha256 == open_bundle(fake_bundle).sha256
    assert (before.driver.label, last.driver.label) == ("neutral", None)
    assert "0.95" in str(last.driver.reason)
    assert before.driver.baseline is not None
    assert first.driver.baseline is not None
    assert before.driver.baseline.ready
    assert not first.driver.baseline.ready  # it was learned from another network's answers


def test_a_swap_ends_the_failover_of_a_monitor(
    fake_variants: Callable[..., Path], picture: Picture, tmp_path: Path
) -> None:
    """A monitor whose shared engine failed runs one of its own, with the old bundle."""
    old = fake_variants(int8={"fail_after": 10}, fp32={})
    new = write_fake_bundle(tmp_path / "new.fer", {"fear": 0.9})
    frames = Frames((picture(n) for n in range(120)), hz=30)
    with (
        Predictor(old) as predictor,
        DriverMonitor(predictor, frames, detector=WholeFrame()) as monitor,
    ):
        states = [next(monitor) for _ in range(60)]
        assert states[-1].health.causes == {HealthCause.FAILOVER: "degraded"}
        predictor.swap(new)
        states = list(monitor)
        assert monitor.predictor is predictor
    assert states[0].bundle_sha256 == open_bundle(new).sha256
    assert states[-1].driver is not None
    assert states[-1].driver.label == "fear"
    assert states[-1].health.status == "ok"


@pytest.mark.parametrize("shared", [False, True])
def test_other_labels_on_disk_are_no_answer(
    fake_variants: Callable[..., Path], picture: Picture, *, shared: bool
) -> None:
    """The engine fails, and meanwhile a bundle of other labels lies at the same path."""
    path = fake_variants(int8={"fail_after": 30}, fp32={})
    frames = Frames((picture(n) for n in range(120)), hz=30)
    predictor = Predictor(path) if shared else None
    with DriverMonitor(predictor or path, frames, detector=WholeFrame()) as monitor:
        first = next(monitor)
        assert first.health.status == "ok"
        rewritten(path, labels=EMOTIONS[::-1])
        states = list(monitor)
    if predictor is not None:
        predictor.close()
    assert states[-1].health.status == "lost"
    assert any("expected the labels" in reason for reason in states[-1].health.reasons)
    assert {state.bundle_sha256 for state in states} == {first.bundle_sha256}


def test_a_bundle_on_disk_without_the_variant_that_failed_is_followed(
    fake_variants: Callable[..., Path], picture: Picture
) -> None:
    path = fake_variants(int8={"fail_after": 30}, fp32={})
    frames = Frames((picture(n) for n in range(60)), hz=30)
    with DriverMonitor(path, frames, detector=WholeFrame()) as monitor:
        next(monitor)
        shutil.rmtree(path)
        fake_variants(bf16={})
        states = list(monitor)
    assert "lost" not in [state.health.status for state in states]
    assert states[-1].bundle_sha256 == open_bundle(path).sha256


def test_another_crop_rule_on_disk_is_followed(
    fake_variants: Callable[..., Path], picture: Picture, sides: list[int]
) -> None:
    """The engine fails, and meanwhile a newer bundle lies at the same path."""
    path = fake_variants(int8={"fail_after": 30}, fp32={})
    frames = Frames((picture(n) for n in range(120)), hz=30)
    with DriverMonitor(path, frames, detector=WholeFrame()) as monitor:
        next(monitor)
        rewritten(path, crop=CropRule(64))
        states = list(monitor)
    assert (sides[0], sides[-1]) == (48, 64)
    assert states[-1].bundle_sha256 == open_bundle(path).sha256
    assert states[-1].driver is not None
    assert states[-1].driver.label == "neutral"
