"""``fer-edge demo``."""

from __future__ import annotations

from pathlib import Path

import click

from fer_edge.cli.options import out_option, quiet_option


@click.command()
@out_option("Write the drawn picture into this folder.", default="demo-out", show_default=True)
@click.option(
    "--full",
    is_flag=True,
    help="Also convert the model for every target and measure the bundle, which takes minutes.",
)
@quiet_option
def demo(out: Path, full: bool) -> None:
    """Recognise faces, list what runs here, and measure it.

    \b
    Example: fer-edge demo
             fer-edge demo --full

    Takes less than a minute on two cores and needs no network. --full needs
    fer-edge[convert].
    """
    from fer_edge.demo import run

    run(out, full=full)
