"""Layout of the overlay: panels beside their faces, never on each other."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Literal

import cv2
import numpy as np

from fer_edge.monitor.state import MonitorState, PersonState
from fer_edge.preprocess import Box

FONT = cv2.FONT_HERSHEY_SIMPLEX
TOP = 3
"""Expressions shown as bars."""

Role = Literal["driver", "passenger", "label", "unknown", "reason", "bar", "status", "health"]

_LINES_IN_FRAME = 24
"""Text lines that fill the frame height; sets the font size."""
_LEAST_SCALE, _MOST_SCALE = 0.38, 2.0
"""Smallest and largest scale for cv2.putText. Below 0.38 its strokes merge."""
_REASON_LINES = 3
"""Most lines for the reason in a panel."""
_BAND_SHARE = 0.4
"""Largest share (0..1) of the frame height for the health banner."""
_GRID = 16
"""Rows and columns of the search grid. It is for panels that do not fit beside their face."""


@dataclass(frozen=True, slots=True)
class Type:
    """Text of one size.

    Attributes:
        scale: Scale for cv2.putText.
        thickness: Stroke width for cv2.putText, in pixels.
        line_px: Height of a line.
        pad_px: Space around text.
    """

    scale: float
    thickness: int
    line_px: int
    pad_px: int

    @staticmethod
    def for_frame(width: int, height: int) -> Type:
        """Return the size that suits a frame of ``width`` x ``height`` pixels."""
        # putText's capitals are 22 px high at scale 1; a line is 1.8 times as high.
        scale = min(width * 9 / 16, height) / _LINES_IN_FRAME / 40
        scale = min(max(scale, _LEAST_SCALE), _MOST_SCALE)
        return Type(scale, max(round(1.6 * scale), 1), round(40 * scale), max(round(10 * scale), 3))

    def width_px(self, text: str) -> int:
        """Return the width of one line of text."""
        return int(cv2.getTextSize(text, FONT, self.scale, self.thickness)[0][0])

    def wrap(self, text: str, width_px: int, lines: int) -> list[str]:
        """Break text into at most ``lines`` lines; "..." marks a cut."""
        rows = [""]
        for word in plain(text).split():
            longer = f"{rows[-1]} {word}".strip()
            if not rows[-1] or self.width_px(longer) <= width_px:
                rows[-1] = longer
            else:
                rows.append(word)
        if len(rows) > lines:
            rows = [*rows[: lines - 1], f"{rows[lines - 1]} ..."]
        return [self.cut(row, width_px) for row in rows]

    def cut(self, text: str, width_px: int) -> str:
        """Shorten one line to a width; a shortened line ends with ".."."""
        while text and self.width_px(text) > width_px:
            text = text[:-5].rstrip() + " .." if len(text) > 5 else ""
        return text


@dataclass(frozen=True, slots=True)
class TextRow:
    """One line of a panel or of the health banner.

    Attributes:
        text: ASCII text.
        role: Part of the panel that the line is; sets its style.
        label: Expression that sets the colour, or None.
        share: Filled share (0..1) of the line's bar, or None without a bar.
    """

    text: str
    role: Role
    label: str | None = None
    share: float | None = None


@dataclass(frozen=True, slots=True)
class Panel:
    """Panel of one person.

    Attributes:
        person: The person.
        rect: ``(x, y, width, height)`` in pixels of the frame.
        rows: Lines from top to bottom.
        bar_x: Left end of the bars in pixels of the panel; 0 without bars.
        bar_px: Length of a full bar in pixels; 0 without bars.
    """

    person: PersonState
    rect: Box
    rows: tuple[TextRow, ...]
    bar_x: int = 0
    bar_px: int = 0


@dataclass(frozen=True, slots=True)
class Layout:
    """Places of everything that the overlay draws.

    Attributes:
        type: Size of all text.
        panels: Panels, the driver's first.
        unlabelled: Number of persons without room for a panel.
        band: Health banner at the lower edge, ``(x, y, width, height)`` in pixels. None if the
            frame is too small.
        status: Lines of the banner.
    """

    type: Type
    panels: tuple[Panel, ...]
    unlabelled: int
    band: Box | None
    status: tuple[TextRow, ...]


def lay_out(state: MonitorState, width: int, height: int, hz: float | None = None) -> Layout:
    """Place a panel for each person, and the health banner.

    The driver comes first, then the others by number. A panel shrinks from bars to two lines to
    one line until it covers no other panel and no other face. If none fits, the panel is left
    out. A panel covers its own face only if there is no room beside the face.

    Args:
        state: The state to show.
        width: Width of the frame in pixels.
        height: Height of the frame in pixels.
        hz: Answered frames per second for the banner, or None.
    """
    type_ = Type.for_frame(width, height)
    band, status = _band(state, type_, width, height, hz, 0)
    persons = sorted(state.persons, key=lambda person: (not person.is_driver, person.person))
    faces = {person.person: clipped(person.box, width, height) for person in persons}
    taken = [] if band is None else [band]
    panels: list[Panel] = []
    for person in persons:
        face = faces[person.person]
        others = [box for number, box in faces.items() if box and number != person.person]
        panel = _place(person, face, others, taken, type_, width, height) if face else None
        if panel is not None:
            panels.append(panel)
            taken.append(panel.rect)
    unlabelled = sum(face is not None for face in faces.values()) - len(panels)
    if unlabelled:  # the band keeps its height: the number is part of its first line
        _, status = _band(state, type_, width, height, hz, unlabelled)
    return Layout(type_, tuple(panels), unlabelled, band, status)


def clipped(box: Box, width: int, height: int) -> Box | None:
    """Return the part of a box inside the frame, or None."""
    x, y, w, h = box
    left, top = max(x, 0), max(y, 0)
    right, bottom = min(x + w, width), min(y + h, height)
    return (left, top, right - left, bottom - top) if right > left and bottom > top else None


def gap_px(one: Box, other: Box) -> float:
    """Return the distance between two boxes in pixels; 0 on contact."""
    (x, y, w, h), (a, b, c, d) = one, other
    return math.hypot(max(a - x - w, x - a - c, 0), max(b - y - h, y - b - d, 0))


def plain(text: str) -> str:
    """Replace characters outside ASCII, which cv2.putText cannot draw."""
    return text.encode("ascii", "replace").decode()


def top(person: PersonState) -> list[tuple[str, float]]:
    """Return the likeliest expressions with their smoothed probabilities."""
    shares = (person.probabilities or {}).items()
    return sorted(shares, key=lambda item: -item[1])[:TOP]


def _band(
    state: MonitorState, type_: Type, width: int, height: int, hz: float | None, unlabelled: int
) -> tuple[Box | None, tuple[TextRow, ...]]:
    """Lay out the health banner: one line of figures, then reasons."""
    room = width - 2 * type_.pad_px
    parts = [state.health.status.upper(), f"{state.time_s:.1f} s"]
    if unlabelled:
        parts.append(f"{unlabelled} not labelled")
    if hz is not None:
        parts.append(f"{hz:.1f} fps")
    parts.append(f"{state.age_ms:.1f} ms old")
    if not state.persons and state.health.status != "lost":
        parts.append("no face")
    parts.append(f"frame {state.frame_index}")
    while parts and type_.width_px("   ".join(parts)) > room:
        parts.pop()
    fit = min(int(height * _BAND_SHARE), height) // type_.line_px
    if not parts or fit < 1:
        return None, ()
    rows = [TextRow("   ".join(parts), "health")]
    for reason in state.health.reasons:
        rows += [TextRow(line, "status") for line in type_.wrap(reason, room, 2)]
    rows = rows[:fit]
    high = len(rows) * type_.line_px + type_.pad_px
    return (0, height - high, width, high), tuple(rows)


def _place(
    person: PersonState,
    face: Box,
    others: list[Box],
    taken: list[Box],
    type_: Type,
    width: int,
    height: int,
) -> Panel | None:
    """Return the largest panel that fits, beside the face if possible."""
    variants = [_full(person, type_), _short(person, type_), _tag(person, type_)]
    for obstacles in ([*taken, *others, face], [*taken, *others]):
        for rows, bar_x, bar_px, wide in variants:
            high = len(rows) * type_.line_px + type_.pad_px
            spot = _spot((wide, high), face, obstacles, width, height, type_.pad_px)
            if spot is not None:
                room = wide - 2 * type_.pad_px
                rows = tuple(replace(row, text=type_.cut(row.text, room)) for row in rows)
                return Panel(person, (*spot, wide, high), rows, bar_x, bar_px)
    return None


RowLayout = tuple[tuple[TextRow, ...], int, int, int]
"""Rows, bars' left end and length, and panel width, in pixels."""


