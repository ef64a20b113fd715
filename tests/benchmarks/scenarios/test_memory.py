"""Memory figures of planted readings, and a process that fails."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

from fer_edge.backends.fake import write_fake_bundle
from fer_edge.benchmarks.bench import bench
from fer_edge.benchmarks.scenarios.memory import memory_figures
from fer_edge.errors import EngineError


@pytest.mark.parametrize("leak_bytes_per_call", [0, 80])
def test_growth_is_the_leak_and_not_the_filling_of_pools(leak_bytes_per_call: int) -> None:
    calls = np.arange(1, 51) * 1000
    pools = 20e6 * np.minimum(calls / 10_000, 1)
    jumps = 3e6 * np.random.default_rng(0).integers(0, 2, 50) * (np.arange(50) % 9 == 0)
    rss = 100e6 + pools + leak_bytes_per_call * calls + jumps
    found = memory_figures(np.stack([calls, rss, np.maximum.accumulate(rss)], 1).tolist())
    assert found["growth_bytes_per_100k_calls"] == pytest.approx(
        100_000 * leak_bytes_per_call, rel=0.02, abs=1
    )
    assert found["peak_rss_bytes"] >= found["rss_bytes"]
    assert found["calls"] == 50_000


def test_few_calls_carry_no_growth() -> None:
    found = memory_figures([(n, 100, 100) for n in range(1, 51)])
    assert found["growth_bytes_per_100k_calls"] is None


def test_a_fresh_process_that_fails_says_why(tmp_path: Path) -> None:
    broken = write_fake_bundle(tmp_path / "broken.fer", fail_after=0)
    with pytest.raises(EngineError, match="told to fail"):
        bench(broken, scenario="memory", budget_s=0.1)


@pytest.mark.skipif(sys.platform != "linux", reason="ru_maxrss survives exec on Linux alone")
def test_the_peak_is_that_of_the_child_and_not_of_its_parent(fake_bundle: Path) -> None:
    ballast = np.ones(75_000_000)
    (row,) = bench(fake_bundle, scenario="memory", budget_s=0.1)["rows"]
    assert row["rss_bytes"] <= row["peak_rss_bytes"] < ballast.nbytes


def test_what_libraries_print_is_no_reading(fake_bundle: Path, chatty_children: None) -> None:
    """More than a pipe holds, on both streams."""
    (row,) = bench(fake_bundle, scenario="memory", budget_s=0.1)["rows"]
    assert row["calls"] >= 50
