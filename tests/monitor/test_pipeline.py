"""Detector, tracker, classifier and driver in turn; faults of each are reported and end.

Time is turned by hand.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fer_edge.monitor import HealthCause
from fer_edge.monitor.capture import CapturedFrame
from fer_edge.monitor.detector import MAX_FACES, Boxes, Face
from fer_edge.monitor.state import MonitorState
from fer_edge.preprocess import Box, Image

MakeRig = Callable[..., Any]
Picture = Callable[..., Image]


def label(state: MonitorState) -> str | None:
    return state.persons[0].label if state.persons else None


def test_a_good_camera_gives_a_driver_with_an_expression(make_rig: MakeRig) -> None:
    state = make_rig().play(1.0)[-1]
    assert state.health.status == "ok"
    assert state.driver is not None
    assert (state.driver.label, state.driver.person) == ("neutral", 1)
    assert state.driver.baseline is not None
    assert state.driver.box == (0, 0, 64, 64)
    assert state.frame_index == 29
    assert state.time_s == pytest.approx(29 / 30)
    assert set(state.times_ms) <= {"detect", "predict", "total"}
    assert state.as_dict()["driver"] == 1


def test_an_unplugged_camera_is_lost_until_frames_come_again(make_rig: MakeRig) -> None:
    rig = make_rig()
    rig.play(1.0)
    for _ in range(8):
        rig.clock.pass_(0.5)
        state = rig.pipeline.absent("the camera gave no frame")
    assert state.health.status == "lost"
    assert state.persons == ()
    assert state.age_ms == pytest.approx(4000)
    assert state.time_s == pytest.approx(29 / 30 + 4)
    assert state.frame_index == 29
    back = rig.show(
        np.full((64, 64, 3), 50, np.uint8) // np.arange(1, 65, dtype="u1")[:, None], reopened=True
    )
    assert back.health.status == "ok"
    assert back.time_s > state.time_s
    assert label(rig.play(1.0)[-1]) == "neutral"


def test_a_frame_that_waited_for_its_reader_is_no_picture_of_now(
    make_rig: MakeRig, picture: Picture
) -> None:
    rig = make_rig()
    rig.play(1.0)
    came_s = rig.clock()
    rig.clock.pass_(3.0)  # the application did something else, and the camera died meanwhile
    state = rig.pipeline.process(CapturedFrame(picture(7), 31, came_s, None, False))
    assert state.health.status == "lost"
    assert state.health.reasons == ("the newest frame is 3.0 s old",)
    assert state.persons == ()
    assert state.age_ms == pytest.approx(3000)
    assert rig.play(0.1)[-1].health.status == "ok"


def test_a_detector_that_fails_is_told_and_tried_again(make_rig: MakeRig) -> None:
    broken = False

    def find(image: Image) -> list[Box]:
        if broken:
            raise RuntimeError("out of memory")
        return [(0, 0, 64, 64)]

    rig = make_rig(detector=Boxes(find))
    assert label(rig.play(1.0)[-1]) == "neutral"
    broken = True
    state = rig.play(1.0)[-1]
    assert state.health.status == "degraded"
    assert "face detection failed: RuntimeError('out of memory')" in state.health.reasons
    assert (state.persons[0].label, state.persons[0].cause) == (None, "lost")
    broken = False
    state = rig.play(1.0)[-1]
    assert (state.health.status, label(state)) == ("ok", "neutral")


class Gives:
    """Detector that returns the same answer for each frame."""

    def __init__(self, answer: Any) -> None:
        self._answer = answer

    def detect(self, image: Image) -> Any:
        return self._answer


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(
    "answer",
    [
        None,
        [(0, 0, 9, 9)],
        [Face(None, 1.0)],  # type: ignore[arg-type]
        [Face((5, 5, 0, 0), 1.0)],
        [Face((5, 5, 1e-300, 1e-300), 1.0)],  # type: ignore[arg-type]
        [Face((1e308, 5, 1e308, 20), 1.0)],  # type: ignore[arg-type]
        [Face((5, 5, 20, 20), 1.0, np.zeros(10, np.float32))],
        [Face((5, 5, 20, 20), 1.0, np.full((5, 2), np.nan, np.float32))],
    ],
)
def test_a_detector_that_gives_something_else_is_told(make_rig: MakeRig, answer: Any) -> None:
    states = make_rig(detector=Gives(answer), align=True).play(0.1)
    for state in states:
        assert state.health.causes == {HealthCause.DETECTOR_FAILED: "degraded"}


def test_a_detector_may_give_its_faces_one_by_one(make_rig: MakeRig) -> None:
    class Generator:
        def detect(self, image: Image) -> Any:
            yield Face((0, 0, 64, 64), 1.0)

    state = make_rig(detector=Generator()).play(1.0)[-1]
    assert (state.health.status, label(state)) == ("ok", "neutral")


def test_of_a_detector_that_fires_everywhere_the_first_faces_are_taken(make_rig: MakeRig) -> None:
    state = make_rig(detector=Gives([Face((0, 0, 64, 64), 1.0)] * 400)).play(0.2)[-1]
    assert len(state.persons) == MAX_FACES


def test_a_backend_that_dies_midway_is_replaced_and_told(
    make_rig: MakeRig, fake_variants: Callable[..., Path]
) -> None:
    rig = make_rig(fake_variants(int8={"fail_after": 20}, fp32={}))
    states = rig.play(2.0)
    assert states[5].health.status == "ok"
    assert states[-1].health.status == "degraded"
    assert "fake/fp32 answers instead: fake/int8 failed" in states[-1].health.reasons[0]
    known = [label(state) for state in states if label(state)]
    assert len(known) > 40  # not one answer was missed
    assert label(states[-1]) == "neutral"


def test_where_no_variant_is_left_nothing_is_said_until_one_runs(
    make_rig: MakeRig, fake_variants: Callable[..., Path]
) -> None:
    rig = make_rig(fake_variants(fp32={"fail_after": 30}))
    states = rig.play(1.9)
    assert states[-1].health.status == "lost"
    assert states[-1].persons == ()
    assert "no variant runs" in states[-1].health.reasons[0]
    state = rig.play(0.8)[-1]  # the engine was loaded again, with 30 more calls in it
    assert (state.health.status, label(state)) == ("ok", "neutral")


def test_a_lost_face_is_unknown_with_its_reason_and_then_gone(make_rig: MakeRig) -> None:
    there = [(0, 0, 64, 64)]
    rig = make_rig(detector=Boxes(lambda _: there))
    rig.play(1.0)
    there.clear()
    states = rig.play(3.0)
    assert label(states[5]) == "neutral"  # held for a moment
    lost = states[45].persons[0]
    assert (lost.label, lost.cause) == (None, "lost")
    assert "the face was last found 1." in (lost.reason or "")
    assert lost.box == (0, 0, 64, 64)
    assert states[-1].persons == ()
    assert states[-1].health.status == "ok"  # an empty seat is not a fault


def test_a_face_that_cannot_be_read_says_why(make_rig: MakeRig) -> None:
    rig = make_rig(detector=Boxes(lambda _: [(5, 5, 30, 30)]))
    rig.play(1.0)
    for n in range(30):
        image = np.random.default_rng(n).integers(0, 256, (64, 64, 3), np.uint8)
        image[:48, :48] //= 12
        state = rig.show(image)
    (person,) = state.persons
    assert (person.label, person.cause) == (None, "too dark")
    assert state.health.status == "ok"


# Who sits where.

LEFT, RIGHT = (10, 20, 40, 40), (120, 20, 44, 44)


def two_faces(make_rig: MakeRig, boxes: list[Box], **settings: Any) -> Any:
    return make_rig(detector=Boxes(lambda _: list(boxes)), **settings)


def show_wide(rig: Any, seconds: float, picture: Picture) -> MonitorState:
    for _ in range(round(30 * seconds)):
        state: MonitorState = rig.show(picture(rig.count, (200, 80)))
    return state


def test_frames_of_a_list_that_come_at_once_show_one_person(
    make_rig: MakeRig, picture: Picture
) -> None:
    """A list without a rate is read ahead: some frames arrive together, and then none a while."""
    rng = np.random.default_rng(0)

    def find(_: Image) -> list[Box]:
        x, y = (int(20 + step) for step in rng.integers(-2, 3, 2))
        return [(x, y, 40, 40)]

    rig = make_rig(detector=Boxes(find), live=False, detect_every=1)
    for frame in range(80):
        state = rig.show(picture(frame, (200, 80)), after_s=1e-4 if frame % 5 else 0.1)
        assert {person.person for person in state.persons} <= {1}
        for person in state.persons:
            assert np.abs(np.subtract(person.box, (20, 20, 40, 40))).max() < 8


def test_the_driver_is_who_sits_in_the_drivers_region(make_rig: MakeRig, picture: Picture) -> None:
    rig = two_faces(make_rig, [LEFT, RIGHT], driver_region=(0.0, 0.0, 0.5, 1.0))
    state = show_wide(rig, 1.0, picture)
    assert [person.is_driver for person in state.persons] == [True, False]
    assert state.driver is not None
    assert state.driver.box == LEFT
    assert [person.baseline is None for person in state.persons] == [False, True]
    assert [person.label for person in state.persons] == ["neutral", "neutral"]


def test_nobody_in_the_region_is_no_driver(make_rig: MakeRig, picture: Picture) -> None:
    rig = two_faces(make_rig, [RIGHT], driver_region=(0.0, 0.0, 0.5, 1.0))
    state = show_wide(rig, 1.0, picture)
    assert len(state.persons) == 1
    assert state.driver is None


def test_without_a_region_the_largest_face_is_the_driver_and_stays_it(
    make_rig: MakeRig, picture: Picture
) -> None:
    boxes = [LEFT, RIGHT]
    rig = two_faces(make_rig, boxes)
    state = show_wide(rig, 1.0, picture)
    assert state.driver is not None
    driver = state.driver.person
    assert state.driver.box == RIGHT
    boxes[0] = (2, 12, 56, 56)  # the passenger leans forward
    state = show_wide(rig, 1.0, picture)
    assert state.driver is not None
    assert state.driver.person == driver


def test_another_driver_has_another_number_and_a_new_baseline(
    make_rig: MakeRig, picture: Picture
) -> None:
    boxes: list[Box] = [LEFT]
    rig = two_faces(make_rig, boxes, baseline_s=1.0)
    first = show_wide(rig, 2.0, picture).driver
    assert first is not None
    assert first.baseline is not None
    assert first.baseline.ready
    boxes.clear()
    show_wide(rig, 3.0, picture)
    boxes.append(LEFT)
    second = show_wide(rig, 0.5, picture).driver
    assert second is not None
    assert second.baseline is not None
    assert second.person == 2
    assert not second.baseline.ready
    show_wide(rig, 2.0, picture)
    rig.pipeline.reset_baseline()
    again = show_wide(rig, 0.1, picture).driver
    assert again is not None
    assert again.baseline is not None
    assert not again.baseline.ready


def test_no_more_faces_than_asked_for_are_read(make_rig: MakeRig, picture: Picture) -> None:
    rig = two_faces(make_rig, [LEFT, RIGHT], max_persons=1)
    state = show_wide(rig, 1.0, picture)
    by_box = {person.box: person for person in state.persons}
    assert by_box[RIGHT].label == "neutral"
    assert by_box[LEFT].cause == "crowded"


def test_the_detector_runs_on_each_nth_frame(make_rig: MakeRig) -> None:
    calls: list[int] = []
    rig = make_rig(detector=Boxes(lambda _: calls.append(1) or [(0, 0, 64, 64)]), detect_every=5)
    rig.play(1.0)
    assert len(calls) == 6
    calls.clear()
    rig.play(1.0, hz=5)  # a slow camera: on each frame
    assert len(calls) == 5
