"""No sequence of faults crashes the monitor or gives a stale answer."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fer_edge.monitor.detector import Boxes
from fer_edge.monitor.settings import EventRule
from fer_edge.preprocess import Box, Image

MakeRig = Callable[..., Any]

HAPPENINGS = [
    *("good", "good", "good", "good", "black", "same", "text", "wide", "no frame", "pause"),
    *("detector breaks", "detector works", "empty seat", "somebody", "engine dies"),
]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=40)
@given(st.lists(st.sampled_from(HAPPENINGS), min_size=5, max_size=60), st.booleans())
def test_no_sequence_of_faults_crashes_or_gives_a_stale_answer(
    make_rig: MakeRig, fake_variants: Callable[..., Path], happenings: list[str], live: bool
) -> None:
    broken, boxes = False, [(4, 4, 40, 40)]

    def find(image: Image) -> list[Box]:
        if broken:
            raise RuntimeError("no memory")
        return list(boxes)

    bundle = fake_variants(int8={"fail_after": 12}, fp32={"fail_after": 12})
    rig = make_rig(
        bundle,
        Boxes(find),
        live=live,
        events=(EventRule("neutral", 0.5), EventRule("unknown", 0.5)),
    )
    rng = np.random.default_rng(0)
    image: Any = rng.integers(0, 256, (64, 64, 3), np.uint8)
    last_s, open_events = -1.0, set()
    for happens in happenings:
        broken = {"detector breaks": True, "detector works": False}.get(happens, broken)
        if happens in ("empty seat", "somebody"):
            boxes[:] = [(4, 4, 40, 40)] if happens == "somebody" else []
        for _ in range(4):
            if happens == "no frame":
                rig.clock.pass_(0.3)
                state = rig.pipeline.absent("no frame came")
            elif happens == "engine dies" and rig.inference.predictor is not None:
                rig.inference.predictor.close()
                state = rig.show(rng.integers(0, 256, (64, 64, 3), np.uint8))
            else:
                size = (64, 90, 3) if happens == "wide" else (64, 64, 3)
                if happens != "same":
                    image = rng.integers(0, 256, size, np.uint8)
                shown = {"black": np.zeros_like(image), "text": "frame"}.get(happens, image)
                state = rig.show(shown, after_s=3.0 if happens == "pause" else 1 / 30)
            assert state.time_s >= last_s
            last_s = state.time_s
            if state.health.status == "lost":
                assert state.persons == ()
            assert (state.health.status == "ok") == (state.health.reasons == ())
            for person in state.persons:
                assert person.uncertain == (person.reason is not None) == (person.cause is not None)
                assert person.since_s >= 0
                if person.probabilities is not None:
                    assert sum(person.probabilities.values()) == pytest.approx(1)
                if person.label:
                    assert person.confidence > 0
            for event in state.events:
                key = (event.kind, event.person, event.start_s)
                if event.end_s is None:
                    assert key not in open_events
                    open_events.add(key)
                else:
                    open_events.remove(key)
                    assert event.end_s - event.start_s >= 0.5 - 1e-6
            json.dumps(state.as_dict(), allow_nan=False)
