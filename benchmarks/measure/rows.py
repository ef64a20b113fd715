"""Latencies as fields of a row: percentiles, steady state and samples."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, TypedDict

import numpy as np
import numpy.typing as npt

from fer_edge.benchmarks.fields import Count, PercentileMs, Positive, Row, ThroughputHz
from fer_edge.benchmarks.measure.steady import steady
from fer_edge.benchmarks.measure.timing import MIN_SAMPLES, Samples

KEEP = 20_000
"""Samples that a report stores for each row; of more, every n-th."""


class Percentiles(TypedDict):
    """Percentiles of latencies, with the samples that they were computed from."""

    samples: Annotated[Count, "Number of latencies that the percentiles are computed from."]
    p50_ms: PercentileMs
    p90_ms: PercentileMs
    p95_ms: PercentileMs
    p99_ms: PercentileMs
    p99_9_ms: PercentileMs
    missing: Annotated[dict[str, Positive], "Samples that each percentile that is null lacks."]
    latencies_ns: Annotated[
        str, "Samples in ns, in order, separated by spaces; every n-th of more than 20,000."
    ]


class LatencyRow(Row, Percentiles):
    """Row of latencies in their steady state."""

    discarded: Annotated[Count, "Samples before the steady state."]
    steady: Annotated[bool | None, "Whether a steady state was reached; null: too few samples."]
    throughput_hz: ThroughputHz


def percentile_key(q: float) -> str:
    """Return the field of a percentile: ``p99_ms`` for 99, ``p99_9_ms`` for 99.9."""
    return f"p{q:g}_ms".replace(".", "_")


def percentiles(samples: Samples) -> Percentiles:
    """Return the percentiles in ms, each None if it lacks samples."""
    return {
        "samples": len(samples.ns),
        "p50_ms": samples.percentile_ms(50),
        "p90_ms": samples.percentile_ms(90),
        "p95_ms": samples.percentile_ms(95),
        "p99_ms": samples.percentile_ms(99),
        "p99_9_ms": samples.percentile_ms(99.9),
        "missing": {percentile_key(q): n for q in MIN_SAMPLES if (n := samples.missing(q))},
        "latencies_ns": pack(samples.ns),
    }


def latency_row(variant: str, batch: int, samples: Samples) -> LatencyRow:
    """Return a row of the samples' steady part."""
    state = steady(samples.ns)
    settled = Samples(samples.ns[state.discard :])
    return {
        "variant": variant,
        "batch": batch,
        **percentiles(settled),
        "discarded": state.discard,
        "steady": state.reached,
        "throughput_hz": settled.throughput_hz(batch),
    }


def row_name(row: Mapping[str, Any]) -> str:
    """Return the variant of a row, with its state in the scenario ``contended``."""
    return " ".join(filter(None, (row["variant"], row.get("state"))))


def pack(ns: npt.NDArray[np.int64]) -> str:
    """Return latencies as one string, on one line of the JSON."""
    return " ".join(map(str, ns[:: -(-len(ns) // KEEP) or 1].tolist()))


def unpack(text: str) -> npt.NDArray[np.int64]:
    """Return the latencies that ``pack`` was given. Raises ValueError for anything else."""
    parts = text.split(None, KEEP)
    if len(parts) > KEEP:
        raise ValueError(f"expected up to {KEEP:,} latencies_ns in a row, got more")
    return np.array([int(part) for part in parts], np.int64)
