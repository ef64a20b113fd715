"""DriverMonitor on real clips, with the shipped model and YuNet."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from fer_edge.monitor import DriverMonitor, MonitorState, Settings


def watch(path: Path, detector: Path, **settings: object) -> list[MonitorState]:
    with DriverMonitor(
        None,
        path,
        detector=detector,
        threads=1,
        settings=Settings(**settings),  # type: ignore[arg-type]
    ) as monitor:
        return list(monitor)


def persons(states: list[MonitorState]) -> Counter[int]:
    return Counter(person.person for state in states for person in state.persons)


@pytest.mark.parametrize("clip", ["single_face.mp4", "asl_again.mkv"])
def test_one_face_is_one_person_with_an_expression(
    shared: Path, yunet_file: Path, clip: str
) -> None:
    states = watch(shared / "data/video" / clip, yunet_file)
    assert persons(states) == {1: len(states) - 3}  # from the second detection on
    assert {state.health.status for state in states} == {"ok"}
    driver = states[-1].driver
    assert driver is not None
    assert driver.label in ("neutral", "happiness")
    assert all(state.driver is not None for state in states[3:])
    for state in states[3:]:
        x, y, w, _ = state.persons[0].box
        assert (x, y) >= (0, 0)
        assert w > 40


def test_where_no_face_is_there_is_no_person(shared: Path, yunet_file: Path) -> None:
    states = watch(shared / "data/video/no_face.mp4", yunet_file)
    assert len(states) == 95
    assert persons(states) == {}
    assert {state.health.status for state in states} == {"ok"}


def test_two_people_keep_their_numbers_and_sides(shared: Path, yunet_file: Path) -> None:
    clip = shared / "data/video/head-pose-face-detection-female-and-male.gif"
    states = watch(clip, yunet_file, driver_region=(0.5, 0.0, 0.5, 1.0))
    assert set(persons(states)) == {1, 2}
    sides = {(person.person, person.box[0] > 240) for state in states for person in state.persons}
    assert len(sides) == 2  # nobody changes sides
    drivers = {state.driver.box[0] > 240 for state in states if state.driver}
    assert drivers == {True}


def test_faces_in_the_distance_are_found_and_called_small(shared: Path, yunet_file: Path) -> None:
    states = watch(shared / "data/video/classroom.gif", yunet_file)
    assert len(states[-1].persons) >= 3
    assert "small" in {person.cause for person in states[-1].persons}


def test_expressions_follow_each_other_over_time(shared: Path, yunet_file: Path) -> None:
    """A woman who cries, then hides her mouth, then laughs."""
    states = watch(shared / "data/video/WolfgangLanger_Pexels.mp4", yunet_file)
    assert set(persons(states)) == {1}
    labels: list[str] = []
    for state in states:
        label = state.persons[0].label if state.persons else None
        if label and (not labels or labels[-1] != label):
            labels.append(label)
    assert labels[0] == "sadness"
    assert labels[-1] == "happiness"
    assert len(labels) <= 6  # it does not flicker
    assert max(person.flicker_hz for state in states for person in state.persons) < 0.5
    told = [event for state in states for event in state.events]
    assert {"sadness", "happiness"} <= {event.kind for event in told}
    for event in told:
        assert event.end_s is None or event.end_s - event.start_s >= 2.0
