"""Verdicts on the frames that a stream missed or dropped."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from fer_edge.benchmarks.measure.share_difference import LEAST_FRAMES, share_difference
from fer_edge.benchmarks.reports.limits import SHARES, Limit, broken
from fer_edge.benchmarks.reports.stored import StoredRow, StoredStream


@dataclass(frozen=True)
class ShareVerdict:
    """Comparison of one share of a stream's frames.

    Attributes:
        variant: Variant.
        batch: Cameras.
        figure: ``misses`` or ``drops``.
        verdict: Result.
        old: Share (0..1) in OLD.
        new: Share (0..1) in NEW.
        difference: NEW minus OLD.
        low: Lower end of the difference's interval; None if frames are missing.
        high: Upper end of the difference's interval; None if frames are missing.
        missing: Frames that the verdict lacks.
        alarms: Limits that are broken, as written.
    """

    variant: str
    batch: int
    figure: str
    verdict: Literal["more", "fewer", "no difference", "too few frames"]
    old: float
    new: float
    difference: float
    low: float | None
    high: float | None
    missing: int
    alarms: tuple[str, ...]

    def __str__(self) -> str:
        verdict = (
            f"{self.variant} batch {self.batch} {self.figure}: {self.verdict}, "
            f"{self.old:.2%} to {self.new:.2%}"
        )
        if self.low is None or self.high is None:
            return f"{verdict}, {self.missing:,} more are needed"
        points = (f"{100 * value:+.2f}" for value in (self.difference, self.low, self.high))
        return "{}, {} pp ({} to {})".format(verdict, *points)


def share_verdicts(
    old: StoredRow, new: StoredRow, limits: list[Limit], confidence: float
) -> list[ShareVerdict]:
    """Return a verdict on each share of a stream's frames; none without a stream."""
    if old.stream is None or new.stream is None:
        return []
    return [
        _judge(old.variant, old.batch, figure, (old.stream, new.stream), limits, confidence)
        for figure in SHARES
    ]


def _judge(
    variant: str,
    batch: int,
    figure: str,
    streams: tuple[StoredStream, StoredStream],
    limits: list[Limit],
    confidence: float,
) -> ShareVerdict:
    old, new = streams
    old_counts, new_counts = getattr(old, figure), getattr(new, figure)
    old_share, new_share = sum(old_counts) / old.frames, sum(new_counts) / new.frames
    missing = max(LEAST_FRAMES - min(old.frames, new.frames), 0)
    verdict: Literal["more", "fewer", "no difference", "too few frames"] = "too few frames"
    low = high = None
    alarms: tuple[str, ...] = ()
    if not missing:
        low, high = share_difference(new_counts, new.frames, old_counts, old.frames, confidence)
        verdict = "more" if low > 0 else "fewer" if high < 0 else "no difference"
        alarms = broken(limits, figure, new_share - old_share) if low > 0 else ()
    return ShareVerdict(
        variant=variant,
        batch=batch,
        figure=figure,
        verdict=verdict,
        old=old_share,
        new=new_share,
        difference=new_share - old_share,
        low=low,
        high=high,
        missing=missing,
        alarms=alarms,
    )
