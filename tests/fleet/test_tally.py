"""Figures of a clip."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from fer_edge.fleet.tally import Counting
from fer_edge.monitor.state import Event


def test_an_event_that_ends_at_second_0_does_not_last_to_the_end() -> None:
    health = SimpleNamespace(status="ok")
    state: Any = SimpleNamespace(
        time_s=10.0, frame_index=0, times_ms={}, driver=None, health=health
    )
    counting = Counting()
    counting.add(state)
    events = [Event("anger", 1, -2.0, 0.0, 0.9), Event("fear", 1, 4.0, None, 0.9)]
    assert counting.end(events).event_s == {"anger": 2.0, "fear": 6.0}
