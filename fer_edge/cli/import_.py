"""``fer-edge import``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from fer_edge.cli.options import PATH, print_json


@click.command("import")
@click.argument("file", type=PATH)
@click.option("--backbone", required=True, help="timm's name, e.g. mobilenetv3_small_100.")
@click.option("--labels", required=True, metavar="A,B,…", help="In the order of the outputs.")
@click.option("--size", required=True, type=click.IntRange(16, 1024), metavar="PX",
              help="Side of the pictures it was trained on.")  # fmt: skip
@click.option("--colour", required=True, type=click.Choice(["rgb", "grey"]))
@click.option("--mean", required=True, metavar="N,…", help="One per colour, in units of 0..1.")
@click.option("--std", required=True, metavar="N,…", help="One per colour, in units of 0..1.")
@click.option("--set", "arguments", multiple=True, metavar="KEY=JSON",
              help="More for timm.create_model, e.g. img_size=96.")  # fmt: skip
@click.option("--licence", help="What the weights may be used for; goes into the card.")
@click.option("-o", "--out", required=True, type=PATH, help="The checkpoint folder to write.")
@click.option("--json", "as_json", is_flag=True, help="JSON on standard output.")
def import_(
    file: Path,
    backbone: str,
    labels: str,
    size: int,
    colour: Any,
    mean: str,
    std: str,
    arguments: tuple[str, ...],
    licence: str | None,
    out: Path,
    as_json: bool,
) -> None:
    """Take over a classifier that was trained with timm, as a checkpoint.

    \b
    Example: fer-edge import theirs.pth --backbone resnet18 --size 224 --colour rgb \\
                 --labels angry,disgust,fear,happy,neutral,sad,surprise \\
                 --mean 0.485,0.456,0.406 --std 0.229,0.224,0.225 -o checkpoint
    FILE is a state dict: safetensors, or a torch file of tensors, also inside a training state.
    A pickled module is refused: it can run any code. The logits are compared with timm's own.
    """
    from fer_edge.labels import canonical_all
    from fer_edge.progress import progress
    from fer_edge.training.import_timm import import_checkpoint
    from fer_edge.training.models.network import InputSpec, ModelSpec

    spec = ModelSpec(
        backbone=backbone,
        labels=canonical_all(labels.split(",")),
        input=InputSpec(size, colour, _shares(mean, "--mean"), _shares(std, "--std")),
        backbone_args=dict(_argument(text) for text in arguments),
    )
    with progress() as (say, _):
        account, rounding = import_checkpoint(file, spec, out, licence)
        say(str(account))
    if as_json:
        print_json({"checkpoint": str(out), **account.facts(), "rounding": rounding})
        return
    click.echo(
        f"{out}: timm's own logits. Stored in half precision, which changes "
        f"{rounding['answers_changed']} of {rounding['faces']} answers to the shipped faces and "
        f"no probability by more than {rounding['max_abs_dp']:.1e}"
    )
    click.echo("Not calibrated: its temperature is 1, and it never abstains")


def _shares(text: str, option: str) -> tuple[float, ...]:
    try:
        return tuple(float(part) for part in text.split(","))
    except ValueError:
        raise click.BadParameter(f"expected numbers like 0.5,0.5,0.5, got {text!r}",
                                 param_hint=option) from None  # fmt: skip


def _argument(text: str) -> tuple[str, Any]:
    key, equals, value = text.partition("=")
    try:
        if not equals:
            raise ValueError
        return key, json.loads(value)
    except ValueError:
        raise click.BadParameter(f"expected KEY=JSON, e.g. img_size=96, got {text!r}",
                                 param_hint="--set") from None  # fmt: skip
