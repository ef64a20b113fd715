"""Overlay: a MonitorState drawn into its frame."""

from __future__ import annotations

import cv2
import numpy as np

from fer_edge.monitor.layout import FONT, Layout, Panel, TextRow, Type, clipped, gap_px, lay_out
from fer_edge.monitor.state import MonitorState, PersonState
from fer_edge.preprocess import Box, Image

Colour = tuple[int, int, int]
"""Colour as BGR, 0..255."""

# Palette of Okabe and Ito (jfly.uni-koeln.de/color), which colour-blind people can distinguish.
# Some colours are lighter than theirs, to be readable on black.
COLOURS: dict[str, Colour] = {
    "anger": (100, 150, 255),
    "contempt": (180, 150, 200),
    "disgust": (130, 190, 40),
    "fear": (210, 140, 225),
    "happiness": (70, 230, 245),
    "neutral": (225, 225, 225),
    "sadness": (245, 175, 85),
    "surprise": (50, 175, 250),
}
_UNKNOWN: Colour = (150, 150, 150)
PAPER: Colour = (28, 24, 20)
"""Colour behind text."""
DIM: Colour = (190, 190, 190)
_WHITE: Colour = (255, 255, 255)
HEALTH_COLOURS: dict[str, Colour] = {
    "ok": (120, 210, 90),
    "degraded": (40, 190, 255),
    "lost": (130, 140, 255),
}
_OPAQUE = 0.88
"""Opacity (0..1) of panels: text stays readable, and the scene shows through."""


def draw(frame: Image, state: MonitorState, hz: float | None = None) -> Image:
    """Draw a state into a copy of its frame.

    Each person gets a box in the colour of the expression; grey means unknown. The driver's box is
    thick. A lost face shows the corners of its last box alone. A panel beside the face lists the
    three likeliest expressions; the driver's panel has a white head. The banner shows the health.

    Args:
        frame: uint8 ``[H, W, 3]`` BGR, the frame of the state (``DriverMonitor.frame``).
        state: The state to draw.
        hz: Answered frames per second, shown in the banner if given.

    Returns:
        uint8 ``[H, W, 3]`` BGR.
    """
    canvas = np.ascontiguousarray(frame).copy()
    height, width = canvas.shape[:2]
    layout = lay_out(state, width, height, hz)
    for person in state.persons:
        _draw_box(canvas, person, layout.type)
    for panel in layout.panels:
        _draw_line(canvas, panel, layout.type)
    near = {panel.person.person for panel in layout.panels if _is_near(panel, layout.type)}
    for person in state.persons:
        if person.person not in near:
            _draw_number(canvas, person, layout.type)
    for panel in layout.panels:
        _draw_panel(canvas, panel, layout.type)
    _draw_band(canvas, layout, state.health.status)
    return canvas


