"""Comparison of two reports: faster, slower, or no difference shown."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from reprlib import repr as short
from typing import Any, Literal

from fer_edge import InputError
from fer_edge.benchmarks.measure.percentile_ratio import percentile_ratio
from fer_edge.benchmarks.measure.rows import percentile_key
from fer_edge.benchmarks.measure.timing import MIN_SAMPLES
from fer_edge.benchmarks.reports.stored import StoredReport, StoredRow

_CONFIDENCE = 0.95
_DEFAULT_PERCENTILES = (50.0, 99.0)
"""Percentiles that are compared if no condition names one."""
MACHINE = ("cpu", "isa", "cores", "affinity", "governor", "memory_bytes")
"""Facts about a machine that forbid a comparison of latencies if they differ."""

METHOD = (
    "Verdicts: bootstrap interval (moving blocks of 24) of the ratio of the percentiles, at 95 % "
    "for all verdicts together (Bonferroni). Slower or faster: the interval leaves out 1. A "
    "--fail-if alarms where the verdict is slower and the ratio is beyond the limit. The interval "
    "knows what varies within a run, not what varies between two runs of the same code."
)


@dataclass(frozen=True)
class Limit:
    """Largest growth of a percentile, as in ``p99>+5%``.

    Attributes:
        q: Percentile.
        percent: Growth in percent that is still allowed.
        text: The limit as written.
    """

    q: float
    percent: float
    text: str


@dataclass(frozen=True)
class Verdict:
    """Comparison of one percentile of one row.

    Attributes:
        variant: Variant, with its state in the scenario ``contended``.
        batch: Faces per call.
        percentile: Name of the percentile, for example ``p99``.
        verdict: Result.
        ratio: NEW over OLD; None if samples are missing.
        low: Lower end of the ratio's interval.
        high: Upper end of the ratio's interval.
        missing: Samples that the percentile lacks.
        alarms: Limits that are broken, as written.
    """

    variant: str
    batch: int
    percentile: str
    verdict: Literal["faster", "slower", "no difference", "too few samples"]
    ratio: float | None
    low: float | None
    high: float | None
    missing: int
    alarms: tuple[str, ...]

    def __str__(self) -> str:
        verdict = f"{self.variant} batch {self.batch} {self.percentile}: {self.verdict}"
        if self.ratio is None:
            return f"{verdict}, {self.missing:,} more are needed"
        return f"{verdict}, {self.ratio:.3f}x ({self.low:.3f} to {self.high:.3f})"


def parse_limits(text: str) -> list[Limit]:
    """Parse limits such as ``p99>+5%,p50>+3%``. Raises InputError for any other form."""
    limits = []
    for part in text.split(","):
        match = re.fullmatch(r"\s*p(\d+(?:\.\d+)?)\s*>\s*\+?(\d+(?:\.\d+)?)\s*%\s*", part)
        if (
            match is None
            or float(match[1]) not in MIN_SAMPLES
            or not math.isfinite(float(match[2]))
        ):
            raise InputError(
                f"expected conditions like 'p99>+5%' or 'p50>+3%,p99.9>+20%' on one of "
                f"{', '.join(f'p{q:g}' for q in MIN_SAMPLES)}, got {short(part.strip())}"
            )
        limits.append(Limit(float(match[1]), float(match[2]), part.strip()))
    return limits


def compare(
    old: StoredReport,
    new: StoredReport,
    limits: list[Limit] | None = None,
    *,
    different_machines: bool = False,
) -> dict[str, Any]:
    """Compare each variant and batch size that both reports have.

    References (torch eager, --against) are left out: their regressions are not ours.

    Args:
        old: Report to compare with.
        new: Report to judge.
        limits: Limits that raise an alarm; None means none.
        different_machines: Compare reports of different machines as well.

    Returns:
        Verdicts, sentences, alarms, and the rows that only one report has, as plain values.

    Raises:
        InputError: The reports are of different scenarios or machines, or share no row.
    """
    limits = limits or []
    differing = machine_differences(old.environment, new.environment)
    _check_comparable(old, new, [] if different_machines else differing)
    olds, news = (
        {row.identity: row for row in report.rows if not row.reference} for report in (old, new)
    )
    common = [key for key in olds if key in news]
    if not common:
        raise InputError("the reports have no variant and batch size in common")
    points = sorted({limit.q for limit in limits} or set(_DEFAULT_PERCENTILES))
    confidence = 1 - (1 - _CONFIDENCE) / (len(common) * len(points))
    verdicts = [_judge(olds[k], news[k], q, limits, confidence) for k in common for q in points]
    return {
        "verdicts": [asdict(verdict) for verdict in verdicts],
        "sentences": [str(verdict) for verdict in verdicts],
        "alarms": [f"{v} breaks {alarm}" for v in verdicts for alarm in v.alarms],
        "unjudged": [str(v) for v in verdicts if v.ratio is None],
        "only_old": [" ".join(map(str, key)) for key in olds if key not in news],
        "only_new": [" ".join(map(str, key)) for key in news if key not in olds],
        "different_machines": differing,
        "notes": [
            f"{name}: {note}"
            for name, report in (("OLD", old), ("NEW", new))
            for note in _caveats(report)
        ],
        "method": METHOD,
    }


def machine_differences(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """Return the differences of two environments that forbid a comparison of latencies."""
    return [
        f"{key} {old.get(key)} and {new.get(key)}"
        for key in MACHINE
        if old.get(key) != new.get(key)
    ]


def _check_comparable(old: StoredReport, new: StoredReport, differing: list[str]) -> None:
    for name, one, other in (
        ("scenario", old.scenario, new.scenario),
        ("crop_px", old.crop_px, new.crop_px),
    ):
        if one != other:
            raise InputError(f"expected two reports of one {name}, got {one!r} and {other!r}")
    if differing:
        raise InputError(
            "the reports are of different machines: "
            + "; ".join(differing)
            + ". A ratio between them says nothing about the code. To compare them all the same, "
            "add --different-machines"
        )


def _caveats(report: StoredReport) -> list[str]:
    """Return reasons to doubt the figures of a report."""
    unsteady = [
        f"{row.variant} batch {row.batch} did not become steady"
        for row in report.rows
        if row.steady is False
    ]
    return [*([report.note] if report.note else []), *unsteady]


def _judge(
    old: StoredRow, new: StoredRow, q: float, limits: list[Limit], confidence: float
) -> Verdict:
    name = percentile_key(q).removesuffix("_ms").replace("_", ".")
    missing = max(MIN_SAMPLES[q] - min(len(old.ns), len(new.ns)), 0)
    variant = " ".join(filter(None, (old.variant, old.state)))
    if missing:
        return Verdict(
            variant, old.batch, name, "too few samples", None, None, None, missing, alarms=()
        )
    ratio, low, high = percentile_ratio(new.ns, old.ns, q, confidence=confidence)
    slower = low > 1
    alarms = tuple(
        limit.text
        for limit in limits
        if limit.q == q and slower and ratio > 1 + limit.percent / 100
    )
    verdict: Literal["faster", "slower", "no difference"] = (
        "slower" if slower else "faster" if high < 1 else "no difference"
    )
    return Verdict(variant, old.batch, name, verdict, ratio, low, high, 0, alarms)
