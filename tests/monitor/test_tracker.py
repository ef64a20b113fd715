"""Numbers that stay with their persons, and boxes that move with them."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fer_edge.monitor.detector import Face
from fer_edge.monitor.tracker import Tracker


def face(x: float, y: float, side: float = 60, score: float = 0.9) -> Face:
    box = (round(x - side / 2), round(y - side / 2), round(side), round(side))
    return Face(box, score)


def persons(tracker: Tracker) -> list[int]:
    return [track.person for track in tracker.people]


def test_one_detection_alone_makes_no_person() -> None:
    tracker = Tracker(2.0)
    tracker.update([face(100, 100)], 0.0)
    assert persons(tracker) == []
    tracker.update([], 0.1)
    tracker.update([face(100, 100)], 0.2)
    assert persons(tracker) == []
    tracker.update([face(101, 100)], 0.3)
    assert persons(tracker) == [1]


def test_a_person_keeps_the_number_across_a_short_loss_and_not_across_a_long_one() -> None:
    tracker = Tracker(2.0)
    for time_s in (0.0, 0.1, 0.2):
        tracker.update([face(100, 100)], time_s)
    tracker.update([], 0.3)
    assert [track.missed for track in tracker.people] == [True]
    tracker.update([face(130, 110)], 1.9)
    assert persons(tracker) == [1]
    assert not tracker.people[0].missed
    for time_s in (5.0, 5.1):  # nobody looked in between
        tracker.update([face(130, 110)], time_s)
    assert persons(tracker) == [2]


def test_a_loss_that_lasts_removes_the_person() -> None:
    tracker = Tracker(1.0)
    for time_s in (0.0, 0.1, 0.5, 1.0):
        tracker.update([face(100, 100)] if time_s <= 0.1 else [], time_s)
    assert persons(tracker) == [1]
    tracker.update([], 1.2)
    assert persons(tracker) == []


def test_another_scene_has_other_persons() -> None:
    tracker = Tracker(2.0)
    for time_s in (0.0, 0.1):
        tracker.update([face(100, 100)], time_s)
    tracker.clear()
    for time_s in (0.2, 0.3):
        tracker.update([face(100, 100)], time_s)
    assert persons(tracker) == [2]


def test_a_face_of_another_size_is_somebody_else() -> None:
    tracker = Tracker(2.0)
    for time_s in (0.0, 0.1):
        tracker.update([face(100, 100, 60)], time_s)
    tracker.update([face(100, 100, 200)], 0.2)
    assert tracker.people[0].missed


def test_boxes_move_on_between_detections_and_stop_soon() -> None:
    tracker = Tracker(2.0)
    for step in range(20):
        tracker.update([face(100 + 12 * step, 100)], step * 0.1)  # 120 px/s
    track = tracker.people[0]
    x = track.centre_at(1.9)[0]
    assert abs(x - 328) < 4
    assert abs(track.centre_at(2.0)[0] - x - 12) < 2
    assert track.centre_at(9.0)[0] - x < 60  # not to the other end of the frame


@pytest.mark.parametrize("gap_s", [1e-2, 1e-3, 1e-5])
def test_a_face_that_sits_still_stays_where_it_is_in_a_burst_of_detections(gap_s: float) -> None:
    tracker, rng, time_s = Tracker(2.0), np.random.default_rng(0), 0.0
    for step in range(120):
        time_s += gap_s if step % 12 < 5 else 1 / 30  # frames that waited come all at once
        tracker.update([face(*(100 + rng.integers(-2, 3, 2)))], time_s)
        for track in tracker.people:
            assert np.abs(track.centre_at(time_s + 0.3) - 100).max() < 30  # half a face
    assert persons(tracker) == [1]


def test_landmarks_move_with_the_box() -> None:
    tracker = Tracker(2.0)
    for step in range(10):
        at = 100 + 12 * step
        points = np.full((5, 2), at, np.float32)
        tracker.update([Face((at - 30, 70, 60, 60), 0.9, points)], step * 0.1)
    track = tracker.people[0]
    moved = track.landmarks_at(0.95)
    assert moved is not None
    assert np.allclose(moved[:, 0] - 208, track.centre_at(0.95)[0] - track.centre[0], atol=1e-3)


@given(
    st.lists(st.integers(-8, 8), min_size=30, max_size=30),
    st.lists(st.integers(-8, 8), min_size=30, max_size=30),
    st.lists(st.sampled_from("ab "), min_size=30, max_size=30),
    st.randoms(use_true_random=False),
)
def test_identities_never_swap_for_separated_motion(
    steps_a: list[int], steps_b: list[int], lost: list[str], shuffle: object
) -> None:
    """Two heads, 60 px large and 180 px apart, move at most 8 px a step.

    The detector misses some at times, and gives them in any order.
    """
    tracker = Tracker(2.0)
    a, b = 200.0, 520.0
    numbers: dict[str, set[int]] = {"a": set(), "b": set()}
    for step, (da, db, missing) in enumerate(zip(steps_a, steps_b, lost, strict=True)):
        a, b = min(a + da, 270), max(b + db, 450)
        faces = [face(at, 200) for name, at in (("a", a), ("b", b)) if name != missing]
        shuffle.shuffle(faces)  # type: ignore[attr-defined]
        tracker.update(faces, step / 15)
        for track in tracker.people:
            numbers["a" if track.centre[0] < 360 else "b"].add(track.person)
    assert len(numbers["a"]) <= 1
    assert len(numbers["b"]) <= 1
    assert not numbers["a"] & numbers["b"]


@given(
    st.lists(
        st.tuples(st.integers(-300, 900), st.integers(-300, 900), st.integers(8, 500)), max_size=8
    ),
    st.floats(0, 1),
)
def test_boxes_stay_in_the_frame(places: list[tuple[int, int, int]], later_s: float) -> None:
    tracker = Tracker(2.0)
    for step, (x, y, side) in enumerate(places):
        tracker.update([face(x, y, side)], step * 0.1)
        for track in tracker.people:
            box = track.box_at(step * 0.1 + later_s, 640, 360)
            if box is not None:
                left, top, w, h = box
                assert 0 <= left < left + w <= 640
                assert 0 <= top < top + h <= 360
