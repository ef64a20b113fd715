"""Offline throughput."""

from __future__ import annotations

from pathlib import Path

from fer_edge.benchmarks.bench import bench


def test_offline_counts_every_face_once(fake_bundle: Path) -> None:
    (row,) = bench(fake_bundle, (64,), scenario="offline", budget_s=60)["rows"]
    assert row["faces"] == row["samples"] * 64 >= 24_576
    assert row["in_flight"] >= 2
