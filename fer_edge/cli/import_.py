"""``fer-edge import``."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from fer_edge.cli.options import PATH, json_option, numbers, out_option, print_json, quiet_option

_CHANNELS = numbers(float, "numbers like 0.5,0.5,0.5")


def _argument(text: str) -> tuple[str, Any]:
    key, equals, value = text.partition("=")
    try:
        if not equals:
            raise ValueError
        return key, json.loads(value)
    except ValueError:
        raise click.BadParameter(f"expected KEY=JSON, e.g. img_size=96, got {text!r}") from None


@click.command("import")
@click.argument("file", type=PATH)
@click.option(
    "--backbone",
    required=True,
    metavar="NAME",
    help="Build this timm network, e.g. mobilenetv3_small_100.",
)
@click.option(
    "--labels",
    required=True,
    metavar="A,B,…",
    help="Name the outputs of the network, in order: emotions, or labels of your own.",
)
@click.option(
    "--size",
    required=True,
    type=click.IntRange(16, 1024),
    metavar="PX",
    help="Give the side of the images that it was trained on, 16 to 1024 pixels.",
)
@click.option(
    "--colour",
    required=True,
    type=click.Choice(["rgb", "grey"]),
    help="Give the colour of the images that it was trained on.",
)
@click.option(
    "--mean",
    required=True,
    type=_CHANNELS,
    metavar="N,…",
    help="Subtract these means, one a channel, in 0..1.",
)
@click.option(
    "--std",
    required=True,
    type=_CHANNELS,
    metavar="N,…",
    help="Divide by these deviations, one a channel, in 0..1.",
)
@click.option(
    "--set",
    "arguments",
    multiple=True,
    type=_argument,
    metavar="KEY=JSON",
    help="Pass this argument to timm.create_model, e.g. img_size=96. Repeatable.",
)
@click.option(
    "--licence", metavar="TEXT", help="Record in the card what the weights may be used for."
)
@out_option("Write the checkpoint to this folder.", required=True)
@quiet_option
@json_option
def import_(
    file: Path,
    backbone: str,
    labels: str,
    size: int,
    colour: Any,
    mean: Sequence[float],
    std: Sequence[float],
    arguments: tuple[tuple[str, Any], ...],
    licence: str | None,
    out: Path,
    as_json: bool,
) -> None:
    """Import a classifier trained with timm as a checkpoint.

    \b
    Example: fer-edge import theirs.pth --backbone resnet18 --size 224 \\
                 --colour rgb --mean 0.485,0.456,0.406 --std 0.229,0.224,0.225 \\
                 --labels angry,disgust,fear,happy,neutral,sad,surprise \\
                 -o checkpoint

    FILE is a state dict, safetensors or torch file, also inside a training state of timm's
    train.py, Lightning and others. Averaged weights come first, and prefixes of wrappers are
    removed. No pickle is executed; pickled modules are refused. The logits are compared with those
    of timm.
    """
    from fer_edge.labels import model_labels
    from fer_edge.progress_bar import progress
    from fer_edge.training.import_timm import import_checkpoint
    from fer_edge.training.models.network import InputSpec, ModelSpec

    spec = ModelSpec(
        backbone=backbone,
        labels=model_labels(labels.split(",")),
        input=InputSpec(size, colour, tuple(mean), tuple(std)),
        backbone_args=dict(arguments),
    )
    with progress() as (say, _):
        account, rounding = import_checkpoint(file, spec, out, licence)
        say(str(account))
    if as_json:
        print_json({"checkpoint": str(out), **account.facts(), "rounding": rounding})
        return
    click.echo(
        f"{out}: logits equal timm's. Storing it in half precision changes "
        f"{rounding['answers_changed']} of {rounding['faces']} answers on the shipped faces, and "
        f"no probability by more than {rounding['max_abs_dp']:.1e}"
    )
    click.echo("Not calibrated: its temperature is 1, and it never abstains")