def _full(person: PersonState, type_: Type) -> RowLayout:
    pad, percent_px = type_.pad_px, type_.width_px("100%")
    names = [plain(name) for name in person.probabilities or ()]
    longest = max(names, key=type_.width_px, default="")
    bar_x = type_.width_px(longest) + 3 * pad
    # The width does not depend on the text, so that the panel does not jump.
    wide = 2 * pad + max(
        type_.width_px("unknown: turned away"),
        type_.width_px(f"{longest} 100% for 99 s"),
        bar_x + percent_px + 4 * type_.line_px if names else 0,
    )
    rows = [_title(person), _state(person)]
    rows += [TextRow(plain(name), "bar", name, share) for name, share in top(person)]
    if person.reason:
        lines = type_.wrap(person.reason, wide - 2 * pad, _REASON_LINES)
        rows += [TextRow(line, "reason") for line in lines]
    bar_px = wide - bar_x - percent_px - 2 * pad
    return tuple(rows), bar_x if names else 0, bar_px if names else 0, wide


def _short(person: PersonState, type_: Type) -> RowLayout:
    rows = (_title(person), _state(person))
    return rows, 0, 0, max(type_.width_px(row.text) for row in rows) + 2 * type_.pad_px


def _tag(person: PersonState, type_: Type) -> RowLayout:
    role: Role = "label" if person.label else "unknown"
    row = TextRow(f"{person.person} {plain(person.label or '?')}", role, person.label)
    return (row,), 0, 0, type_.width_px(row.text) + 2 * type_.pad_px


