"""Budgets of a measurement: limits such as ``p99<10ms,rss<200MB``, parsed and judged."""

from __future__ import annotations

import math
import operator
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, TypedDict

from fer_edge import InputError
from fer_edge.benchmarks.measure.metrics import WITH_DATA, Metric
from fer_edge.benchmarks.measure.rows import percentile_key, row_name
from fer_edge.benchmarks.measure.timing import MIN_SAMPLES, least_observations
from fer_edge.benchmarks.scenarios.base import scenarios

_OPERATORS = {"<": operator.lt, ">": operator.gt}


@dataclass(frozen=True)
class Budget:
    """One limit.

    Attributes:
        text: The limit as written.
        key: Field of a row, or of a cold start.
        sign: ``<`` or ``>``.
        bound: Bound in the field's own unit.
        of: Field with the number of observations; None if the field itself says what is missing.
        least: Least observations that judge the limit.
    """

    text: str
    key: str
    sign: str
    bound: float
    of: str | None = None
    least: int = 0


class Judgement(TypedDict):
    """One limit, judged on one row."""

    limit: Annotated[str, "The limit as written."]
    variant: Annotated[str, "Variant of the row, with its state in the scenario contended."]
    batch: Annotated[int | None, "Batch size of the row; null for a cold start."]
    value: Annotated[float | None, "Measured value; null if samples are missing."]
    bound: Annotated[float, "Bound in the unit of the value."]
    held: Annotated[bool, "Whether the limit holds."]
    sentence: Annotated[str, "The judgement as a sentence."]


def parse_budget(text: str, scenario: str, *, with_data: bool = False) -> list[Budget]:
    """Parse limits such as ``p99<10ms,rss<200MB``.

    Args:
        text: Limits, separated by commas.
        scenario: Scenario that is measured.
        with_data: Whether accuracy and agreement are measured as well.

    Raises:
        InputError: A part is not a limit, or the scenario does not measure its metric.
    """
    by_scenario = {
        name: {**each.metrics, **(WITH_DATA if with_data else {})}
        for name, each in scenarios().items()
    }
    metrics = {name: metric for each in by_scenario.values() for name, metric in each.items()}
    metrics |= WITH_DATA
    budgets = []
    for part in map(str.strip, text.split(",")):
        match = re.fullmatch(r"([a-z]+[\d.]*)\s*([<>])\s*(\d+(?:\.\d+)?)\s*(\S*)", part)
        if match is None:
            raise InputError(f"expected limits like 'p99<10ms,rss<200MB', got {part!r}")
        name, sign, number, unit = match.groups()
        if name not in metrics:
            raise InputError(f"expected a limit on one of {', '.join(metrics)}, got {part!r}")
        value = float(number) * _unit(name, metrics[name], unit, part)
        if not math.isfinite(value):
            raise InputError(f"expected a limit below 1e308, got one of {len(number)} digits")
        if name not in by_scenario[scenario]:
            measured_by = ", ".join(s for s, each in by_scenario.items() if name in each)
            raise InputError(
                f"the scenario {scenario} does not measure {name} for the limit {part!r}; "
                + (f"measured by: {measured_by}" if measured_by else "add --data to measure it")
            )
        metric = metrics[name]
        budgets.append(
            Budget(part, metric.key, sign, value, metric.of, _least(metric, sign, value))
        )
    return budgets


def _least(metric: Metric, sign: str, bound: float) -> int:
    if metric.is_share:
        return least_observations(bound if sign == "<" else 1 - bound)
    return MIN_SAMPLES[50] if metric.of else 0


def _unit(name: str, metric: Metric, unit: str, part: str) -> float:
    if unit not in metric.units:
        raise InputError(
            f"expected {name} in {', '.join(metric.units)}, got {part!r}"
            + ("" if unit else ", which has no unit")
        )
    return metric.units[unit]


def least_samples(budgets: list[Budget]) -> int:
    """Return the samples that the limits' percentiles need; 0 without a percentile."""
    needed = {percentile_key(q): count for q, count in MIN_SAMPLES.items()}
    return max((needed.get(budget.key, 0) for budget in budgets), default=0)


def judge(report: Mapping[str, Any], budgets: list[Budget]) -> list[Judgement]:
    """Judge each limit on each row and start that has its figure.

    A figure without enough samples breaks its limit. References (torch eager, --against) are
    left out.
    """
    starts = [{"variant": name, **start} for name, start in report.get("cold_start", {}).items()]
    rows = [row for row in [*report["rows"], *starts] if not row.get("reference")]
    return [_judge(budget, row) for budget in budgets for row in rows if budget.key in row]


def _judge(budget: Budget, row: Mapping[str, Any]) -> Judgement:
    value = row[budget.key]
    held = value is not None and _OPERATORS[budget.sign](value, budget.bound)
    missing = _missing(budget, row, held)
    if missing:
        value, held = None, False
    return {
        "limit": budget.text,
        "variant": row_name(row),
        "batch": row.get("batch"),
        "value": value,
        "bound": budget.bound,
        "held": held,
        "sentence": _sentence(budget, row, value, missing, held),
    }


def _missing(budget: Budget, row: Mapping[str, Any], held: bool) -> int:
    """Return the observations that the limit lacks; 0 if those there are break it already."""
    if budget.of is None:
        return int(row.get("missing", {}).get(budget.key, 0))
    if row[budget.key] is not None and not held:
        return 0
    return max(budget.least - int(row[budget.of]), 0)


def _sentence(
    budget: Budget, row: Mapping[str, Any], value: float | None, missing: int, held: bool
) -> str:
    where = row_name(row) + (f" batch {row['batch']}" if "batch" in row else "")
    if value is None:
        unit = "samples" if budget.of is None else budget.of.replace("_", " ")
        more = "use more --data" if unit == "labelled faces" else "raise --budget-s"
        reason = (
            f"{missing:,} {unit} are missing: {more}"
            if missing
            else "not measured: raise --budget-s"
        )
        return f"{where}: {budget.text} cannot be judged, {reason}"
    return (
        f"{where}: {budget.text} {'holds' if held else 'is broken'} with {budget.key} {value:.6g}"
    )
