"""``fer-edge demo``."""

from __future__ import annotations

from pathlib import Path

import click

from fer_edge.cli.options import out_option


@click.command()
@out_option("Write the converted bundle into this folder.", default="demo-out", show_default=True)
def demo(out: Path) -> None:
    """Run, convert and time the shipped model on this machine.

    Takes a few minutes on two cores. Needs no network.

    Example: fer-edge demo
    """
    from fer_edge.demo import run

    run(out)
