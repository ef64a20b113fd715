"""Clips as cameras: repeated, and at a fixed rate."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fer_edge import InputError
from fer_edge.benchmarks.studies.clips import paced, repeated


def test_a_clip_goes_on_for_as_long_as_is_asked(clip: Path) -> None:
    frames = list(repeated(clip, 17))
    assert len(frames) == 17
    assert (frames[0] == frames[7]).all()
    assert (frames[2] == frames[16]).all()
    assert not (frames[0] == frames[1]).all()


def test_what_is_no_clip_is_told(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="expected a video"):
        list(repeated(tmp_path / "nowhere.mp4", 1))


@given(st.floats(1, 1000), st.integers(0, 40), st.lists(st.floats(0, 0.2), min_size=1))
def test_frames_never_come_before_their_time_and_do_not_drift(
    hz: float, frames: int, work_s: list[float]
) -> None:
    now = [50.0]

    def sleep(seconds: float) -> None:
        now[0] += seconds

    images = [np.zeros((1, 1, 3), np.uint8)]
    for number, (time_s, _) in enumerate(
        paced(images, hz, frames, now_s=lambda: now[0], sleep_s=sleep)
    ):
        assert time_s == pytest.approx(number / hz)
        assert now[0] >= 50 + time_s - 1e-9
        if not any(work_s):
            assert now[0] == pytest.approx(50 + time_s, abs=1e-6)
        now[0] += work_s[number % len(work_s)]
