"""Accuracy and agreement beside speed, and the Pareto front."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from fer_edge.benchmarks.bench import bench
from fer_edge.benchmarks.measure.accuracy import mark_front
from fer_edge.benchmarks.reports.terminal import print_table
from fer_edge.shipped import FACES


def test_accuracy_stands_beside_speed(fake_bundle: Path) -> None:
    """It always answers neutral: right for one class in seven, and agreeing with itself."""
    report = bench(fake_bundle, (1, 2), data=FACES, budget_s=0.1)
    for row in report["rows"]:
        assert row["accuracy"] == pytest.approx(1 / 7)
        assert (row["agreement"], row["of"], row["pareto"]) == (1, "fake/fp32", True)
    print_table(report)
    assert json.loads(json.dumps(report, allow_nan=False)) == report


def row(accuracy: float, p50_ms: float, batch: int = 1) -> dict[str, Any]:
    return {"accuracy": accuracy, "p50_ms": p50_ms, "batch": batch}


@pytest.mark.parametrize(
    ("rows", "front"),
    [
        ([row(0.7, 2), row(0.6, 1)], [True, True]),
        ([row(0.7, 2), row(0.6, 3)], [True, False]),
        ([row(0.7, 2), row(0.7, 3)], [True, False]),
        ([row(0.7, 2), row(0.7, 2)], [True, True]),
        ([row(0.7, 2), row(0.6, 3, batch=8)], [True, True]),
        ([row(0.7, 3), row(0.65, 2), row(0.64, 2.5), row(0.5, 1)], [True, True, False, True]),
    ],
)
def test_the_front_is_what_nothing_beats(rows: list[dict[str, Any]], front: list[bool]) -> None:
    mark_front(rows)
    assert [r["pareto"] for r in rows] == front
