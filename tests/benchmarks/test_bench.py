"""The bench report, on an engine whose latency is planted."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from fer_edge.backends.fake import write_fake_bundle
from fer_edge.benchmarks.bench import bench, cold_start
from fer_edge.errors import BundleError, InputError


@pytest.fixture
def slow_bundle(tmp_path: Path) -> Path:
    return write_fake_bundle(tmp_path / "slow.fer", latency_ms=5)


def test_each_variant_and_batch_size_has_a_row(slow_bundle: Path) -> None:
    report = bench(slow_bundle, (1, 4), budget_s=0.3)
    assert [(row["variant"], row["batch"]) for row in report["rows"]] == [
        ("fake/fp32", 1),
        ("fake/fp32", 4),
    ]
    assert json.loads(json.dumps(report, allow_nan=False)) == report


def test_the_planted_latency_is_found_and_lies_in_inference(slow_bundle: Path) -> None:
    (row,) = bench(slow_bundle, (4,), budget_s=0.5)["rows"]
    assert row["p50_ms"] >= 5
    assert row["split_ms"]["infer"] >= 5
    assert row["throughput_hz"] <= 4 / 0.005


def test_a_percentile_that_the_samples_do_not_carry_is_left_empty(slow_bundle: Path) -> None:
    (row,) = bench(slow_bundle, (1,), budget_s=0.3)["rows"]
    assert row["samples"] < 662
    assert row["p99_ms"] is None


def test_a_cold_start_adds_up(slow_bundle: Path) -> None:
    start = cold_start(slow_bundle, "fake/fp32")
    parts = start["import_s"] + start["load_s"] + start["first_answer_s"]
    assert 0 < parts <= start["total_s"]
    assert start["rss_bytes"] > 10_000_000


@pytest.mark.parametrize("sizes", [(), (0,), (1, -2)])
def test_impossible_batch_sizes_are_refused(slow_bundle: Path, sizes: tuple[int, ...]) -> None:
    with pytest.raises(InputError, match="batch sizes"):
        bench(slow_bundle, sizes)


def test_a_bundle_that_is_not_there_is_said_to_be(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="expected a bundle"):
        bench(tmp_path / "no.fer")
