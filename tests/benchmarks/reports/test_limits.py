"""Limits of a comparison, parsed."""

from __future__ import annotations

import pytest

from fer_edge.benchmarks.reports.limits import parse_limits
from fer_edge.errors import InputError


def test_a_limit_is_on_a_percentile_or_on_a_share_of_the_frames() -> None:
    limits = parse_limits("p99.9>+5%, misses > 0.5pp,drops>+1pp")
    assert [(one.figure, one.growth) for one in limits] == [
        ("p99.9", 0.05),
        ("misses", 0.005),
        ("drops", 0.01),
    ]
    assert limits[1].text == "misses > 0.5pp"


@pytest.mark.parametrize(
    "text",
    ["", "p99", "p99>5", "p98>+5%", "p99<5%", "p99>-5%", "rss>+5%", "p99>+5pp", "misses>+5%"],
)
def test_a_condition_that_is_none_is_a_sentence(text: str) -> None:
    with pytest.raises(InputError, match=r"p99>\+5%.*got"):
        parse_limits(text)
