"""Intervals of differences of shares on planted streams."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest

from fer_edge.benchmarks.measure.share_difference import PARTS, by_part, share_difference

FRAMES = 7200


def missed(seed: int, stalls: float, length: int) -> npt.NDArray[np.bool_]:
    """Frames of a stream; each stall spoils ``length`` frames in a row."""
    marked = np.zeros(FRAMES, np.bool_)
    for first in np.flatnonzero(np.random.default_rng(seed).random(FRAMES) < stalls):
        marked[first : first + length] = True
    return marked


@pytest.mark.parametrize(("stalls", "length"), [(0.01, 1), (0.0005, 60), (0.008, 60)])
def test_streams_without_a_difference_seldom_differ(stalls: float, length: int) -> None:
    differ = 0
    for seed in range(400):
        old, new = (by_part(missed(2 * seed + i, stalls, length)) for i in (0, 1))
        low, high = share_difference(new, FRAMES, old, FRAMES, 0.95)
        differ += not low <= 0 <= high
    assert differ <= 32  # 20 are expected


def test_single_frames_as_evidence_would_differ_too_often() -> None:
    """The reason for parts: 60 frames that one stall spoils are one observation."""
    differ = 0
    for seed in range(200):
        old, new = (missed(2 * seed + i, 0.0005, 60).mean() for i in (0, 1))
        margin = 1.96 * np.sqrt((old * (1 - old) + new * (1 - new)) / FRAMES)
        differ += abs(new - old) > margin
    assert differ > 100


def test_parts_hold_every_frame_and_one_stall_is_no_evidence() -> None:
    one = np.zeros(FRAMES, np.bool_)
    one[100:160] = True
    assert (len(by_part(one)), sum(by_part(one))) == (PARTS, 60)
    low, high = share_difference(by_part(one), FRAMES, [0] * PARTS, FRAMES, 0.95)
    assert low < 0 < high
