"""Stream time follows the source, is finite, and never runs back."""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import datetime
from decimal import Decimal
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fer_edge.monitor.causes import HealthCause
from fer_edge.monitor.state import Status
from fer_edge.monitor.stream_clock import StreamClock

HZ = 25.0


def play(
    times: Sequence[object], *, live: bool = False, hz: float = HZ
) -> tuple[list[float], list[tuple[HealthCause, Status] | None]]:
    """Stream times and faults of frames that arrive at a steady rate."""
    clock = StreamClock(live=live)
    stream, faults = [], []
    for index, own in enumerate(times):
        stream.append(clock.at_frame(100 + index / hz, own))
        fault = clock.fault
        faults.append(None if fault is None else (fault.cause, fault.severity))
    assert all(math.isfinite(time_s) for time_s in stream)
    assert stream == sorted(stream)
    return stream, faults


def steady(count: int, start_s: float = 0.0) -> list[float]:
    return [start_s + index / HZ for index in range(count)]


def test_time_counts_from_the_first_arrival() -> None:
    clock = StreamClock()
    assert [clock.at_frame(arrived_s, None) for arrived_s in (100.0, 100.5, 103.0)] == [0, 0.5, 3]


def test_the_source_may_have_a_time_of_its_own() -> None:
    assert play([5.0, 5.5, np.float32(6), Fraction(13, 2), 7])[0] == [5.0, 5.5, 6.0, 6.5, 7.0]
    assert play([-2.0, -1.5])[0] == [0.0, 0.5]


def test_a_source_that_is_opened_again_goes_on_from_now() -> None:
    clock = StreamClock(live=True)
    clock.at_frame(100.0, 60.0, reopened=True)
    clock.at_frame(101.0, 61.0)
    clock.after_frame(5.0)
    assert clock.at_frame(106.0, 0.0, reopened=True) == 66.0
    assert clock.fault is None
    assert clock.at_frame(107.0, 1.0) == 67.0


def test_time_goes_on_without_frames() -> None:
    clock = StreamClock()
    clock.at_frame(100.0, None)
    clock.at_frame(101.0, None)
    assert clock.after_frame(0.5) == 1.5
    assert clock.after_frame(2.0) == 3.0  # since the frame, not since the last call
    assert clock.at_frame(104.0, None) == 4.0


# One wrong time among good ones.

NO_TIMES = [
    *(float("nan"), float("inf"), -float("inf"), "1.2", "", b"1", True, np.True_, 1j, [1.0]),
    *(
        1764052800000,
        10**400,
        np.datetime64("2026-11-25", "ms"),
        datetime(2026, 11, 25),
        Decimal(1),
    ),
]


@pytest.mark.parametrize("wrong", NO_TIMES, ids=repr)
def test_a_time_that_is_none_is_replaced(wrong: object) -> None:
    times: list[object] = [*steady(100)]
    times[50] = wrong
    stream, faults = play(times)
    assert stream == pytest.approx(steady(100))
    assert faults[50] == (HealthCause.CLOCK_INVALID, "degraded")
    assert faults.count(None) == 99


@pytest.mark.parametrize("start_s", [0.0, 60.0, 1.7e9])
@pytest.mark.parametrize(
    ("wrong", "cause"),
    [
        (-5.0, HealthCause.CLOCK_BACK),
        (0.5, HealthCause.CLOCK_BACK),
        (20.0, HealthCause.CLOCK_LEAP),
        (1e6, HealthCause.CLOCK_LEAP),
    ],
)
def test_a_time_that_does_not_follow_is_replaced(
    start_s: float, wrong: float, cause: HealthCause
) -> None:
    times = steady(100, start_s)
    times[50] = start_s + wrong
    stream, faults = play(times)
    assert stream == pytest.approx(steady(100, start_s))
    assert faults[50] == (cause, "degraded")
    assert faults.count(None) == 99


def test_several_wrong_times_change_no_other() -> None:
    times: list[object] = [*steady(200)]
    for index in range(10, 190, 7):
        times[index] = NO_TIMES[index % len(NO_TIMES)]
        times[index + 1] = 1e5 * (index % 3 - 1)
    stream, faults = play(times)
    assert stream == pytest.approx(steady(200))
    assert {fault[1] for fault in faults if fault} == {"degraded"}


