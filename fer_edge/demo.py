"""The README's main job: a face in, a proven answer out, in about six minutes."""

from __future__ import annotations

from pathlib import Path

import click

from fer_edge.benchmarks.bench import bench
from fer_edge.benchmarks.reports.terminal import print_table
from fer_edge.converters.pipeline.convert import ALL, convert
from fer_edge.labels import EMOTIONS
from fer_edge.predictor import Predictor
from fer_edge.progress import progress
from fer_edge.shipped import DEFAULT_CHECKPOINT, FACES


def run(out: Path) -> None:
    """Predict shipped composites, convert the shipped checkpoint, print the bench table."""
    click.secho("1. Expressions, by the model that ships with the package", bold=True)
    with Predictor() as predictor:
        click.echo(f"   running {predictor.variant.name}")
        for name in EMOTIONS:
            answer = predictor(FACES / f"{name}.png")
            bar = "█" * round(20 * answer.confidence)
            doubt = "  (uncertain)" if answer.uncertain else ""
            click.echo(
                f"   blended faces of {name:10s} -> {answer.label:10s} "
                f"{answer.confidence:5.1%} {bar}{doubt}"
            )
    click.secho("\n2. The same checkpoint, converted for every chip and judged", bold=True)
    bundle = out / "demo.fer"
    with progress() as (say, _):
        convert(DEFAULT_CHECKPOINT, [ALL], bundle, [ALL], say=say)
    click.echo(f"   {bundle}: parity reports are in its bundle.json (fer-edge inspect {bundle})")
    click.secho("\n3. Latency and throughput here", bold=True)
    with progress() as (_, step):
        report = bench(
            bundle,
            (1, 8, 32),
            checkpoint=DEFAULT_CHECKPOINT,
            budget_s=15,
            step=step,
        )
    print_table(report)
