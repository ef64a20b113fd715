"""Output of one monitor over one clip: rows, events and figures."""

from __future__ import annotations

import re
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from typing import Any

from fer_edge.errors import FerEdgeError, InputError
from fer_edge.fleet.clips import Clip
from fer_edge.fleet.parts import part_writer
from fer_edge.fleet.rows import Events, RowMaker, Sparse, made_by
from fer_edge.fleet.rules import AttentionRules
from fer_edge.fleet.schema import ALERTS, EVENTS, states_schema
from fer_edge.fleet.signals import read_signals, sample_of
from fer_edge.fleet.tally import Counting, Tally
from fer_edge.monitor import HealthCause, MonitorState

_ENGINE = {HealthCause.FAILOVER, HealthCause.NO_ENGINE}
_MOST_ERROR = 500


class EngineFailedError(FerEdgeError):
    """The engine failed in the middle of a clip; its answers are not written."""

    exit_code = 6


class Lane:
    """States of one monitor on their way to the tables.

    Args:
        stack: Closes the part files. If it ends by an exception, none of them appears.
        out: Output folder.
        clip: The clip.
        identity: Labels, bundle and variant, as in ``run.json``.
        every_s: As for Sparse.
        suffix: End of the tables' names, for a second bundle.
    """

    def __init__(
        self,
        stack: ExitStack,
        out: Path,
        clip: Clip,
        identity: dict[str, Any],
        every_s: float | None,
        suffix: str = "",
    ) -> None:
        part = part_writer(out, clip)
        schema = states_schema(identity["labels"])
        self.maker = RowMaker(clip, made_by(identity))
        self.fault: str | None = None
        """Sentence about a clip that ended early or has no times, or None."""
        self._clip = clip
        self._events_part = stack.enter_context(part(f"events{suffix}", EVENTS))
        self._states = stack.enter_context(part(f"states{suffix}", schema))
        self._alerts = stack.enter_context(part(f"alerts{suffix}", ALERTS))
        self._signals = None if clip.signals is None else read_signals(clip.signals)
        self._rules = AttentionRules()
        self._counting, self._events, self._sparse = Counting(), Events(), Sparse(every_s)
        self._last: MonitorState | None = None

    def add(self, state: MonitorState) -> None:
        """Take one state. Raises EngineFailedError if another variant answers, or none."""
        if _ENGINE & set(state.health.causes):
            raise EngineFailedError("; ".join(state.health.reasons))
        self._counting.add(state)
        self._events.add(state)
        sample = sample_of(state, self._signals, self._clip.speed_kmh)
        for alert in self._rules.add(sample):
            self._alerts.add(self.maker.alert(alert))
        self.fault = _fault(state) or self.fault
        self._last = state
        if self._sparse.take(state):
            self._write(state)

    def end(self) -> Tally:
        """Write what is left, and return the figures. Raises InputError without any frame."""
        if (rest := self._sparse.rest()) is not None:
            self._write(rest)
        if self._last is None or self._counting.tally.frames == 0:
            raise InputError(self.fault or "the clip has no frame")
        if self.fault is not None:
            self.fault = cleaned(self.fault, self._clip)
            self._states.add(self.maker.failed(self.fault, self._last))
        events = self._events.all()
        for event in events:
            self._events_part.add(self.maker.event(event))
        for alert in self._rules.end():
            self._alerts.add(self.maker.alert(alert))
        tally = self._counting.end(events)
        tally.attention = asdict(self._rules.figures)
        return tally

    def _write(self, state: MonitorState) -> None:
        for row in self.maker.states(state):
            self._states.add(row)


def _fault(state: MonitorState) -> str | None:
    """Return the sentence about a clip that ended early or has an unusable clock."""
    for finding in state.health.findings:
        ended = finding.cause == HealthCause.SOURCE_ENDED
        if ended or (finding.cause.part == "clock" and finding.severity == "lost"):
            return finding.reason
    return None


def cleaned(text: str, clip: Clip) -> str:
    """Return a sentence without folders and addresses in memory."""
    text = text.replace(clip.path, clip.name)
    text = text.replace(f"{clip.path.rpartition('/')[0]}/", "")
    text = re.sub(r"\S*fer_edge-\w{8}[/\\]clip(\.\w+)?", lambda _: clip.name, text)
    text = re.sub(r"0x[0-9a-fA-F]{4,}", "0x…", text)
    return text.encode("utf-8", "backslashreplace").decode()[:_MOST_ERROR]