def _title(person: PersonState) -> TextRow:
    if person.is_driver:
        return TextRow(f"DRIVER {person.person}", "driver")
    return TextRow(f"passenger {person.person}", "passenger")


def _state(person: PersonState) -> TextRow:
    if person.label is None:
        return TextRow(f"unknown: {person.cause or '?'}", "unknown")
    text = f"{plain(person.label)} {min(person.confidence, 1):.0%} for {person.since_s:.0f} s"
    return TextRow(text, "label", person.label)


def _spot(
    size: tuple[int, int], face: Box, obstacles: list[Box], width: int, height: int, gap: int
) -> tuple[int, int] | None:
    """Return the free place nearest to the face, or None.

    Ties go to the right of the face, then left, then above and below.
    """
    wide, high = size
    if wide > width or high > height:
        return None
    x, y, w, h = face
    beside_x, beside_y = [x + w + gap, x - wide - gap], [y + h + gap, y - high - gap]
    xs = [*beside_x, x, x + w - wide, *np.linspace(0, width - wide, _GRID, dtype=int).tolist()]
    ys = [*beside_y, y, y + h - high, *np.linspace(0, height - high, _GRID, dtype=int).tolist()]
    grid = np.meshgrid(np.clip(xs, 0, width - wide), np.clip(ys, 0, height - high))
    spots = np.stack([axis.ravel() for axis in grid], 1)
    low, far = spots - [x + w, y + h], [x, y] - (spots + np.array(size))
    near = np.hypot(*np.maximum(np.maximum(low, far), 0).T)
    free = near <= max(wide, high)
    for x0, y0, w0, h0 in obstacles:
        left, above = spots[:, 0] + wide <= x0, spots[:, 1] + high <= y0
        right, below = spots[:, 0] >= x0 + w0, spots[:, 1] >= y0 + h0
        free &= left | right | above | below
    if not free.any():
        return None
    middle = np.array([x + w / 2, y + h / 2])
    offset = spots + np.array(size) / 2 - middle
    aside = np.abs(spots[:, 1] - y) / height  # prefers panel and face with level tops
    cost = near + gap * (aside + (offset[:, 0] < 0) + 2 * (np.abs(offset[:, 0]) < (w + wide) / 2))
    # A panel that must cover its own face stays away from its middle: eyes, nose and mouth.
    on_face = (np.abs(offset) < (np.array([w, h]) + size) / 2).all(1)
    cost = cost - np.where(on_face, np.hypot(*offset.T), 0)
    best = np.where(free, cost, np.inf).argmin()
    return int(spots[best, 0]), int(spots[best, 1])
