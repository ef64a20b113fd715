"""Health names the worst fault first, and logs each fault once."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from fer_edge.errors import SourceError
from fer_edge.monitor import DriverMonitor, Frame, Frames, HealthCause, Settings, WholeFrame
from fer_edge.monitor.health import HealthMonitor
from fer_edge.monitor.state import Health
from fer_edge.preprocess import Image

Picture = Callable[..., Image]


@pytest.fixture
def warnings(caplog: pytest.LogCaptureFixture) -> Callable[[], list[str]]:
    """Messages logged at WARNING under ``fer_edge.monitor``, so far."""
    caplog.set_level(logging.WARNING, "fer_edge.monitor")
    return lambda: [
        record.getMessage()
        for record in caplog.records
        if record.name.startswith("fer_edge.monitor") and record.levelno == logging.WARNING
    ]


def test_the_worst_fault_comes_first() -> None:
    health = HealthMonitor()
    assert health.state() == Health()
    health.report(HealthCause.WRONG_SIZE, "degraded", "frames are small")
    health.report(HealthCause.NO_FRAME, "lost", "no frame came")
    health.report(HealthCause.WRONG_RATE, "degraded", "frames are slow")
    state = health.state()
    assert (state.status, state.reasons) == (
        "lost",
        ("no frame came", "frames are small", "frames are slow"),
    )
    assert [finding.as_dict() for finding in state.findings][:2] == [
        {"cause": "no_frame", "code": 1, "severity": "lost", "reason": "no frame came"},
        {"cause": "wrong_size", "code": 20, "severity": "degraded", "reason": "frames are small"},
    ]
    health.clear("camera")
    health.clear("camera")
    assert health.state().status == "degraded"
    assert list(health.state().causes) == [HealthCause.WRONG_SIZE, HealthCause.WRONG_RATE]


def test_a_part_has_one_fault_at_a_time() -> None:
    health = HealthMonitor()
    health.report(HealthCause.FROZEN, "lost", "frozen")
    health.report(HealthCause.BLACK, "lost", "black")
    assert health.state().reasons == ("black",)


def test_codes_of_causes_never_change() -> None:
    """They stand in the diagnostic tables of vehicles: add new ones, change none."""
    assert {cause.value: cause.code for cause in HealthCause} == {
        "no_frame": 1,
        "camera_failed": 2,
        "source_ended": 3,
        "old_frame": 4,
        "not_a_frame": 10,
        "frozen": 11,
        "black": 12,
        "wrong_size": 20,
        "wrong_rate": 21,
        "clock_invalid": 30,
        "clock_back": 31,
        "clock_leap": 32,
        "clock_still": 33,
        "detector_failed": 40,
        "failover": 50,
        "no_engine": 51,
        "late": 60,
    }
    assert f"{HealthCause.FROZEN}" == "frozen"
    assert HealthCause("frozen") is HealthCause.FROZEN


def test_the_documentation_lists_each_cause_with_its_code() -> None:
    page = Path(__file__).parents[2] / "docs/reference/monitor-settings.md"
    rows = re.findall(r"^\| `(\w+)` \| (\d+) \|", page.read_text(), re.MULTILINE)
    assert {cause: int(code) for cause, code in rows} == {
        cause.value: cause.code for cause in HealthCause
    }


def test_on_health_gets_news_and_no_figures(fake_bundle: Path, picture: Picture) -> None:
    """A frozen camera's sentence has another figure at each frame: one call, and one at its end."""
    calls: list[Health] = []
    shown = [picture(0)] * 90 + [picture(n) for n in range(1, 10)]
    with DriverMonitor(
        fake_bundle, Frames(shown, hz=30), detector=WholeFrame(), on_health=calls.append
    ) as monitor:
        sentences = {state.health.reasons for state in monitor}
    assert len(sentences) > 10
    assert [health.causes for health in calls] == [{HealthCause.FROZEN: "lost"}, {}]


