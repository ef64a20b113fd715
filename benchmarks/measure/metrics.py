"""Metrics that ``bench --budget`` can limit: their field and their units."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from fer_edge.benchmarks.measure.rows import percentile_key
from fer_edge.benchmarks.measure.timing import MIN_SAMPLES

_TIME = {"us": 1e-3, "ms": 1.0, "s": 1e3}
_MEMORY = {"kB": 1e3, "MB": 1e6, "GB": 1e9, "KiB": 2.0**10, "MiB": 2.0**20, "GiB": 2.0**30}
_SHARE = {"%": 0.01}


@dataclass(frozen=True)
class Metric:
    """Figure of a row that a budget can limit.

    Attributes:
        key: Field of the row, or of its cold start.
        units: Units that a limit accepts, and the value of one in the field's own unit.
        of: Field with the number of observations, if too few of them judge no limit.
        is_share: True if the field is a share (0..1) of these observations.
    """

    key: str
    units: Mapping[str, float]
    of: str | None = None
    is_share: bool = False


def milliseconds(key: str, of: str | None = None) -> Metric:
    """Return the metric of a field in ms."""
    return Metric(key, _TIME, of)


def memory_bytes(key: str) -> Metric:
    """Return the metric of a field in bytes."""
    return Metric(key, _MEMORY)


def share(key: str, of: str) -> Metric:
    """Return the metric of a field that is a share (0..1) of the field ``of``."""
    return Metric(key, _SHARE, of, is_share=True)


PERCENTILES = {f"p{q:g}": milliseconds(percentile_key(q)) for q in MIN_SAMPLES}
TO_P99 = {name: metric for name, metric in PERCENTILES.items() if name != "p99.9"}
"""Percentiles of the scenarios that end with the samples of a p99 (662)."""
THROUGHPUT = Metric("throughput_hz", {"/s": 1.0})
RSS = memory_bytes("rss_bytes")
START = Metric("total_s", {"s": 1.0, "ms": 1e-3})
WITH_DATA = {name: share(name, "labelled_faces") for name in ("accuracy", "agreement")}
"""Metrics of every scenario that also measures accuracy (``--data``)."""
