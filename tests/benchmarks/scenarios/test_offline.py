"""Offline throughput."""

from __future__ import annotations

from pathlib import Path

import pytest

from fer_edge.benchmarks.bench import bench
from fer_edge.benchmarks.measure.timing import MIN_SAMPLES


def test_offline_counts_every_face_once(fake_bundle: Path) -> None:
    (row,) = bench(fake_bundle, (32,), scenario="offline", budget_s=60)["rows"]
    assert row["faces"] == row["samples"] * 32 >= 24_576
    assert row["in_flight"] >= 2


@pytest.mark.parametrize(("limited", "samples"), [(0, MIN_SAMPLES[99]), (900, 900)])
def test_a_large_batch_still_gets_the_requests_of_its_percentiles(
    fake_bundle: Path, limited: int, samples: int
) -> None:
    """24,576 faces are 384 requests of 64: no budget would ever bring a p99."""
    (row,) = bench(fake_bundle, (64,), scenario="offline", budget_s=300, samples=limited)["rows"]
    assert row["samples"] >= samples
    assert row["p99_ms"] > 0