def test_on_health_is_called_when_the_severity_changes(
    fake_variants: Callable[..., Path], picture: Picture
) -> None:
    bundle = fake_variants(int8={"fail_after": 10}, fp32={"fail_after": 20})
    calls: list[Health] = []
    with DriverMonitor(
        bundle,
        Frames((picture(n) for n in range(60)), hz=30),
        detector=WholeFrame(),
        on_health=calls.append,
    ) as monitor:
        list(monitor)
    assert [health.status for health in calls][:2] == ["degraded", "lost"]
    assert [list(health.causes) for health in calls][:2] == [
        [HealthCause.FAILOVER],
        [HealthCause.NO_ENGINE],
    ]


def test_a_fault_is_logged_when_it_begins_and_not_on_each_frame(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO, "fer_edge.monitor")
    health = HealthMonitor(logging.getLogger("fer_edge.monitor"))
    health.clear("picture")
    for still_s in range(1, 4):
        health.report(HealthCause.FROZEN, "lost", f"frozen for {still_s} s")
    health.report(HealthCause.BLACK, "lost", "black")
    health.clear("picture")
    health.report(HealthCause.FROZEN, "lost", "frozen for 1 s")
    assert [(record.levelname, record.getMessage()) for record in caplog.records] == [
        ("WARNING", "picture lost: frozen for 1 s"),
        ("WARNING", "picture lost: black"),
        ("INFO", "picture ok again"),
        ("WARNING", "picture lost: frozen for 1 s"),
    ]


def test_missed_deadlines_are_no_warning(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "fer_edge.monitor")
    health = HealthMonitor(logging.getLogger("fer_edge.monitor"))
    health.report(HealthCause.LATE, "degraded", "late")
    assert [record.levelname for record in caplog.records] == ["INFO"]


def test_without_a_logger_nothing_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    HealthMonitor().report(HealthCause.NO_FRAME, "lost", "no frame came")
    assert caplog.records == []


def test_a_failover_is_one_warning(
    fake_variants: Callable[..., Path], picture: Picture, warnings: Callable[[], list[str]]
) -> None:
    bundle = fake_variants(int8={"fail_after": 10}, fp16={"fail_after": 20}, fp32={})
    frames = Frames((picture(n) for n in range(60)), hz=30)
    with DriverMonitor(bundle, frames, detector=WholeFrame()) as monitor:
        assert len(list(monitor)) == 60
    first, second = warnings()
    assert first.startswith("model degraded: fake/fp16 answers instead: fake/int8 failed")
    assert second.startswith("model degraded: fake/fp32 answers instead: fake/int8 failed")
    assert "fake/fp16 failed" in second


def test_a_frozen_camera_is_one_warning(
    fake_bundle: Path, picture: Picture, warnings: Callable[[], list[str]]
) -> None:
    frames = Frames([picture(0)] * 90, hz=30)
    with DriverMonitor(fake_bundle, frames, detector=WholeFrame()) as monitor:
        assert [state.health.status for state in monitor].count("lost") == 60
    assert warnings() == ["picture lost: the camera is frozen: the same picture for 1.0 s"]


class Flaky:
    """A camera that fails once after its first frame, and cannot be opened a few times then."""

    live = True

    def __init__(self, picture: Picture, failures: int) -> None:
        self._picture, self._failures, self._count = picture, failures, 0

    def open(self) -> None:
        if self._count == 1 and self._failures:
            self._failures -= 1
            raise SourceError("the camera is gone")

    def read(self) -> Frame | None:
        self._count += self._count != 1 or not self._failures
        if self._count == 1 and self._failures:
            return None
        return Frame(self._picture(np.random.default_rng().integers(1 << 30)))

    def close(self) -> None: ...


def test_a_camera_that_is_lost_and_comes_back_is_one_warning_each(
    fake_bundle: Path, picture: Picture, warnings: Callable[[], list[str]]
) -> None:
    camera, settings = Flaky(picture, 1), Settings(no_frame_s=0.1)
    with DriverMonitor(fake_bundle, camera, detector=WholeFrame(), settings=settings) as monitor:
        statuses = []
        for state in monitor:
            statuses.append(state.health.status)
            if "lost" in statuses and state.health.status == "ok":
                break
    assert statuses.count("lost") > 2  # in about 0.75 s
    assert warnings().count("the source gives frames again after 2 attempts") == 1
    # A busy machine may read a frame too late, and lose the camera more than once.
    assert 1 <= sum(line.startswith("camera lost: ") for line in warnings()) < len(statuses)
