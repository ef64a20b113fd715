"""Cost of familiarity for one face: a Predictor with the statistics against one without.

    python -m fer_edge.benchmarks.studies.familiarity_cost [--bundle FOLDER]

Both bundles hold the same files. A bundle without statistics gets random ones of the usual size,
which cost the same. The calls are timed in turns, batch 1, with a 200x200 BGR crop: both
Predictors, and the judgement alone.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import click
import numpy as np

from fer_edge import DEFAULT_BUNDLE, Predictor, TargetError, open_bundle
from fer_edge.benchmarks.job import CROP_PX, noise
from fer_edge.benchmarks.machine.environment import environment, machine, noise_note
from fer_edge.benchmarks.measure.percentile_ratio import percentile_ratio
from fer_edge.benchmarks.measure.timing import Call, interleaved
from fer_edge.benchmarks.studies.options import bundle_option, json_option, print_report
from fer_edge.bundle import Bundle, listed, write_bundle
from fer_edge.familiarity import NUMBERS, PATH, FamiliarityRecord, read_familiarity
from fer_edge.module_command import ModuleCommand
from fer_edge.preprocess import to_batch

_SAMPLES = 2000
_COMPONENTS = 32


@click.command("familiarity_cost", cls=ModuleCommand)
@click.option("--samples", type=click.IntRange(24), default=_SAMPLES, show_default=True)
@bundle_option
@json_option
def main(samples: int, bundle: Path | None, as_json: bool) -> None:
    """Measure the cost of familiarity, for each variant that runs here."""
    env = environment()
    report: dict[str, Any] = {
        "machine": machine(env),
        "time": env["time"],
        "noise": noise_note(env),
        "rows": list(rows(bundle or DEFAULT_BUNDLE, samples)),
    }
    lines = [f"{report['machine']}, {report['time']}\n{report['noise'] or ''}"]
    lines += [
        f"  {row['variant']:18s} p50 {row['with_ms']:.3f} / {row['without_ms']:.3f} ms = "
        f"{row['ratio']:.3f}x ({row['low']:.3f} to {row['high']:.3f}), "
        f"least {row['least_with_ms']:.3f} / {row['least_without_ms']:.3f} ms; "
        f"alone p50 {row['alone_ms']:.3f}, least {row['least_alone_ms']:.3f} ms"
        for row in report["rows"]
    ]
    print_report(report, as_json, "\n".join(lines))


def rows(path: Path, samples: int) -> Iterator[dict[str, Any]]:
    """Yield the figures of each variant that runs here.

    Args:
        path: Bundle, with or without familiarity.
        samples: Calls of each Predictor.

    Raises:
        BundleError: The bundle is damaged.
        TargetError: No variant runs here.
    """
    refusals: list[str] = []
    bundle = open_bundle(path)
    crop = noise(1, CROP_PX)[0]
    with TemporaryDirectory() as folder:
        plain, wary = write_pair(bundle, Path(folder))
        judge = read_familiarity(wary, open_bundle(wary).familiarity, bundle.embedding_dim)
        assert judge is not None
        batch = to_batch([crop], bundle.crop)
        embedding = np.ones((1, bundle.embedding_dim), np.float32)
        for variant in bundle.variants:
            with ExitStack() as stack:
                try:
                    one, other = (
                        stack.enter_context(Predictor(each, variant.target, variant.precision))
                        for each in (wary, plain)
                    )
                except TargetError as error:
                    refusals.append(f"{variant.name}: {error}")
                    continue
                calls: dict[str, Call] = {
                    "with": partial(one, crop),
                    "without": partial(other, crop),
                    "alone": partial(judge.unfamiliar, batch, embedding),
                }
                latencies = interleaved(calls, samples, warm_up=50)
            ratio, low, high = percentile_ratio(
                latencies["with"].ns, latencies["without"].ns, 50, paired=True
            )
            yield {
                "variant": variant.name,
                "ratio": ratio,
                "low": low,
                "high": high,
                **{f"{name}_ms": each.percentile_ms(50) for name, each in latencies.items()},
                **{f"least_{name}_ms": each.ns.min() / 1e6 for name, each in latencies.items()},
            }
    if len(refusals) == len(bundle.variants):
        raise TargetError(
            f"expected a variant of {path} that runs here, but {'; '.join(refusals)}. To see what "
            "runs here: fer-edge doctor"
        )


def write_pair(bundle: Bundle, folder: Path) -> tuple[Path, Path]:
    """Write a bundle without familiarity and with it; return their paths."""
    contents: dict[str, bytes] = {}
    for variant in bundle.variants:
        contents |= bundle.read(variant)
    plain, wary = folder / "without.fer", folder / "with.fer"
    write_bundle(replace(bundle, path=plain, familiarity=None), contents)
    if bundle.familiarity is not None:
        record = bundle.familiarity
        data = (bundle.path / record.file.path).read_bytes()
    else:
        values = 1 + (1 + _COMPONENTS) * bundle.embedding_dim + NUMBERS * (1 + NUMBERS)
        data = np.random.default_rng(0).random(values, np.float32).astype("<f4").tobytes()
        record = FamiliarityRecord(listed(PATH, data), _COMPONENTS, 1e12, 1e12, 0.01, 1)
    write_bundle(
        replace(bundle, path=wary, familiarity=record), contents | {record.file.path: data}
    )
    return plain, wary


if __name__ == "__main__":
    main()
