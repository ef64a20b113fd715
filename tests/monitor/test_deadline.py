"""Work is skipped rather than late, and late answers are reported."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from fer_edge.monitor.detector import Face
from fer_edge.monitor.state import MonitorState
from fer_edge.preprocess import Image

MakeRig = Callable[..., Any]


def label(state: MonitorState) -> str | None:
    return state.persons[0].label if state.persons else None


class Slow:
    """A detector that takes its time, on the clock of the test."""

    def __init__(self, clock: Any, seconds: float) -> None:
        self.clock, self.seconds, self.calls = clock, seconds, 0

    def detect(self, image: Image) -> list[Face]:
        self.calls += 1
        self.clock.pass_(self.seconds)
        return [Face((0, 0, 64, 64), 1.0)]


def test_a_late_answer_is_told_with_its_age(make_rig: MakeRig, clock: Any) -> None:
    rig = make_rig(detector=Slow(clock, 0.08))
    state = rig.play(0.04)[-1]
    assert state.age_ms == pytest.approx(80)
    assert state.health.status == "degraded"
    assert "was 80 ms old; at most 50 ms are allowed" in state.health.reasons[0]


def test_work_that_would_be_late_is_left_out_but_not_for_ever(
    make_rig: MakeRig, clock: Any
) -> None:
    slow = Slow(clock, 0.08)
    rig = make_rig(detector=slow, detect_every=1)
    states = rig.play(1.0)
    assert 5 <= slow.calls <= 20  # of 30
    on_time = [state for state in states if state.age_ms < 50]
    assert len(on_time) >= 10
    assert label(states[-1]) == "neutral"
    assert states[-1].health.status == "degraded"
    slow.seconds = 0.001
    assert rig.play(3.0)[-1].health.status == "ok"


def test_a_file_has_no_deadline(make_rig: MakeRig, clock: Any) -> None:
    slow = Slow(clock, 0.08)
    states = make_rig(detector=slow, detect_every=1, live=False).play(1.0)
    assert slow.calls == 30
    assert {state.health.status for state in states} == {"ok"}
