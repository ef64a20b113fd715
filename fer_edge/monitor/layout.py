"""Where the overlay's panels stand: in the frame, beside their faces, and never on each other."""

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
"""So many expressions have a bar."""

Role = Literal["driver", "passenger", "label", "unknown", "reason", "bar", "status", "health"]

_LINES_IN_FRAME = 24
"""The text's size: so many lines would fill the frame."""
_LEAST_SCALE, _MOST_SCALE = 0.38, 2.0
"""cv2.putText's strokes run into each other below 0.38."""
_REASON_LINES = 3
_BAND_SHARE = 0.4
"""More of the frame's height than this is not given to the health's reasons."""
_GRID = 16
"""A panel that does not fit right beside its face looks for a place on so many rows and columns."""


@dataclass(frozen=True, slots=True)
class Type:
    """Text in one size: cv2.putText's scale and thickness, and lengths in px."""

    scale: float
    thickness: int
    line_px: int
    pad_px: int

    @staticmethod
    def for_frame(width: int, height: int) -> Type:
        # putText's capitals are 22 px high at scale 1; a line is 1.8 times as high.
        scale = min(width * 9 / 16, height) / _LINES_IN_FRAME / 40
        scale = min(max(scale, _LEAST_SCALE), _MOST_SCALE)
        return Type(scale, max(round(1.6 * scale), 1), round(40 * scale), max(round(10 * scale), 3))

    def width_px(self, text: str) -> int:
        return int(cv2.getTextSize(text, FONT, self.scale, self.thickness)[0][0])

    def wrap(self, text: str, width_px: int, lines: int) -> list[str]:
        """At most so many lines; what is left over becomes "..."."""
        found = [""]
        for word in plain(text).split():
            longer = f"{found[-1]} {word}".strip()
            if not found[-1] or self.width_px(longer) <= width_px:
                found[-1] = longer
            else:
                found.append(word)
        if len(found) > lines:
            found = [*found[: lines - 1], f"{found[lines - 1]} ..."]
        return [self.cut(line, width_px) for line in found]

    def cut(self, text: str, width_px: int) -> str:
        while text and self.width_px(text) > width_px:
            text = text[:-5].rstrip() + " .." if len(text) > 5 else ""
        return text


@dataclass(frozen=True, slots=True)
class TextRow:
    """A line of a panel. label: the expression that gives it its colour. share: a bar's, 0..1."""

    text: str
    role: Role
    label: str | None = None
    share: float | None = None


@dataclass(frozen=True, slots=True)
class Panel:
    """rect: ``(x, y, width, height)`` in px of the frame. bar_x, bar_px: where bars begin and how
    long a full one is, both within the panel; 0 without bars."""

    person: PersonState
    rect: Box
    rows: tuple[TextRow, ...]
    bar_x: int = 0
    bar_px: int = 0


@dataclass(frozen=True, slots=True)
class Layout:
    """band: the status at the lower edge, None where the frame is too small for it.
    unlabelled: persons for whose panels there was no room."""

    type: Type
    panels: tuple[Panel, ...]
    unlabelled: int
    band: Box | None
    status: tuple[TextRow, ...]


def lay_out(state: MonitorState, width: int, height: int, hz: float | None = None) -> Layout:
    """Panels for the persons of a state in a frame of ``width`` x ``height``, and the status.

    The driver comes first, then the rest by number. A panel is made smaller (bars, then two lines,
    then one) and at last left out where it would lie on another one, or on another's face. It lies
    on its own face only if that leaves no room beside it. hz: answered frames per second.
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
    """What of a box is in the frame; None for nothing."""
    x, y, w, h = box
    left, top = max(x, 0), max(y, 0)
    right, bottom = min(x + w, width), min(y + h, height)
    return (left, top, right - left, bottom - top) if right > left and bottom > top else None


def gap_px(one: Box, other: Box) -> float:
    """How far two boxes are apart; 0 where they touch or overlap."""
    (x, y, w, h), (a, b, c, d) = one, other
    return math.hypot(max(a - x - w, x - a - c, 0), max(b - y - h, y - b - d, 0))


def plain(text: str) -> str:
    """putText knows ASCII only."""
    return text.encode("ascii", "replace").decode()


def top(person: PersonState) -> list[tuple[str, float]]:
    """The likeliest expressions, with their smoothed probabilities."""
    found = (person.probabilities or {}).items()
    return sorted(found, key=lambda item: -item[1])[:TOP]


def _band(
    state: MonitorState, type_: Type, width: int, height: int, hz: float | None, unlabelled: int
) -> tuple[Box | None, tuple[TextRow, ...]]:
    """Health, rate and age in one line at the lower edge, the health's reasons below."""
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
    """The largest panel that has a place, beside the face if any has one there."""
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
"""Rows, where bars begin, how long they are, and the panel's width."""


def _full(person: PersonState, type_: Type) -> RowLayout:
    pad, percent_px = type_.pad_px, type_.width_px("100%")
    names = [plain(name) for name in person.probabilities or ()]
    longest = max(names, key=type_.width_px, default="")
    bar_x = type_.width_px(longest) + 3 * pad
    # As wide whatever it says, so that it does not jump.
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
    """The free place nearest to the face; None if there is none near it.

    Right of the face is a little nearer than left of it, and both than above and below.
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
    aside = np.abs(spots[:, 1] - y) / height  # the tops in one line
    cost = near + gap * (aside + (offset[:, 0] < 0) + 2 * (np.abs(offset[:, 0]) < (w + wide) / 2))
    # Where it has to lie on the face, far from the middle, where eyes, nose and mouth are.
    on_face = (np.abs(offset) < (np.array([w, h]) + size) / 2).all(1)
    cost = cost - np.where(on_face, np.hypot(*offset.T), 0)
    best = np.where(free, cost, np.inf).argmin()
    return int(spots[best, 0]), int(spots[best, 1])
