"""Baselines that every variant is compared with, and the speed-ups."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from fer_edge.benchmarks.fields import Ratio
from fer_edge.benchmarks.measure.percentile_ratio import percentile_ratio
from fer_edge.benchmarks.measure.steady import steady
from fer_edge.benchmarks.measure.timing import Samples

TORCH_EAGER = "torch eager fp32"
TORCH_COMPILE = "torch.compile"
BASELINES = (TORCH_EAGER, "onnxruntime/fp32")


def speedups(
    name: str, samples: Mapping[str, Samples], references: Collection[str] = ()
) -> dict[str, Ratio]:
    """Return medians of the baselines over that of ``name``, with intervals.

    Samples count from where both are in their steady state: earlier ones are in neither's p50.
    """
    ratios: dict[str, Ratio] = {}
    for baseline in sorted({*BASELINES, *references} & set(samples)):
        if baseline != name:
            theirs, ours = samples[baseline].ns, samples[name].ns
            first = max(steady(theirs).discard, steady(ours).discard)
            ratio, low, high = percentile_ratio(theirs[first:], ours[first:], 50, paired=True)
            ratios[baseline] = {"ratio": ratio, "low": low, "high": high}
    return ratios
