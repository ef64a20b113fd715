"""Pointless variants on a machine, judged on planted latencies."""

from __future__ import annotations

import pytest

from fer_edge.converters.pipeline.quick_latency import beaten


@pytest.mark.parametrize(
    ("p50_ms", "agreement", "wanted"),
    [
        ({"a": 1.0}, {"a": 1.0}, {}),
        ({"a": 1.0, "b": 2.0}, {"a": 1.0, "b": 0.99}, {"b": "a"}),
        ({"a": 1.0, "b": 2.0}, {"a": 0.99, "b": 1.0}, {}),
        ({"a": 1.0, "b": 2.0}, {"a": 1.0, "b": 1.0}, {"b": "a"}),
        ({"a": 1.0, "b": 1.0}, {"a": 1.0, "b": 1.0}, {}),
        ({"a": 3.0, "b": 2.0, "c": 1.0}, {"a": 0.9, "b": 1.0, "c": 0.95}, {"a": "c"}),
    ],
    ids=["alone", "worse", "a trade", "as good", "as fast", "by the fastest"],
)
def test_a_variant_is_beaten_by_a_faster_one_that_agrees_as_often(
    p50_ms: dict[str, float], agreement: dict[str, float], wanted: dict[str, str]
) -> None:
    assert beaten(p50_ms, agreement) == wanted
