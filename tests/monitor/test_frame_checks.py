"""Frames without a picture, frozen, black, of a wrong size or rate are reported."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from fer_edge.monitor.state import MonitorState
from fer_edge.preprocess import Image

MakeRig = Callable[..., Any]
Picture = Callable[..., Image]


def label(state: MonitorState) -> str | None:
    return state.persons[0].label if state.persons else None


FAULTS = {
    "frozen": (
        lambda n: np.full((64, 64, 3), 9, np.uint8) + np.eye(64, dtype="u1")[..., None] * 99,
        2.0,
        "frozen: the same picture",
    ),
    "black": (
        lambda n: np.random.default_rng(n).integers(0, 4, (64, 64, 3), np.uint8),
        0.1,
        "shows nothing: brightness 1 of 255",
    ),
    "glare": (
        lambda n: np.random.default_rng(n).integers(252, 256, (64, 64, 3), np.uint8),
        0.1,
        "shows nothing: brightness 25",
    ),
    "float": (lambda n: np.random.default_rng(n).random((64, 64, 3)), 0.1, "dtype uint8"),
    "no array": (lambda n: "frame", 0.1, "expected an image as a numpy array"),
    "alpha": (lambda n: np.zeros((64, 64, 4), np.uint8), 0.1, "alpha"),
    "tiny": (lambda n: np.zeros((2, 2, 3), np.uint8), 0.1, "at least 8x8"),
    "empty": (lambda n: np.zeros((0, 64, 3), np.uint8), 0.1, "at least 8x8"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_picture_of_nothing_is_lost_and_recovers(make_rig: MakeRig, fault: str) -> None:
    image, seconds, reason = FAULTS[fault]
    rig = make_rig()
    assert label(rig.play(1.0)[-1]) == "neutral"
    for n in range(round(30 * seconds)):
        state = rig.show(image(n))
    assert state.health.status == "lost"
    assert reason in state.health.reasons[0]
    assert state.persons == ()  # no stale answer
    assert state.driver is None
    assert rig.pipeline.frame is None
    back = rig.play(0.5)
    assert back[0].health.status == "ok"
    assert label(back[-1]) == "neutral"
    assert back[-1].persons[0].person == 1  # the same person as before


def test_after_a_long_fault_nobody_is_known_from_before(make_rig: MakeRig) -> None:
    rig = make_rig()
    rig.play(1.0)
    for _ in range(90):
        rig.show(np.zeros((64, 64, 3), np.uint8))
    back = rig.play(1.0)
    assert label(back[6]) is None
    assert [person.person for person in back[-1].persons] == [2]
    assert label(back[-1]) == "neutral"


def test_a_still_picture_is_fine_where_stills_are_wanted(make_rig: MakeRig) -> None:
    rig = make_rig(frozen_s=None)
    image = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    states = [rig.show(image) for _ in range(90)]
    assert {state.health.status for state in states} == {"ok"}


def test_a_recording_that_repeats_a_few_frames_is_not_frozen(
    make_rig: MakeRig, picture: Picture
) -> None:
    rig = make_rig()
    states = [rig.show(picture(n // 15)) for n in range(90)]
    assert {state.health.status for state in states} == {"ok"}


def test_a_camera_that_shows_the_last_picture_again_when_it_comes_back_is_not_frozen(
    make_rig: MakeRig, picture: Picture
) -> None:
    rig = make_rig()
    rig.show(picture(1))
    rig.clock.pass_(5)
    assert rig.show(picture(1)).health.status == "lost"
    assert rig.show(picture(1), reopened=True).health.status == "ok"


def test_frames_of_another_size_are_answered_and_told(make_rig: MakeRig, picture: Picture) -> None:
    rig = make_rig()
    rig.play(1.0)
    for n in range(30):
        state = rig.show(picture(n, (96, 80)))
    assert state.health.status == "degraded"
    assert state.health.reasons == ("frames are 96x80, expected 64x64",)
    assert [person.person for person in state.persons] == [2]  # another scene
    assert label(state) == "neutral"
    assert rig.play(0.1)[-1].health.status == "ok"


def test_the_first_frame_may_be_of_the_wrong_size(make_rig: MakeRig, picture: Picture) -> None:
    assert make_rig(expected_size=(640, 360)).play(0.1)[-1].health.status == "degraded"
    assert make_rig(expected_size=(64, 64)).play(0.1)[-1].health.status == "ok"


def test_a_grey_camera_is_fine(make_rig: MakeRig, picture: Picture) -> None:
    rig = make_rig()
    for n in range(30):
        state = rig.show(picture(n)[:, :, 0])
    assert (state.health.status, label(state)) == ("ok", "neutral")


@pytest.mark.parametrize(
    ("hz", "status"), [(30, "ok"), (25, "ok"), (8, "degraded"), (60, "degraded")]
)
def test_a_camera_at_the_wrong_rate(make_rig: MakeRig, hz: float, status: str) -> None:
    rig = make_rig(expected_hz=30.0)
    state = rig.play(4.0, hz)[-1]
    assert state.health.status == status
    if status == "degraded":
        assert state.health.reasons == (f"frames come at {hz:.1f} Hz, expected 30.0 Hz",)
        assert rig.play(4.0, 30)[-1].health.status == "ok"
    assert label(state) == "neutral"
