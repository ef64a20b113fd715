"""Events begin once an expression has held, and end with it."""

from __future__ import annotations

import pytest

from fer_edge.monitor.events import EventTimer
from fer_edge.monitor.settings import EventRule
from fer_edge.monitor.state import Event

HZ = 10


def play(
    timer: EventTimer, kind: str | None, start_s: float, end_s: float, confidence: float = 0.8
) -> list[Event]:
    """Events of an expression that holds from ``start_s`` until before ``end_s``."""
    steps = range(round((end_s - start_s) * HZ))
    events = [timer.step(kind, confidence, start_s + step / HZ) for step in steps]
    return [event for event in events if event is not None]


def test_an_event_begins_once_its_label_has_held() -> None:
    timer = EventTimer(EventRule("anger", 2.0), person=3)
    assert play(timer, "neutral", 0, 1) == []
    (began,) = play(timer, "anger", 1, 5)
    assert (began.kind, began.person, began.start_s, began.end_s) == ("anger", 3, 1.0, None)
    assert began.confidence == pytest.approx(0.8)


def test_an_event_that_began_ends_with_its_label() -> None:
    timer = EventTimer(EventRule("anger", 2.0), person=1)
    play(timer, "anger", 1, 5)
    (ended,) = play(timer, "neutral", 5, 8)
    assert (ended.start_s, ended.end_s) == (1.0, 5.0)


def test_a_short_expression_is_no_event() -> None:
    timer = EventTimer(EventRule("anger", 2.0), person=1)
    events = play(timer, "anger", 0, 1.9) + play(timer, "neutral", 1.9, 4)
    assert events == []


def test_an_interruption_starts_the_count_anew() -> None:
    timer = EventTimer(EventRule("anger", 2.0), person=1)
    events = play(timer, "anger", 0, 1.5) + play(timer, "unknown", 1.5, 1.6)
    events += play(timer, "anger", 1.6, 3.5)
    assert events == []


def test_being_unknown_for_long_is_an_event() -> None:
    timer = EventTimer(EventRule("unknown", 1.0), person=1)
    (began,) = play(timer, "unknown", 0, 2, confidence=0.0)
    assert began == Event("unknown", 1, 0.0, None, 0.0)


def test_an_event_ends_when_its_person_is_gone() -> None:
    timer = EventTimer(EventRule("anger", 1.0), person=1)
    play(timer, "anger", 0, 3)
    ended = timer.step(None, 0.0, 3.0)
    assert ended is not None
    assert ended.end_s == 3.0


def test_confidence_is_the_mean_over_time_not_over_frames() -> None:
    timer = EventTimer(EventRule("anger", 1.0), person=1)
    timer.step("anger", 0.5, 0.0)
    timer.step("anger", 0.5, 0.5)
    timer.step("anger", 0.9, 1.5)  # twice as long as the first two
    ended = timer.step("neutral", 0.0, 2.0)
    assert ended is not None
    assert ended.confidence == pytest.approx((0.5 * 0.5 + 0.9 * 1.0) / 1.5)
