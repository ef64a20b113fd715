"""The study of neighbours: each variant is measured alone and beside another process."""

from __future__ import annotations

from fer_edge import DEFAULT_BUNDLE, open_bundle
from fer_edge.benchmarks.studies.neighbours import rows


def test_each_variant_is_measured_alone_and_beside_another_process() -> None:
    found = list(rows(DEFAULT_BUNDLE, 2, 1, turn_s=0.05))
    offered = [variant.name for variant in open_bundle(DEFAULT_BUNDLE).variants]
    assert found
    assert [name for name in offered if name in [row["variant"] for row in found]] == [
        row["variant"] for row in found
    ]
    for row in found:
        assert row["alone_hz"] > 0
        assert row["ratio"] == row["together_hz"] / row["alone_hz"]
