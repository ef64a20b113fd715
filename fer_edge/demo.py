"""Demo: predict, convert and measure with the shipped model."""

from __future__ import annotations

from pathlib import Path

import click

from fer_edge.benchmarks.bench import bench
from fer_edge.benchmarks.reports.terminal import print_table
from fer_edge.converters.pipeline.convert import convert
from fer_edge.converters.pipeline.request import ALL
from fer_edge.labels import EMOTIONS
from fer_edge.predictor import Predictor
from fer_edge.progress_bar import progress
from fer_edge.shipped import DEFAULT_CHECKPOINT, FACES

_BATCH_SIZES = (1, 8, 32)
_BUDGET_S = 15.0
"""Seconds of measuring for each batch size, all variants together."""


def run(out: Path) -> None:
    """Predict shipped faces, convert the shipped checkpoint, and measure the bundle.

    Args:
        out: Folder for ``demo.fer``, the converted bundle.
    """
    _predict()
    _measure(_convert(out))


def _predict() -> None:
    click.secho("1. Expressions, by the model that ships with fer-edge", bold=True)
    with Predictor() as predictor:
        click.echo(f"   running {predictor.variant.name}")
        for name in EMOTIONS:
            prediction = predictor(FACES / f"{name}.png")
            bar = "█" * round(20 * prediction.confidence)
            doubt = "  (uncertain)" if prediction.uncertain else ""
            click.echo(
                f"   blended faces of {name:10s} -> {prediction.label:10s} "
                f"{prediction.confidence:5.1%} {bar}{doubt}"
            )


def _convert(out: Path) -> Path:
    click.secho("\n2. Its checkpoint, converted for every target and checked", bold=True)
    bundle = out / "demo.fer"
    with progress() as (say, _):
        convert(DEFAULT_CHECKPOINT, [ALL], bundle, [ALL], say=say)
    click.echo(f"   {bundle}: to see its parity reports, run fer-edge inspect {bundle}")
    return bundle


def _measure(bundle: Path) -> None:
    click.secho("\n3. Latency and throughput on this machine", bold=True)
    with progress() as (_, step):
        report = bench(
            bundle,
            _BATCH_SIZES,
            checkpoint=DEFAULT_CHECKPOINT,
            budget_s=_BUDGET_S,
            step=step,
        )
    print_table(report)
