"""The overlay: all of it in the frame, no panel on another, the rest of the picture untouched."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fer_edge.labels import EMOTIONS
from fer_edge.monitor.layout import TOP, Layout, Panel, Type, gap_px, lay_out, plain
from fer_edge.monitor.overlay import COLOURS, DIM, HEALTH_COLOURS, draw
from fer_edge.monitor.state import Cause, Health, MonitorState, PersonState
from fer_edge.preprocess import Box

DOUBTS: list[tuple[Cause, str]] = [
    ("turned away", "the head is turned by more than about 48 degrees"),
    ("unsure", "the model is unsure: smoothed confidence 0.46 is below 0.57"),
    ("lost", "the face was last found 0.4 s ago"),
    ("small", "Größe " + "x" * 300),
]


def person(
    number: int = 1,
    box: Box = (200, 60, 120, 150),
    label: str | None = "happiness",
    *,
    is_driver: bool = True,
    doubt: tuple[Cause, str] = DOUBTS[0],
    with_bars: bool = True,
) -> PersonState:
    shares = dict.fromkeys(EMOTIONS, 0.05) | {label or "fear": 0.7}
    cause, reason = (None, None) if label else doubt
    confidence = 0.7 if label else 0.0
    return PersonState(
        number,
        box,
        label,
        confidence,
        shares if with_bars else None,
        reason,
        cause,
        is_driver,
        3.2,
        0.1,
        None,
    )


def state(*persons: PersonState, health: Health | None = None) -> MonitorState:
    return MonitorState(123, 4.1, 8.3, persons, health or Health())


def shared_px(a: Box, b: Box) -> int:
    wide = min(a[0] + a[2], b[0] + b[2]) - max(a[0], b[0])
    high = min(a[1] + a[3], b[1] + b[3]) - max(a[1], b[1])
    return max(wide, 0) * max(high, 0)


def inside(rect: Box, width: int, height: int) -> bool:
    x, y, w, h = rect
    return x >= 0 and y >= 0 and w > 0 and h > 0 and x + w <= width and y + h <= height


def texts(layout: Layout) -> list[list[str]]:
    return [[row.text for row in panel.rows] for panel in layout.panels]


# Faces at the edges, beyond them, larger than the frame, without area; in frames from 1 px on.
sides = st.one_of(st.integers(1, 64), st.integers(65, 800), st.just(1920))
lengths = st.one_of(st.integers(0, 40), st.integers(41, 400), st.just(5000))
boxes = st.tuples(st.integers(-300, 2000), st.integers(-300, 1200), lengths, lengths)
healths = st.sampled_from(
    [Health(), Health("degraded", ("frames come at 12.0 Hz, expected 30.0 Hz",) * 3)]
)


@st.composite
def states(draw_: st.DrawFn) -> MonitorState:
    persons = []
    for number, box in enumerate(draw_(st.lists(boxes, max_size=12)), 1):
        label = draw_(st.sampled_from([*EMOTIONS, None]))
        doubt = draw_(st.sampled_from(DOUBTS))
        bars = label is not None or draw_(st.booleans())
        persons.append(
            person(number, box, label, is_driver=number == 2, doubt=doubt, with_bars=bars)
        )
    return state(*persons, health=draw_(healths))


@given(states(), sides, sides, st.sampled_from([None, 29.97]))
def test_panels_and_bars_stay_in_the_frame_and_never_overlap(
    given_state: MonitorState, width: int, height: int, hz: float | None
) -> None:
    layout = lay_out(given_state, width, height, hz)
    rects = [panel.rect for panel in layout.panels] + ([layout.band] if layout.band else [])
    assert all(inside(rect, width, height) for rect in rects)
    assert not any(shared_px(a, b) for a, b in combinations(rects, 2))
    seen = [box for p in given_state.persons if shared_px(box := p.box, (0, 0, width, height))]
    assert len(layout.panels) + layout.unlabelled == len(seen)
    for panel in layout.panels:
        check_rows(panel, layout.type)


def check_rows(panel: Panel, type_: Type) -> None:
    _, _, w, h = panel.rect
    assert len(panel.rows) * type_.line_px <= h
    for row in panel.rows:
        assert type_.width_px(row.text) <= w - 2 * type_.pad_px
    bars = [row for row in panel.rows if row.share is not None]
    assert len(bars) in (0, TOP)
    if bars:
        assert panel.bar_px > 0
        assert max(type_.width_px(row.text) for row in bars) + type_.pad_px < panel.bar_x
        end = panel.bar_x + panel.bar_px + type_.width_px("100%") + type_.pad_px
        assert end <= w
        shares = [row.share for row in bars if row.share is not None]
        assert shares == sorted(shares, reverse=True)


@given(states(), st.integers(1, 500), st.integers(1, 400), st.integers(0, 255))
def test_drawing_changes_nothing_beside_boxes_panels_and_lines(
    given_state: MonitorState, width: int, height: int, grey: int
) -> None:
    frame = np.full((height, width, 3), grey, np.uint8)
    drawn = draw(frame, given_state, 30.0)
    assert drawn.shape == frame.shape
    assert (frame == grey).all(), "the caller's frame was drawn on"
    layout = lay_out(given_state, width, height, 30.0)
    touched = (drawn != frame).any(2)
    for rect in [panel.rect for panel in layout.panels] + ([layout.band] if layout.band else []):
        blank(touched, rect)
    rim = 3 * layout.type.thickness + 3
    for one in given_state.persons:
        x, y, w, h = one.box
        blank(touched, (x - rim, y - rim, w + 2 * rim, h + 2 * rim))
    for panel in layout.panels:  # the line to a face lies in the box around both
        x, y, w, h = panel.rect
        a, b, c, d = panel.person.box
        left, top = min(x, max(a, 0)), min(y, max(b, 0))
        right, low = max(x + w, min(a + c, width)), max(y + h, min(b + d, height))
        if gap_px(panel.rect, panel.person.box) > 2 * layout.type.pad_px:
            blank(touched, (left - rim, top - rim, right - left + 2 * rim, low - top + 2 * rim))
    assert not touched.any()


def blank(mask: np.ndarray, rect: Box) -> None:
    x, y, w, h = rect
    mask[max(y, 0) : max(y + h, 0), max(x, 0) : max(x + w, 0)] = False


def test_a_panel_stands_beside_its_face_and_leaves_other_faces_free() -> None:
    one = person(1, (200, 60, 120, 150))
    two = person(2, (340, 60, 110, 140), "sadness", is_driver=False)
    layout = lay_out(state(one, two), 640, 360)
    assert len(layout.panels) == 2
    for panel in layout.panels:
        assert not any(shared_px(panel.rect, p.box) for p in (one, two))
        assert gap_px(panel.rect, panel.person.box) <= 2 * layout.type.pad_px


def test_the_driver_is_named_in_capitals_and_comes_first() -> None:
    rider = person(1, (20, 60, 120, 150), "neutral", is_driver=False)
    layout = lay_out(state(rider, person(2, (300, 60, 120, 150))), 640, 360)
    assert texts(layout)[0] == [
        "DRIVER 2",
        "happiness 70% for 3 s",
        "happiness",
        "anger",
        "disgust",
    ]
    assert texts(layout)[1][:2] == ["passenger 1", "neutral 70% for 3 s"]


def test_unknown_says_its_reason_and_keeps_the_bars() -> None:
    (rows,) = texts(lay_out(state(person(label=None)), 640, 360))
    assert rows[1] == "unknown: turned away"
    assert " ".join(rows[2 + TOP :]) == DOUBTS[0][1]
    (rows,) = texts(lay_out(state(person(label=None, with_bars=False)), 640, 360))
    assert rows[1:] != []
    assert not set(rows) & set(EMOTIONS)


def test_a_face_that_fills_the_frame_has_its_panel_away_from_its_middle() -> None:
    layout = lay_out(state(person(box=(-50, -50, 740, 460))), 640, 360)
    (panel,) = layout.panels
    assert any(row.share is not None for row in panel.rows)
    assert not shared_px(panel.rect, (240, 120, 160, 120))


def test_panels_shrink_before_they_vanish_and_the_status_counts_what_is_left_out() -> None:
    crowd = [
        person(n, (40 * (n % 12), 60 * (n // 12), 30, 36), is_driver=n == 0) for n in range(48)
    ]
    layout = lay_out(state(*crowd), 480, 270, 30.0)
    sizes = {len(panel.rows) for panel in layout.panels}
    assert 1 in sizes
    assert layout.unlabelled > 0
    assert f"{layout.unlabelled} not labelled" in layout.status[0].text


def test_the_status_has_health_rate_and_age_with_reasons_below() -> None:
    health = Health("degraded", ("frames come at 12.0 Hz, expected 30.0 Hz",))
    layout = lay_out(state(person(), health=health), 640, 360, 11.9)
    lines = [row.text for row in layout.status]
    assert lines == [
        "DEGRADED   4.1 s   11.9 fps   8.3 ms old   frame 123",
        "frames come at 12.0 Hz, expected 30.0 Hz",
    ]
    assert "no face" in lay_out(state(), 640, 360).status[0].text


@pytest.mark.parametrize("ground", [0, 255])
def test_text_is_readable_on_black_and_on_white(ground: int) -> None:
    """WCAG 2 asks for a contrast of 4.5 between text and its ground."""
    frame = np.full((360, 640, 3), ground, np.uint8)
    layout = lay_out(state(person()), 640, 360)
    drawn = draw(frame, state(person()))
    (panel,) = layout.panels
    x, y, w, h = panel.rect
    paper = drawn[y + h - 1, x + w - 2].tolist()
    for colour in [*COLOURS.values(), *HEALTH_COLOURS.values(), DIM]:
        assert contrast(colour, paper) >= 4.5


def contrast(one: tuple[int, ...], other: list[int]) -> float:
    a, b = sorted((luminance(one), luminance(other)))
    return (b + 0.05) / (a + 0.05)


def luminance(bgr: tuple[int, ...] | list[int]) -> float:
    """Relative luminance, WCAG 2."""
    c = np.array(bgr[::-1]) / 255
    linear = np.where(c <= 0.04045, c / 12.92, ((c + 0.055) / 1.055) ** 2.4)
    return float(linear @ [0.2126, 0.7152, 0.0722])


def test_every_expression_has_a_colour_of_its_own() -> None:
    assert set(EMOTIONS) <= set(COLOURS)
    assert len(set(COLOURS.values())) == len(COLOURS)


def test_bars_are_as_long_as_their_probabilities() -> None:
    one = person(box=(20, 60, 100, 120), label="anger")
    drawn = draw(np.zeros((360, 640, 3), np.uint8), state(one))
    (panel,) = lay_out(state(one), 640, 360).panels
    x, y, w, h = panel.rect
    inked = (drawn[y : y + h, x + panel.bar_x : x + w] == COLOURS["anger"]).all(2)
    assert inked.any(0).sum() == pytest.approx(0.7 * panel.bar_px, abs=3)


def test_text_that_cannot_be_written_is_replaced() -> None:
    assert plain("Größe …") == "Gr??e ?"
