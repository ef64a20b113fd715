"""One row of a report: what was measured, and the percentiles that its samples carry."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from fer_edge.benchmarks.measure.steady import steady
from fer_edge.benchmarks.measure.timing import MIN_SAMPLES, Samples

KEEP = 20_000
"""Samples that a report stores for each row; of more, every n-th."""


def percentile_key(q: float) -> str:
    """``p99_ms`` for 99, ``p99_9_ms`` for 99.9."""
    return f"p{q:g}_ms".replace(".", "_")


def percentiles(samples: Samples) -> dict[str, Any]:
    """Percentiles in ms, None where they lack samples; ``missing`` says how many each lacks."""
    return {
        "samples": len(samples.ns),
        **{percentile_key(q): samples.percentile_ms(q) for q in MIN_SAMPLES},
        "missing": {percentile_key(q): n for q in MIN_SAMPLES if (n := samples.missing(q))},
        "latencies_ns": pack(samples.ns),
    }


def latency_row(variant: str, batch: int, samples: Samples) -> dict[str, Any]:
    """A row of the steady part of the samples; ``discarded`` came before it."""
    found = steady(samples.ns)
    kept = Samples(samples.ns[found.discard :])
    return {
        "variant": variant,
        "batch": batch,
        **percentiles(kept),
        "discarded": found.discard,
        "steady": found.reached,
        "throughput_hz": kept.throughput_hz(batch),
    }


def pack(ns: npt.NDArray[np.int64]) -> str:
    """Latencies as numbers between spaces: JSON with one number in a line would be miles long."""
    return " ".join(map(str, ns[:: -(-len(ns) // KEEP) or 1].tolist()))


def unpack(text: str) -> npt.NDArray[np.int64]:
    """What ``pack`` was given. Raises ValueError for anything else."""
    return np.array([int(part) for part in text.split()], np.int64)
