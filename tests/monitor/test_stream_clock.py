"""Stream time starts at 0, follows the source, and never runs back."""

from __future__ import annotations

import pytest

from fer_edge.monitor.stream_clock import StreamClock


def test_time_counts_from_the_first_arrival() -> None:
    clock = StreamClock()
    assert [clock.at_frame(arrived_s, None) for arrived_s in (100.0, 100.5, 103.0)] == [0, 0.5, 3]


def test_the_source_may_have_a_time_of_its_own() -> None:
    clock = StreamClock()
    assert [clock.at_frame(100.0, own_s) for own_s in (5.0, 5.5)] == [5.0, 5.5]


def test_a_source_that_counts_from_0_again_goes_on_from_now() -> None:
    clock = StreamClock()
    clock.at_frame(100.0, 0.0)
    clock.at_frame(101.0, 4.0)
    assert clock.at_frame(102.0, 0.0) == 4.0
    assert clock.at_frame(103.0, 0.5) == pytest.approx(4.5)


def test_time_goes_on_without_frames() -> None:
    clock = StreamClock()
    clock.at_frame(100.0, None)
    clock.at_frame(101.0, None)
    assert clock.after_frame(0.5) == 1.5
    assert clock.after_frame(2.0) == 3.0  # since the frame, not since the last call
    assert clock.at_frame(104.0, None) == 4.0
