"""Smoothing in seconds, hysteresis, dwell, doubt, baseline, and the events of a person."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fer_edge.labels import EMOTIONS
from fer_edge.monitor.baseline import BaselineLearner, Probabilities
from fer_edge.monitor.expression_filter import ExpressionFilter
from fer_edge.monitor.settings import EventRule, Settings
from fer_edge.monitor.state import Event, PersonState

BOX = (0, 0, 60, 60)


def sure_of(label: str, share: float = 0.9) -> Probabilities:
    row = np.full(len(EMOTIONS), (1 - share) / (len(EMOTIONS) - 1))
    row[EMOTIONS.index(label)] = share
    return row


def person(**settings: object) -> ExpressionFilter:
    return ExpressionFilter(1, EMOTIONS, Settings(**settings), known_above=0.5)  # type: ignore[arg-type]


def show(
    who: ExpressionFilter,
    label: str | None,
    start_s: float,
    end_s: float,
    hz: float = 30,
    share: float = 0.9,
) -> tuple[list[PersonState], list[Event]]:
    """A label, or nothing but a blurred face, from ``start_s`` until before ``end_s``."""
    states, events = [], []
    for step in range(round((end_s - start_s) * hz)):
        time_s = start_s + step / hz
        if label is None:
            events += who.observe(time_s, None, ("blurred", "the face is blurred"))
        else:
            events += who.observe(time_s, sure_of(label, share), None)
        states.append(who.state(BOX, False))
    return states, events


def labels(states: Iterable[PersonState]) -> list[str | None]:
    found: list[str | None] = []
    for state in states:
        if not found or found[-1] != state.label:
            found.append(state.label)
    return found


def test_a_new_face_is_unknown_until_its_expression_has_held() -> None:
    states, _ = show(person(), "happiness", 0, 1)
    assert labels(states) == [None, "happiness"]
    first = next(state for state in states if state.label)
    assert states.index(first) == pytest.approx(0.3 * 30, abs=1)
    assert states[0].cause == "new"
    assert states[0].uncertain
    assert not first.uncertain
    assert first.reason is None
    assert states[-1].confidence == pytest.approx(0.9)
    assert states[-1].since_s == pytest.approx(0.7, abs=0.07)


def test_one_odd_frame_changes_nothing() -> None:
    who = person()
    show(who, "neutral", 0, 1)
    who.observe(1.0, sure_of("anger", 0.99), None)
    states, _ = show(who, "neutral", 1.03, 2)
    assert labels(states) == ["neutral"]


def test_a_change_is_taken_after_it_has_led_for_the_dwell_time() -> None:
    who = person()
    show(who, "neutral", 0, 2)
    states, _ = show(who, "anger", 2, 4)
    assert labels(states) == ["neutral", "anger"]
    changed_s = next(i for i, state in enumerate(states) if state.label == "anger") / 30
    # 0.5 s of time constant: it leads after about 0.5 ln(1.6 / 0.7) s, then 0.3 s of dwell
    assert 0.3 < changed_s < 1.0


def test_two_labels_that_take_turns_do_not_flicker() -> None:
    who = person()
    show(who, "neutral", 0, 1)
    changes = 0
    last = "neutral"
    for step in range(300):
        time_s = 1 + step / 30
        label = "neutral" if step // 2 % 2 else "sadness"
        who.observe(time_s, sure_of(label, 0.95), None)
        state = who.state(BOX, False)
        changes += state.label not in (None, last)
        last = state.label or last
    assert changes == 0


def test_flicker_is_measured_in_changes_per_second() -> None:
    who = person(smooth_s=0.01, dwell_s=0.01)
    show(who, "neutral", 0, 1)
    for second in range(1, 11):
        states, _ = show(who, ("anger", "neutral")[second % 2], second, second + 1)
    assert states[-1].flicker_hz == pytest.approx(1.0, abs=0.1)
    states, _ = show(who, "neutral", 11, 22)
    assert states[-1].flicker_hz == 0.0


def test_the_first_label_is_never_a_change() -> None:
    """Neither at once, nor when the face came into view ten seconds ago and its label later."""
    who = person()
    show(who, None, 0, 0.5)
    states, _ = show(who, "neutral", 0.5, 12)
    assert {state.flicker_hz for state in states} == {0.0}


def test_a_weak_answer_is_unsure_and_says_so() -> None:
    states, _ = show(person(), "fear", 0, 1, share=0.4)
    assert labels(states) == [None]
    assert states[-1].cause == "unsure"
    assert "0.40 is below 0.50" in (states[-1].reason or "")
    assert states[-1].probabilities is not None
    assert states[-1].confidence == 0.0


def test_a_known_label_survives_a_dip_within_the_hysteresis() -> None:
    who = person()
    show(who, "fear", 0, 1, share=0.6)
    states, _ = show(who, "fear", 1, 3, share=0.45)
    assert labels(states) == ["fear"]
    states, _ = show(who, "fear", 3, 6, share=0.3)
    assert labels(states) == ["fear", None]


def test_a_label_outlives_a_short_loss_and_then_is_unknown_with_its_reason() -> None:
    who = person()
    show(who, "happiness", 0, 1)
    short, _ = show(who, None, 1, 1.4)
    assert labels(short) == ["happiness"]
    long, _ = show(who, None, 1.4, 2)
    assert labels(long) == ["happiness", None]
    assert (long[-1].cause, long[-1].reason) == ("blurred", "the face is blurred")
    assert long[-1].probabilities is None  # nothing recent
    again, _ = show(who, "sadness", 5, 6)
    assert labels(again) == [None, "sadness"]  # what was before the loss is forgotten


def test_a_frame_that_nobody_looked_at_changes_nothing_but_time() -> None:
    who = person()
    show(who, "happiness", 0, 1)
    who.observe(1.2, None, None)
    assert who.state(BOX, False).label == "happiness"
    who.observe(1.8, None, None)
    assert who.state(BOX, False).label is None


def test_an_event_is_told_when_it_has_held_and_when_it_ends() -> None:
    who = person(events=(EventRule("anger", 2.0),))
    show(who, "neutral", 0, 1)
    states, events = show(who, "anger", 1, 5)
    (begun,) = events
    change = next(i for i, state in enumerate(states) if state.label == "anger") / 30 + 1
    assert (begun.kind, begun.person, begun.end_s) == ("anger", 1, None)
    assert begun.start_s == pytest.approx(change)
    assert 0.5 < begun.confidence < 0.9
    _, events = show(who, "neutral", 5, 8)
    (ended,) = events
    assert ended.start_s == begun.start_s
    assert ended.end_s is not None
    assert 5 < ended.end_s < 6


def test_an_event_ends_when_the_person_is_gone() -> None:
    who = person(events=(EventRule("anger", 1.0), EventRule("unknown", 1.0)))
    show(who, "anger", 0, 3)
    (ended,) = who.end(3.0)
    assert (ended.kind, ended.end_s) == ("anger", 3.0)


@given(
    st.sampled_from(EMOTIONS),
    st.sampled_from(EMOTIONS),
    st.sampled_from([5, 10, 15, 30]),
    st.sampled_from([2, 3, 4]),
    st.floats(0.05, 2.0),
)
def test_smoothing_does_not_depend_on_the_frame_rate(
    before: str, after: str, hz: int, factor: int, smooth_s: float
) -> None:
    ends = []
    for rate in (hz, hz * factor):
        who = person(smooth_s=smooth_s)
        # The frames of the slow camera are among those of the fast one; each holds until the next.
        for step in range(2 * rate + 1):
            time_s = step / rate
            who.observe(time_s, sure_of(before if time_s <= 1 else after, 0.8), None)
        ends.append(who.state(BOX, False).probabilities)
    one, other = ends
    assert one is not None
    assert other is not None
    assert one == pytest.approx(other, abs=1e-9)


def test_a_baseline_is_learned_visible_and_then_fixed() -> None:
    who = person(baseline_s=2.0)
    assert who.state(BOX, True).baseline is None
    who.learn_baseline()
    show(who, "sadness", 0, 1, share=0.5)
    half = who.state(BOX, True).baseline
    assert half is not None
    assert not half.ready
    assert half.seen_s == pytest.approx(1, abs=0.05)
    show(who, "sadness", 1, 2.5, share=0.5)
    show(who, "anger", 2.5, 9)
    learned = who.state(BOX, True).baseline
    assert learned is not None
    assert learned.ready
    assert learned.probabilities["sadness"] == pytest.approx(0.5, abs=0.02)


def test_a_bad_view_teaches_nothing() -> None:
    who = person(baseline_s=2.0)
    who.learn_baseline()
    show(who, None, 0, 5)
    baseline = who.state(BOX, True).baseline
    assert baseline is not None
    assert (baseline.seen_s, dict(baseline.probabilities)) == (0.0, {})


def test_a_face_that_looks_sad_at_rest_is_neutral_if_the_baseline_is_used() -> None:
    found = {}
    for use in (False, True):
        who = person(baseline_s=2.0, use_baseline=use)
        who.learn_baseline()
        show(who, "sadness", 0, 3, share=0.6)
        found[use] = labels(show(who, "sadness", 3, 6, share=0.6)[0])[-1]
        assert labels(show(who, "anger", 6, 9, share=0.9)[0])[-1] == "anger"
    assert found == {False: "sadness", True: "neutral"}


@given(
    st.lists(st.floats(0.01, 1), min_size=7, max_size=7),
    st.lists(st.floats(0.01, 1), min_size=7, max_size=7),
)
def test_against_a_baseline_probabilities_stay_probabilities(
    rest: list[float], now: list[float]
) -> None:
    learner = BaselineLearner(EMOTIONS, 1.0)
    at_rest = np.array(rest) / sum(rest)
    learner.learn(at_rest, 1.0)
    relative = learner.relative(np.array(now) / sum(now))
    assert relative.min() >= 0
    assert relative.sum() == pytest.approx(1.0)
    neutral = EMOTIONS.index("neutral")
    assert learner.relative(at_rest)[neutral] == pytest.approx(1.0)
    for index in set(range(7)) - {neutral}:
        certain = np.eye(7)[index]
        assert learner.relative(certain)[index] == pytest.approx(1.0)
