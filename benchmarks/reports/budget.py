"""``--budget "p99<10ms,rss<200MB"``: limits that a measurement has to hold, or it fails."""

from __future__ import annotations

import operator
import re
from dataclasses import dataclass
from typing import Any

from fer_edge import InputError
from fer_edge.benchmarks.measure.rows import percentile_key
from fer_edge.benchmarks.measure.timing import MIN_SAMPLES

# metric: (key in a row, or in its cold start; units and what they are in the key's own)
_TIME = {"us": 1e-3, "ms": 1.0, "s": 1e3}
_MEMORY = {"kB": 1e3, "MB": 1e6, "GB": 1e9, "KiB": 2.0**10, "MiB": 2.0**20, "GiB": 2.0**30}
_SHARE = {"%": 0.01}
_METRICS: dict[str, tuple[str, dict[str, float]]] = {
    **{f"p{q:g}": (percentile_key(q), _TIME) for q in MIN_SAMPLES},
    "jitter": ("jitter_ms", _TIME),
    "age": ("age_max_ms", _TIME),
    "misses": ("miss_rate", _SHARE),
    "drops": ("drop_rate", _SHARE),
    "throughput": ("throughput_hz", {"/s": 1.0}),
    "rss": ("rss_bytes", _MEMORY),
    "peak": ("peak_rss_bytes", _MEMORY),
    "growth": ("growth_bytes_per_100k_calls", _MEMORY),
    "start": ("total_s", {"s": 1.0, "ms": 1e-3}),
    "accuracy": ("accuracy", _SHARE),
    "agreement": ("agreement", _SHARE),
}
_STREAMS = ("stream", "multistream")
# metrics and the scenarios that measure them: a limit on nothing is found before the measurement.
_MEASURED_BY: dict[str, tuple[str, ...]] = {
    **{
        f"p{q:g}": (*_STREAMS, "batch", "single", "offline", "sustained", "contended")
        for q in MIN_SAMPLES
    },
    **dict.fromkeys(("jitter", "age", "misses", "drops"), _STREAMS),
    "throughput": ("batch", "single", "offline"),
    "rss": ("batch", "memory", "coldstart"),
    "peak": ("memory",),
    "growth": ("memory",),
    "start": ("batch", "coldstart"),
}
_OPERATORS = {"<": operator.lt, ">": operator.gt}


@dataclass(frozen=True)
class Budget:
    """One limit: the row's ``key`` has to be below (or above) ``bound``, in the key's own unit."""

    text: str
    key: str
    sign: str
    bound: float


def parse_budget(text: str, scenario: str, *, with_data: bool = False) -> list[Budget]:
    """The limits in ``p99<10ms,rss<200MB``.

    with_data: accuracy and agreement are measured as well. Raises InputError for what is no limit,
    and for one on something that the scenario does not measure.
    """
    budgets = []
    for part in text.split(","):
        found = re.fullmatch(r"\s*([a-z]+[\d.]*)\s*([<>])\s*(\d+(?:\.\d+)?)\s*(\S*)\s*", part)
        if found is None:
            raise InputError(
                f"expected limits like 'p99<10ms,rss<200MB' or 'misses<0.1%', got {part.strip()!r}"
            )
        metric, sign, number, unit = found.groups()
        if metric not in _METRICS:
            raise InputError(
                f"expected a limit on one of {', '.join(_METRICS)}, got {part.strip()!r}"
            )
        key, units = _METRICS[metric]
        if unit not in units:
            raise InputError(
                f"expected {metric} in {', '.join(units)}, got {part.strip()!r}"
                + ("" if unit else ", which has no unit")
            )
        if scenario not in _MEASURED_BY.get(metric, (scenario,) if with_data else ()):
            where = f"the scenarios {', '.join(_MEASURED_BY[metric])}" if (
                metric in _MEASURED_BY
            ) else "any scenario with --data"  # fmt: skip
            raise InputError(
                f"{scenario} measures nothing for the limit {part.strip()!r}; measured by {where}"
            )
        budgets.append(Budget(part.strip(), key, sign, float(number) * units[unit]))
    return budgets


def judge(report: dict[str, Any], budgets: list[Budget]) -> list[dict[str, Any]]:
    """Each limit on each row (or cold start) that has its figure: what it is, and if it holds.

    A percentile without enough samples does not hold. References (torch eager, --against) have
    no limits.
    """
    starts = [{"variant": name, **start} for name, start in report.get("cold_start", {}).items()]
    found = []
    for budget in budgets:
        rows = [
            row
            for row in [*report["rows"], *starts]
            if budget.key in row and not row.get("reference")
        ]
        for row in rows:
            value = row[budget.key]
            held = value is not None and _OPERATORS[budget.sign](value, budget.bound)
            found.append(
                {
                    "limit": budget.text,
                    "variant": row["variant"],
                    "batch": row.get("batch"),
                    "value": value,
                    "bound": budget.bound,
                    "held": held,
                    "sentence": _sentence(budget, row, held),
                }
            )
    return found


def _sentence(budget: Budget, row: dict[str, Any], held: bool) -> str:
    where = row["variant"] + (f" batch {row['batch']}" if "batch" in row else "")
    value = row[budget.key]
    if value is None:
        missing = row.get("missing", {}).get(budget.key)
        why = f"{missing:,} samples are missing: raise --budget-s" if missing else "not measured"
        return f"{where}: {budget.text} cannot be said to hold, {why}"
    return (
        f"{where}: {budget.text} {'holds' if held else 'is broken'} with {budget.key} {value:.6g}"
    )