def _draw_box(canvas: Image, person: PersonState, type_: Type) -> None:
    height, width = canvas.shape[:2]
    box = clipped(person.box, width, height)
    if box is None:
        return
    x, y, w, h = box
    colour = _colour_of(person)
    thick = type_.thickness * (2 if person.is_driver else 1)
    arm = max(min(w, h) // 4, 1) if person.cause == "lost" else max(w, h)
    for ink, wide in ((PAPER, thick + 2), (colour, thick)):  # dark edge: contrast on any picture
        for cx, dx in ((x, 1), (x + w - 1, -1)):
            for cy, dy in ((y, 1), (y + h - 1, -1)):
                along, down = min(arm, w - 1), min(arm, h - 1)
                cv2.line(canvas, (cx, cy), (cx + dx * along, cy), ink, wide)
                cv2.line(canvas, (cx, cy), (cx, cy + dy * down), ink, wide)


def _draw_line(canvas: Image, panel: Panel, type_: Type) -> None:
    """Draw a line from a panel to its face, unless they are close."""
    height, width = canvas.shape[:2]
    face = clipped(panel.person.box, width, height)
    assert face is not None
    if not _is_near(panel, type_):
        ends = _nearest(panel.rect, face), _nearest(face, panel.rect)
        cv2.line(canvas, *ends, PAPER, type_.thickness + 2, cv2.LINE_AA)
        cv2.line(canvas, *ends, _colour_of(panel.person), type_.thickness, cv2.LINE_AA)


def _is_near(panel: Panel, type_: Type) -> bool:
    """Return True if a panel is close enough to need no line."""
    return gap_px(panel.rect, panel.person.box) <= 2 * type_.pad_px


def _draw_number(canvas: Image, person: PersonState, type_: Type) -> None:
    """Draw the person's number into the face's box."""
    box = clipped(person.box, canvas.shape[1], canvas.shape[0])
    text = str(person.person)
    wide, high = type_.width_px(text) + 2 * type_.pad_px, type_.line_px + type_.pad_px
    if box is None or wide > box[2] or high > box[3]:
        return
    x, y = box[0], box[1] + box[3] - high
    _draw_ground(canvas, (x, y, wide, high))
    write(canvas, text, (x + type_.pad_px, _baseline(y, 0, type_)), _WHITE, type_)


def _nearest(one: Box, other: Box) -> tuple[int, int]:
    """Return the point of one box nearest to the other's centre."""
    x, y, w, h = one
    middle = other[0] + other[2] // 2, other[1] + other[3] // 2
    return min(max(middle[0], x), x + w - 1), min(max(middle[1], y), y + h - 1)


def _draw_panel(canvas: Image, panel: Panel, type_: Type) -> None:
    x, y, w, _ = panel.rect
    _draw_ground(canvas, panel.rect)
    stripe = max(type_.pad_px // 3, 1)
    canvas[y : y + panel.rect[3], x : x + stripe] = _colour_of(panel.person)
    known = panel.person.label is not None
    for number, row in enumerate(panel.rows):
        base = _baseline(y, number, type_)
        if row.role == "driver":
            canvas[y : y + type_.pad_px // 2 + type_.line_px, x : x + w] = DIM
        write(canvas, row.text, (x + type_.pad_px, base), _ink(row), type_)
        if row.share is not None:
            colour = COLOURS.get(row.label or "", _WHITE) if known else _UNKNOWN
            start = x + panel.bar_x
            low, high = base - round(0.55 * type_.line_px), base
            canvas[low:high, start : start + panel.bar_px] = (70, 66, 62)
            share = min(max(row.share, 0.0), 1.0)
            canvas[low:high, start : start + round(share * panel.bar_px)] = colour
            text = f"{share:.0%}"
            right = x + w - type_.pad_px - type_.width_px(text)
            write(canvas, text, (right, base), _ink(row), type_)


def _draw_band(canvas: Image, layout: Layout, status: str) -> None:
    if layout.band is None:
        return
    _draw_ground(canvas, layout.band)
    x, y, _, _ = layout.band
    for number, row in enumerate(layout.status):
        colour = HEALTH_COLOURS[status] if row.role == "health" else _WHITE
        at = x + layout.type.pad_px, _baseline(y, number, layout.type)
        write(canvas, row.text, at, colour, layout.type)


def _draw_ground(canvas: Image, rect: Box) -> None:
    x, y, w, h = rect
    part = canvas[y : y + h, x : x + w]
    ground = np.full_like(part, PAPER)
    part[:] = cv2.addWeighted(part, 1 - _OPAQUE, ground, _OPAQUE, 0)


def write(canvas: Image, text: str, at: tuple[int, int], colour: Colour, type_: Type) -> None:
    """Write text into a picture; ``at`` is the left end of its baseline."""
    cv2.putText(canvas, text, at, FONT, type_.scale, colour, type_.thickness, cv2.LINE_AA)


def _baseline(y: int, row: int, type_: Type) -> int:
    return y + type_.pad_px // 2 + row * type_.line_px + round(0.72 * type_.line_px)


def _ink(row: TextRow) -> Colour:
    if row.role == "label":
        return COLOURS.get(row.label or "", _WHITE)
    if row.role == "driver":
        return PAPER
    if row.role in ("unknown", "reason", "passenger"):
        return DIM
    return _WHITE


def _colour_of(person: PersonState) -> Colour:
    return COLOURS.get(person.label or "", _UNKNOWN)
