"""``fer-edge familiarize``."""

from __future__ import annotations

from pathlib import Path

import click

from fer_edge.cli.early_checks import check_data, check_model
from fer_edge.cli.options import data_option, json_option, out_option, print_json, quiet_option
from fer_edge.shipped import checkpoint_path


@click.command()
@click.argument("checkpoint", type=checkpoint_path)
@data_option("Learn these faces: those that trained the checkpoint.", required=True, multiple=True)
@out_option("Write the checkpoint with its familiarity to this folder.", required=True)
@quiet_option
@json_option
def familiarize(checkpoint: Path, data: tuple[Path, ...], out: Path, as_json: bool) -> None:
    """Let a checkpoint refuse unfamiliar faces.

    \b
    Example: fer-edge familiarize runs/a/best --data fer2013/ -o a-familiar
             fer-edge convert a-familiar --target openvino -o a.fer

    The command stores statistics of the training faces in the checkpoint; conversions copy them
    into bundles. The limits refuse 1 % of the held-out faces. A refused face gets an uncertain
    answer, with the reason "unlike the faces it was trained on".
    """
    check_model(checkpoint)
    check_data(data)
    from fer_edge.progress_bar import progress
    from fer_edge.training.familiarize import familiarize as fit

    with progress() as (say, step):
        report = fit(checkpoint, list(data), out, say=say, step=step)
    if as_json:
        print_json(report)
        return
    click.echo(
        f"{report['training_faces']:,} training faces; of {report['held_out_faces']:,} held-out "
        f"faces, {report['false_refusals']:.1%} are refused"
    )
    click.echo(f"wrote {out}")