def test_frames_in_another_order_are_no_fault() -> None:
    times = steady(60)
    times[1::3], times[2::3] = times[2::3], times[1::3]
    stream, faults = play(times)
    assert stream[-2:] == pytest.approx([59 / HZ] * 2)
    assert set(faults) == {None}


# A clock that goes on elsewhere.


def test_a_clock_that_starts_anew_is_followed_from_there() -> None:
    stream, faults = play([*steady(50), *steady(50)])
    assert stream == pytest.approx(steady(100))
    assert faults[50:53] == [(HealthCause.CLOCK_BACK, "degraded")] * 3
    assert set(faults[53:]) == {None}


def test_a_leap_of_a_recording_is_cut_out() -> None:
    stream, faults = play([*steady(50), *steady(50, 1000.0)])
    assert stream == pytest.approx(steady(100))
    assert faults[52] == (HealthCause.CLOCK_LEAP, "lost")
    assert set(faults[53:]) == {None}


def test_a_gap_of_a_recording_stays() -> None:
    """A camera that records while something moves."""
    stream, faults = play([*steady(50), *steady(50, 20.0)])
    assert stream[53:] == pytest.approx(steady(50, 20.0)[3:])
    assert "lost" not in {fault[1] for fault in faults if fault}
    assert play([0.0, 0.04, 4.0, 4.04])[0] == pytest.approx([0.0, 0.04, 4.0, 4.04])


def test_a_leap_of_a_live_clock_takes_the_time_that_passed_here() -> None:
    stream, faults = play([*steady(50), *steady(50, 30.0)], live=True)
    assert stream == pytest.approx(steady(100))
    assert {fault[1] for fault in faults if fault} == {"degraded"}


def test_a_live_source_that_paused_keeps_its_time() -> None:
    clock = StreamClock(live=True)
    clock.at_frame(100.0, 7.0)
    assert clock.at_frame(400.0, 307.0) == 307.0
    assert clock.fault is None


# An unusable clock.


@pytest.mark.parametrize(
    ("times", "cause"),
    [
        ([float("nan")] * 60, HealthCause.CLOCK_INVALID),
        (["1.0"] * 60, HealthCause.CLOCK_INVALID),
        ([3.0] * 60, HealthCause.CLOCK_STILL),
        ([10.0, *[9.95] * 59], HealthCause.CLOCK_STILL),
        ([40.0 * index for index in range(60)], HealthCause.CLOCK_LEAP),
        ([1764052800000 + 40 * index for index in range(60)], HealthCause.CLOCK_INVALID),
        ([(-1.0, 1e9, float("nan"))[index % 3] for index in range(60)], None),
    ],
)
def test_a_recording_without_a_usable_clock_is_lost(
    times: list[object], cause: HealthCause | None
) -> None:
    _, faults = play(times)
    last = faults[-1]
    assert last is not None
    assert last[1] == "lost"
    assert cause in (None, last[0])


@pytest.mark.parametrize("times", [[float("nan")] * 60, [3.0] * 60, [40.0 * i for i in range(60)]])
def test_a_live_source_without_a_usable_clock_takes_the_arrivals(times: list[object]) -> None:
    stream, faults = play(times, live=True)
    assert stream[-1] - stream[20] == pytest.approx(39 / HZ)
    assert faults[-1] is not None
    assert faults[-1][1] == "degraded"


def test_a_clock_that_goes_on_after_it_stood_still_is_followed() -> None:
    stream, faults = play([*steady(50), *[49 / HZ] * 25, *steady(25, 50 / HZ)], live=True)
    assert stream[-1] - stream[76] == pytest.approx(23 / HZ)
    assert stream[-1] == pytest.approx(99 / HZ, abs=0.5)
    assert faults[-1] is None


TIMES = st.one_of(
    st.floats(), st.sampled_from(NO_TIMES), st.none(), st.floats(0, 100), st.integers()
)


@given(st.lists(TIMES, max_size=60), st.booleans())
def test_stream_time_is_finite_and_never_runs_back(times: list[object], live: bool) -> None:
    play(times, live=live)
