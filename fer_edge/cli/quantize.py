"""``fer-edge quantize``."""

from __future__ import annotations

from pathlib import Path

import click

from fer_edge.cli.early_checks import check_data, check_model
from fer_edge.cli.options import (
    check_not_with,
    data_option,
    json_option,
    out_option,
    print_json,
    quiet_option,
)
from fer_edge.option_types import FiniteRange
from fer_edge.shipped import checkpoint_path


@click.command()
@click.argument("checkpoint", type=checkpoint_path)
@data_option("Learn from these faces; their labels are not used to learn.", required=True)
@out_option("Write the checkpoint with int8 weights to this folder.", required=True)
@click.option(
    "--epochs",
    type=click.IntRange(0, 1000),
    default=2,
    show_default=True,
    help="Distil for this many passes over the faces.",
)
@click.option("--fast", is_flag=True, help="Measure ranges and fit each layer, without training.")
@click.option(
    "--batch",
    type=click.IntRange(1, 4096),
    default=64,
    show_default=True,
    help="Train on this many faces in a step.",
)
@click.option(
    "--lr",
    type=FiniteRange(0, 1, min_open=True),
    default=5e-5,
    show_default=True,
    help="Set the highest learning rate.",
)
@click.option("--resume", is_flag=True, help="Continue after the last complete epoch.")
@quiet_option
@json_option
def quantize(
    checkpoint: Path,
    data: Path,
    out: Path,
    epochs: int,
    fast: bool,
    batch: int,
    lr: float,
    resume: bool,
    as_json: bool,
) -> None:
    """Add int8 weights to a checkpoint.

    \b
    Example: fer-edge quantize default --data fer2013/ -o default8
             fer-edge convert default8 --target all --precision int8 -o x.fer

    The new checkpoint holds the float weights as before, and int8 weights and ranges beside them.
    The int8 network learns to decide as the float network does. Every target that has int8 then
    runs these numbers.
    """
    for name in ("epochs", "batch", "lr", "resume"):
        check_not_with(name, "fast")
    check_model(checkpoint)
    check_data([data])
    from fer_edge.progress_bar import progress
    from fer_edge.training.quantization.distil import Distillation
    from fer_edge.training.quantization.quantize import quantize as run_quantization

    settings = Distillation(epochs=0 if fast else epochs, batch=batch, lr=lr)
    with progress() as (say, step):
        made = run_quantization(checkpoint, data, out, settings, resume=resume, say=say, step=step)
    assert made.int8 is not None
    if as_json:
        print_json(made.int8.facts)
    else:
        click.echo(out)
