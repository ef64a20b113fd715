"""Limits of a comparison, such as ``p99>+5%,misses>+0.5pp``."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from dataclasses import dataclass
from reprlib import repr as short

from fer_edge import InputError
from fer_edge.benchmarks.measure.timing import MIN_SAMPLES

PERCENTILES = {f"p{q:g}": q for q in MIN_SAMPLES}
"""Percentiles that a limit can name, by name."""
SHARES = ("misses", "drops")
"""Shares of a stream's frames that a limit can name."""

_FORM = re.compile(r"\s*(\w+(?:\.\d+)?)\s*>\s*\+?(\d+(?:\.\d+)?)\s*(%|pp)\s*")


@dataclass(frozen=True)
class Limit:
    """Largest growth of a figure.

    Attributes:
        figure: Name in PERCENTILES or SHARES.
        growth: Growth that is still allowed: 0.05 is 5 % of a percentile, or 5 percentage points
            of a share.
        text: The limit as written.
    """

    figure: str
    growth: float
    text: str


def parse_limits(text: str) -> list[Limit]:
    """Parse limits such as ``p99>+5%,misses>+0.5pp``. Raises InputError for any other form."""
    limits = []
    for part in text.split(","):
        match = _FORM.fullmatch(part)
        allowed = {**dict.fromkeys(PERCENTILES, "%"), **dict.fromkeys(SHARES, "pp")}
        if match is None or allowed.get(match[1]) != match[3] or not math.isfinite(float(match[2])):
            raise InputError(
                "expected conditions like 'p99>+5%' or 'p50>+3%,misses>+0.5pp' on one of "
                f"{', '.join(allowed)} (shares of a stream's frames in percentage points, pp), "
                f"got {short(part.strip())}"
            )
        limits.append(Limit(match[1], float(match[2]) / 100, part.strip()))
    return limits


def broken(limits: Iterable[Limit], figure: str, growth: float) -> tuple[str, ...]:
    """Return the limits on a figure that its growth breaks, as written."""
    return tuple(one.text for one in limits if one.figure == figure and growth > one.growth)
