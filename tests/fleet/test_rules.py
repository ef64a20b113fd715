"""In-car rules: alerts at the right moment, and figures."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fer_edge.fleet.rules import Alert, AttentionRules, Sample, addw_limit_s

HZ = 20


def play(
    seconds: float, of: Callable[[float], dict[str, Any]], hz: int = HZ
) -> tuple[list[Alert], AttentionRules]:
    """Feed samples and return all alerts."""
    rules = AttentionRules()
    alerts: list[Alert] = []
    for number in range(round(seconds * hz)):
        alerts += rules.add(Sample(number / hz, **of(number / hz)))
    return alerts + rules.end(), rules


def of_rule(alerts: Iterable[Alert], rule: str) -> list[Alert]:
    return [alert for alert in alerts if alert.rule == rule]


@pytest.mark.parametrize(("lasts_s", "count"), [(2.9, 0), (3.0, 0), (3.1, 1), (8.0, 1)])
def test_a_glance_of_three_seconds_is_an_alert(lasts_s: float, count: int) -> None:
    alerts, rules = play(20, lambda t: {"away": 5 <= t < 5 + lasts_s})
    glances = of_rule(alerts, "glance_away")
    assert len(glances) == count == rules.figures.alerts.get("glance_away", 0)
    for glance in glances:
        assert (glance.start_s, glance.alert_s) == (5.0, 8.0)
        assert glance.end_s == pytest.approx(5 + lasts_s, abs=1 / HZ)
    assert rules.figures.away_s == pytest.approx(lasts_s, abs=1 / HZ)


def test_short_glances_that_sum_up_are_shared_attention() -> None:
    """One second away in each two and a half: 12 s of 30 s, no glance of 3 s."""
    alerts, _ = play(60, lambda t: {"away": t % 2.5 < 1.0})
    assert of_rule(alerts, "glance_away") == []
    (shared,) = of_rule(alerts, "shared_attention")
    assert 22.5 < shared.alert_s < 26
    assert shared.end_s is None
    alerts, _ = play(60, lambda t: {"away": t % 4 < 1.0})
    assert alerts == []


@pytest.mark.parametrize(
    ("speed_kmh", "degraded", "limit_s"),
    [
        (None, False, None),
        (19.9, False, None),
        (20.0, False, 6.0),
        (49.9, True, 7.5),
        (50.0, False, 3.5),
        (130.0, True, 5.0),
    ],
)
def test_addw_warns_by_speed_and_conditions(
    speed_kmh: float | None, degraded: bool, limit_s: float | None
) -> None:
    assert addw_limit_s(speed_kmh, degraded) == limit_s
    given_ = {"speed_kmh": speed_kmh, "degraded": degraded}
    alerts, _ = play(20, lambda t: {"away": t >= 2, **given_})
    warnings = of_rule(alerts, "addw")
    if limit_s is None:
        assert warnings == []
    else:
        (warning,) = warnings
        assert warning.alert_s - warning.start_s == pytest.approx(limit_s, abs=1 / HZ)
        assert warning.speed_kmh == speed_kmh


def test_addw_takes_its_own_area_where_it_is_known() -> None:
    alerts, _ = play(9, lambda t: {"away": True, "distracted": False, "speed_kmh": 100.0})
    assert of_rule(alerts, "addw") == []
    assert len(of_rule(alerts, "glance_away")) == 1


def test_closed_eyes_of_two_seconds_are_an_alert_and_blinks_are_none() -> None:
    alerts, _ = play(10, lambda t: {"eyes_open": 0.1 if 3 <= t < 5.5 else 0.9})
    (closed,) = alerts
    assert (closed.rule, closed.start_s, closed.alert_s) == ("eyes_closed", 3.0, 5.0)
    alerts, _ = play(60, lambda t: {"eyes_open": 0.1 if t % 3 < 0.3 else 0.9})
    assert alerts == []


def test_perclos_is_the_share_of_closed_eyes_in_its_window() -> None:
    _, rules = play(200, lambda t: {"eyes_open": 0.2 if t % 4 < 1.0 else 0.21})
    assert rules.figures.perclos_max == {
        "60": pytest.approx(0.25, abs=0.01),
        "180": pytest.approx(0.25, abs=0.01),
    }
    assert rules.perclos(60.0) == pytest.approx(0.25, abs=0.02)


def test_perclos_needs_its_window_and_half_of_it_known() -> None:
    _, rules = play(50, lambda t: {"eyes_open": 0.0})
    assert rules.figures.perclos_max == {}
    _, rules = play(100, lambda t: {"eyes_open": 0.0 if t % 5 < 1 else None})
    assert rules.figures.perclos_max == {}
    _, rules = play(100, lambda t: {"eyes_open": 0.0 if t % 5 < 3 else None})
    assert rules.figures.perclos_max == {"60": pytest.approx(1.0)}


def test_a_gap_starts_every_timer_anew() -> None:
    rules = AttentionRules()
    alerts = []
    for time_s in (0.0, 0.4, 0.8, 1.2, 4.0, 4.4, 4.8):
        alerts += rules.add(Sample(time_s, away=True, eyes_open=0.0, speed_kmh=100.0))
    assert alerts + rules.end() == []
    assert rules.figures.away_s == pytest.approx(1.7 + 0.8)


def test_what_is_unknown_is_neither_away_nor_on_the_road() -> None:
    alerts, rules = play(20, lambda t: {"speed_kmh": 90.0})
    assert alerts == []
    assert (rules.figures.known_s, rules.figures.eyes_known_s) == (0.0, 0.0)


@given(st.lists(st.tuples(st.floats(0, 2), st.sampled_from([None, True, False])), max_size=60))
def test_seconds_never_exceed_the_recording(steps: list[tuple[float, bool | None]]) -> None:
    rules, time_s, alerts = AttentionRules(), 0.0, []
    for step_s, away in steps:
        time_s += step_s
        eyes = None if away is None else 1.0 - away
        alerts += rules.add(Sample(time_s, away=away, eyes_open=eyes, speed_kmh=60.0))
    alerts += rules.end()
    figures = rules.figures
    assert 0 <= figures.away_s <= figures.known_s + 1e-9 <= time_s + 2e-9
    assert figures.closed_s == pytest.approx(figures.away_s)
    assert sum(figures.alerts.values()) == len(alerts)
    for alert in alerts:
        assert alert.start_s <= alert.alert_s <= (alert.end_s if alert.end_s else time_s)
