"""Text cells of figures."""

from __future__ import annotations

import pytest

from fer_edge.benchmarks.measure.cells import PercentileCell, percent, ratio


@pytest.mark.parametrize(
    ("value", "missing", "text"),
    [(1.23456, {}, "1.235"), (None, {"p99_ms": 374}, "n/a (374 more samples)")],
)
def test_a_percentile_or_the_samples_that_it_lacks(
    value: float | None, missing: dict[str, int], text: str
) -> None:
    assert PercentileCell("p99_ms")({"p99_ms": value, "missing": missing}) == text


def test_ratios_and_shares() -> None:
    assert ratio({"ratio": 2, "low": 1.5, "high": 2.5}) == "2.000x (1.500 to 2.500)"
    assert (percent(0.256), percent(None)) == ("26%", "")
