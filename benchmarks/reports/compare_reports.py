"""Two reports against each other: faster, slower, or no difference that can be shown."""

from __future__ import annotations

import json
import re
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from fer_edge import DataError, InputError
from fer_edge.benchmarks.measure.percentile_ratio import percentile_ratio
from fer_edge.benchmarks.measure.rows import percentile_key, unpack
from fer_edge.benchmarks.measure.timing import MIN_SAMPLES

_CONFIDENCE = 0.95
_SHOWN = (50.0, 99.0)
"""Percentiles that are compared where no condition names one."""
_MACHINE = ("cpu", "isa", "cores", "affinity", "governor", "memory_bytes")
_SETUP = ("scenario", "crop_px")

METHOD = (
    "Verdicts: bootstrap interval (moving blocks of 24) of the ratio of the percentiles, at 95 % "
    "for all verdicts together (Bonferroni). Slower or faster: the interval leaves out 1. A "
    "--fail-if alarms where the verdict is slower and the ratio is beyond the limit. The interval "
    "knows what varies within a run, not what varies between two runs of the same code."
)


@dataclass(frozen=True)
class Limit:
    """``p99>+5%``: percentile q may not grow by more than ``percent``."""

    q: float
    percent: float
    text: str


@dataclass(frozen=True)
class Verdict:
    """ratio is NEW over OLD with its interval; None where ``missing`` samples keep it from being
    said. alarms: the limits that it broke."""

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
        what = f"{self.variant} batch {self.batch} {self.percentile}: {self.verdict}"
        if self.ratio is None:
            return f"{what}, {self.missing:,} more are needed"
        return f"{what}, {self.ratio:.3f}x ({self.low:.3f} to {self.high:.3f})"


def parse_limits(text: str) -> list[Limit]:
    """``p99>+5%,p50>+3%`` as limits. Raises InputError with the form that was expected."""
    limits = []
    for part in text.split(","):
        found = re.fullmatch(r"\s*p(\d+(?:\.\d+)?)\s*>\s*\+?(\d+(?:\.\d+)?)\s*%\s*", part)
        if found is None or float(found[1]) not in MIN_SAMPLES:
            raise InputError(
                f"expected conditions like 'p99>+5%' or 'p50>+3%,p99.9>+20%' on one of "
                f"{', '.join(f'p{q:g}' for q in MIN_SAMPLES)}, got {part.strip()!r}"
            )
        limits.append(Limit(float(found[1]), float(found[2]), part.strip()))
    return limits


def load_report(path: str | Path) -> dict[str, Any]:
    """A report that ``bench -o`` wrote. Raises DataError for anything else."""
    try:
        report = json.loads(Path(path).read_text("utf-8"))
        for row in report["rows"]:
            unpack(row["latencies_ns"])
            (row["variant"], row["batch"])
        ([report[key] for key in _SETUP], [report["environment"][key] for key in ("cpu", "cores")])
    except OSError as error:
        raise DataError(f"cannot read the report {path}: {error.strerror}") from error
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise DataError(
            f"expected {path} to be a report of fer-edge bench with latency samples in it, "
            f"but {error!r}. Measure again with this version: fer-edge bench -o {path}"
        ) from error
    return dict(report)


def compare(
    old: dict[str, Any],
    new: dict[str, Any],
    limits: list[Limit] | None = None,
    *,
    different_machines: bool = False,
) -> dict[str, Any]:
    """Verdicts for each variant and batch size that both reports have, and what only one has.

    References (torch eager, --against) are left out: their regressions are not ours.

    Raises InputError if the two are of different scenarios or machines (unless that is wished),
    or have nothing in common.
    """
    limits = limits or []
    for key in _SETUP:
        if old[key] != new[key]:
            raise InputError(
                f"expected two reports of one {key}, got {old[key]!r} and {new[key]!r}"
            )
    differing = machine_differences(old, new)
    if differing and not different_machines:
        raise InputError(
            "the reports are of different machines: "
            + "; ".join(differing)
            + ". A ratio between them says nothing about the code. Add --different-machines to "
            "see it all the same"
        )
    olds, news = (
        {_identity(row): row for row in report["rows"] if not row.get("reference")}
        for report in (old, new)
    )
    common = [key for key in olds if key in news]
    if not common:
        raise InputError("the reports have no variant and batch size in common")
    points = sorted({limit.q for limit in limits} or set(_SHOWN))
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
            for note in _doubts(report)
        ],
        "method": METHOD,
    }


def machine_differences(old: dict[str, Any], new: dict[str, Any]) -> list[str]:
    """What of the two environments differs so that their latencies may not be compared."""
    one, other = old["environment"], new["environment"]
    return [
        f"{key} {one.get(key)} and {other.get(key)}"
        for key in _MACHINE
        if one.get(key) != other.get(key)
    ]


def _doubts(report: dict[str, Any]) -> list[str]:
    """Why the figures of a report may not be what the code costs."""
    unsteady = [
        f"{row['variant']} batch {row['batch']} did not become steady"
        for row in report["rows"]
        if row.get("steady") is False
    ]
    return [*([report["note"]] if report.get("note") else []), *unsteady]


def _identity(row: dict[str, Any]) -> tuple[Any, ...]:
    return row["variant"], row["batch"], *(row[key] for key in ("hz", "state") if key in row)


def _judge(
    old: dict[str, Any], new: dict[str, Any], q: float, limits: list[Limit], confidence: float
) -> Verdict:
    before, after = unpack(old["latencies_ns"]), unpack(new["latencies_ns"])
    name = percentile_key(q).removesuffix("_ms").replace("_", ".")
    missing = max(MIN_SAMPLES[q] - min(len(before), len(after)), 0)
    variant = " ".join(filter(None, (old["variant"], old.get("state"))))
    batch = old["batch"]
    if missing:
        return Verdict(
            variant, batch, name, "too few samples", None, None, None, missing, alarms=()
        )
    ratio, low, high = percentile_ratio(after, before, q, confidence=confidence)
    slower = low > 1
    alarms = tuple(
        limit.text
        for limit in limits
        if limit.q == q and slower and ratio > 1 + limit.percent / 100
    )
    verdict: Literal["faster", "slower", "no difference"] = (
        "slower" if slower else "faster" if high < 1 else "no difference"
    )
    return Verdict(variant, batch, name, verdict, ratio, low, high, 0, alarms)
