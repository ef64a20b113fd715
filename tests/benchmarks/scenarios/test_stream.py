"""A camera's stream on a virtual clock: every frame accounted for, to the nanosecond."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable, Iterator
from itertools import chain, repeat

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fer_edge.benchmarks.scenarios.stream import Answered, run_stream, stream_row
from fer_edge.errors import InputError

MS = 1_000_000


class Clock:
    """Time that passes only by sleeping and by working; sleeps may last too long."""

    def __init__(self, oversleep_ns: int = 0) -> None:
        self.now = 123_456_789
        self.oversleep_ns = oversleep_ns

    def now_ns(self) -> int:
        return self.now

    def sleep_s(self, seconds: float) -> None:
        assert seconds > 0
        self.now += max(round(seconds * 1e9), 1) + self.oversleep_ns

    def engine(self, latencies_ms: Iterator[float]) -> Callable[[], None]:
        def call() -> None:
            self.now += round(next(latencies_ms) * MS)

        return call


def answered(hz: float, frames: int, *ms: float, oversleep_ns: int = 0) -> Answered:
    """The stream of an engine that takes the given times, the last one forever."""
    clock = Clock(oversleep_ns)
    call = clock.engine(chain(ms, repeat(ms[-1])))
    return run_stream(call, hz, frames, now_ns=clock.now_ns, sleep_s=clock.sleep_s)


def test_a_fast_engine_answers_every_frame_at_its_own_latency() -> None:
    run = answered(30, 300, 5)
    row = stream_row("fake/fp32", 1, 30, run)
    assert run.index.tolist() == list(range(300))
    assert set(run.age_ns.tolist()) <= {5 * MS, 5 * MS + 1}
    assert (row["missed"], row["dropped"], row["miss_rate"]) == (0, 0, 0)
    assert row["jitter_ms"] == pytest.approx(0, abs=1e-5)
    assert row["p90_ms"] == pytest.approx(5)
    assert row["p99_ms"] is None
    assert row["missing"] == {"p99_ms": 362, "p99_9_ms": 6336}
    assert row["busy"] == pytest.approx(5 / (1000 / 30), rel=0.01)


def test_arrivals_do_not_drift_when_the_sleep_is_late() -> None:
    """Frame k arrives at k/hz however late the ones before were taken."""
    run = answered(30, 3000, 1, oversleep_ns=700_000)
    assert run.index.tolist() == list(range(3000))
    assert run.begun_ns[-1] - run.arrival_ns[-1] == pytest.approx(700_000, abs=2)
    assert run.age_ns.max() == pytest.approx(1_700_000, abs=2)


def test_the_latest_frame_wins_and_those_that_waited_are_dropped() -> None:
    """100 Hz; the third call takes 35 ms: frames 3 and 4 wait, and 5 is the newest at 55 ms."""
    run = answered(100, 10, 1, 1, 35, 1)
    assert run.index.tolist() == [0, 1, 2, 5, 6, 7, 8, 9]
    assert (run.age_ns / MS).tolist() == pytest.approx([1, 1, 35, 6, 1, 1, 1, 1], abs=1e-4)
    row = stream_row("fake/fp32", 1, 100, run)
    assert row["dropped"] == 2
    assert row["missed"] == 3
    assert row["miss_rate"] == pytest.approx(0.3)
    assert row["age_max_ms"] == pytest.approx(35, abs=1e-4)


@pytest.mark.parametrize("latency_ms", [15, 25, 45])
def test_an_engine_slower_than_the_camera_is_never_idle(latency_ms: float) -> None:
    """100 Hz: it takes a frame as soon as it is free, so ages are at most latency + period."""
    run = answered(100, 1000, latency_ms)
    row = stream_row("fake/fp32", 1, 100, run)
    assert len(run.index) == pytest.approx(1000 * 10 / latency_ms, abs=2)
    assert row["miss_rate"] == 1
    assert row["busy"] == pytest.approx(1, abs=0.01)
    assert run.age_ns.max() <= (latency_ms + 10) * MS


def test_the_deadline_may_be_another_than_the_period() -> None:
    run = answered(100, 100, 6)
    assert stream_row("fake/fp32", 1, 100, run)["missed"] == 0
    assert stream_row("fake/fp32", 1, 100, run, deadline_ms=5)["missed"] == 100
    assert stream_row("fake/fp32", 1, 100, run, deadline_ms=7)["deadline_ms"] == 7


def test_jitter_is_the_deviation_of_the_time_between_answers() -> None:
    """Latencies 2, 8, 2, 8…: answers are 16 and 4 ms apart at 100 Hz."""
    clock = Clock()
    call = clock.engine(chain.from_iterable(repeat((2.0, 8.0))))
    run = run_stream(call, 100, 1001, now_ns=clock.now_ns, sleep_s=clock.sleep_s)
    assert stream_row("fake/fp32", 1, 100, run)["jitter_ms"] == pytest.approx(6, abs=0.01)


def test_too_few_answers_have_no_jitter() -> None:
    """Two seconds a call: one answer in a second of frames, and nothing to call even."""
    row = stream_row("fake/fp32", 1, 30, answered(30, 30, 2000))
    assert (row["samples"], row["jitter_ms"]) == (2, None)
    assert row["missed"] == 30


def test_planted_stalls_are_the_tail_and_the_misses() -> None:
    """One call in 200 takes 50 ms at 100 Hz: the p99.9 says it, the p99 does not."""
    rng = np.random.default_rng(0)
    ms = np.where(rng.random(7000) < 0.005, 50.0, 3.0)
    run = answered(100, 7000, *ms.tolist())
    row = stream_row("fake/fp32", 1, 100, run)
    assert row["p50_ms"] == pytest.approx(3, abs=0.01)
    assert row["p99_9_ms"] == pytest.approx(50, abs=0.01)
    assert row["p95_ms"] == pytest.approx(3, abs=0.01)
    stalls = int((run.age_ns >= 50 * MS).sum())
    assert row["dropped"] == pytest.approx(4 * stalls, abs=stalls)


@given(st.floats(1, 2000), st.integers(1, 60), st.lists(st.floats(0, 90), min_size=1, max_size=60))
def test_no_frame_is_answered_before_it_arrives_twice_or_out_of_order(
    hz: float, frames: int, ms: list[float]
) -> None:
    run = answered(hz, frames, *ms)
    assert (np.diff(run.index) >= 1).all()
    assert run.index[-1] == frames - 1
    assert (run.begun_ns >= run.arrival_ns - 1).all()
    assert (run.done_ns[:-1] <= run.begun_ns[1:]).all()
    row = stream_row("fake/fp32", 1, hz, run)
    assert 0 <= row["dropped"] <= row["missed"] <= frames


def test_a_frame_takes_three_numbers_of_eight_bytes_to_the_end() -> None:
    frames = 20_000
    tracemalloc.start()
    try:
        run = answered(1000, frames, 0.5)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert len(run.index) == frames
    assert peak / frames < 30  # room to grow and the test's own objects are the rest


def test_more_frames_than_fit_are_refused_before_the_first() -> None:
    with pytest.raises(InputError, match=r"up to 100,000,000 frames.*Lower --hz or --budget-s"):
        run_stream(lambda: pytest.fail("called"), 10_000, 30 * 86_400 * 10_000)


@pytest.mark.parametrize("hz", [0, -30, 20_000, float("nan")])
def test_a_rate_has_to_be_one(hz: float) -> None:
    with pytest.raises(InputError, match="Hz"):
        run_stream(lambda: None, hz, 10)
