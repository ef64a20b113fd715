"""Comparison of two reports: faster, slower, or no difference shown."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

from fer_edge import InputError
from fer_edge.benchmarks.machine.environment import gpu_names
from fer_edge.benchmarks.measure.percentile_ratio import LEAST_SAMPLES, percentile_ratios
from fer_edge.benchmarks.measure.timing import MIN_SAMPLES
from fer_edge.benchmarks.reports.limits import PERCENTILES, SHARES, Limit, broken
from fer_edge.benchmarks.reports.share_verdicts import ShareVerdict, share_verdicts
from fer_edge.benchmarks.reports.stored import StoredReport, StoredRow
from fer_edge.shown import printable

_CONFIDENCE = 0.95
_DEFAULT_PERCENTILES = ("p50", "p99")
"""Percentiles that are compared if no condition names one."""
MACHINE = ("cpu", "isa", "cores", "affinity", "governor", "memory_bytes")
"""Facts about a machine that forbid a comparison of latencies if they differ, besides its GPUs."""

METHOD = (
    "Verdicts: bootstrap interval (moving blocks of 24 samples, of at least 240) of the ratio of "
    "the percentiles, at 95 % for all verdicts together (Bonferroni). Slower or faster: the "
    "interval leaves out 1. A --fail-if alarms where the verdict is slower and the ratio is beyond "
    "the limit. The interval knows what varies within a run, not what varies between two runs of "
    "the same code."
)
STREAM_METHOD = (
    "Misses and drops are shares of all frames, percentiles are of the answered ones. More or "
    "fewer: the interval of the difference (means of 24 parts of the stream, Student's t) leaves "
    "out 0. It is too narrow if stalls last longer than a part."
)


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
        InputError: The reports are of different scenarios or machines, or share no row, or a limit
            is on frames and the reports are not of a stream.
    """
    limits = limits or []
    differing = machine_differences(old.environment, new.environment)
    _check_comparable(old, new, [] if different_machines else differing)
    olds, news = (
        {row.identity: row for row in report.rows if not row.reference} for report in (old, new)
    )
    common = [key for key in olds if key in news]
    if not common:
        raise InputError(_nothing_in_common(olds, news))
    pairs = [(olds[key], news[key]) for key in common]
    limited = {limit.figure for limit in limits}
    _check_streams(pairs, limited)
    points = [name for name in PERCENTILES if name in (limited or _DEFAULT_PERCENTILES)]
    count = sum(len(points) + (len(SHARES) if old.stream else 0) for old, _ in pairs)
    confidence = 1 - (1 - _CONFIDENCE) / count
    verdicts = [one for pair in pairs for one in _judge(*pair, points, limits, confidence)]
    shares = [one for pair in pairs for one in share_verdicts(*pair, limits, confidence)]
    judged: list[Verdict | ShareVerdict] = [*verdicts, *shares]
    return {
        "verdicts": [asdict(verdict) for verdict in verdicts],
        "shares": [asdict(verdict) for verdict in shares],
        "sentences": [str(verdict) for verdict in judged],
        "alarms": [f"{verdict} breaks {alarm}" for verdict in judged for alarm in verdict.alarms],
        "unjudged": [
            *(str(verdict) for verdict in verdicts if verdict.missing),
            *(str(one) for one in shares if one.missing and one.figure in (limited or SHARES)),
        ],
        "only_old": [" ".join(map(str, key)) for key in olds if key not in news],
        "only_new": [" ".join(map(str, key)) for key in news if key not in olds],
        "different_machines": differing,
        "notes": [
            f"{name}: {note}"
            for name, report in (("OLD", old), ("NEW", new))
            for note in _caveats(report)
        ],
        "method": f"{METHOD} {STREAM_METHOD}" if shares else METHOD,
    }


def machine_differences(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """Return the differences of two environments that forbid a comparison of latencies.

    GPUs differ if both know theirs: without cuda-python none is known.
    """
    pairs = {key: (old.get(key), new.get(key)) for key in MACHINE}
    names = gpu_names(old), gpu_names(new)
    if all(names):
        pairs["gpus"] = names
    return [
        printable(f"{key} {one} and {other}") for key, (one, other) in pairs.items() if one != other
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


def _nothing_in_common(
    olds: Mapping[tuple[str | int, ...], StoredRow], news: Mapping[tuple[str | int, ...], StoredRow]
) -> str:
    text = "the reports have no variant and batch size in common"
    if any(row.stream for row in olds.values()):
        text += " at one rate and deadline"
    first = [" ".join(map(str, next(iter(rows), ("no row",)))) for rows in (olds, news)]
    return f"{text}: {first[0]} and {first[1]}. Measure NEW with the options of OLD"


def _check_streams(pairs: list[tuple[StoredRow, StoredRow]], limited: set[str]) -> None:
    """Raise InputError for a limit on frames if a row has none."""
    for name in SHARES:
        if name in limited and not all(row.stream for pair in pairs for row in pair):
            raise InputError(
                f"expected reports of a stream for a condition on {name}. Measure one: fer-edge "
                "bench --scenario stream -o new.json"
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
    old: StoredRow, new: StoredRow, names: list[str], limits: list[Limit], confidence: float
) -> list[Verdict]:
    """Return the verdict on each percentile."""
    count = min(len(old.ns), len(new.ns))
    missing = {n: max(MIN_SAMPLES[PERCENTILES[n]], LEAST_SAMPLES) - count for n in names}
    enough = [name for name in names if missing[name] <= 0]
    found = (
        percentile_ratios(
            new.ns, old.ns, [PERCENTILES[name] for name in enough], confidence=confidence
        )
        if enough
        else []
    )
    ratios = dict(zip(enough, found, strict=True))
    return [
        _verdict(old, name, ratios[name], limits)
        if name in ratios
        else Verdict(
            _named(old), old.batch, name, "too few samples", None, None, None, missing[name], ()
        )
        for name in names
    ]


def _named(row: StoredRow) -> str:
    return " ".join(filter(None, (row.variant, row.state)))


def _verdict(
    row: StoredRow, name: str, interval: tuple[float, float, float], limits: list[Limit]
) -> Verdict:
    ratio, low, high = interval
    slower = low > 1
    alarms = broken(limits, name, ratio - 1) if slower else ()
    verdict: Literal["faster", "slower", "no difference"] = (
        "slower" if slower else "faster" if high < 1 else "no difference"
    )
    return Verdict(_named(row), row.batch, name, verdict, ratio, low, high, 0, alarms)
