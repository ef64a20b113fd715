"""The study of neighbours: each variant is measured alone and beside another process."""

from __future__ import annotations

import pytest

from fer_edge import DEFAULT_BUNDLE, open_bundle
from fer_edge.benchmarks.studies import neighbours
from fer_edge.benchmarks.studies.neighbours import rows
from fer_edge.errors import EngineError


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


@pytest.mark.parametrize(
    "child",
    [
        "",
        "import os; os.close(0); answer('ready')",
        "answer('ready'); input()",
    ],
    ids=["before it is ready", "before its turn", "in its turn"],
)
def test_a_process_that_ends_early_is_an_error(monkeypatch: pytest.MonkeyPatch, child: str) -> None:
    monkeypatch.setattr(neighbours, "_CHILD", f"from fer_edge.child import answer; {child}")
    with pytest.raises(EngineError, match="Run again with fewer --processes"):
        list(rows(DEFAULT_BUNDLE, 2, 1))
