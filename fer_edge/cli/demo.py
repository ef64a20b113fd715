"""``fer-edge demo``."""

from __future__ import annotations

from pathlib import Path

import click


@click.command()
@click.option("-o", "--out", default="demo-out", show_default=True, type=click.Path(path_type=Path))
def demo(out: Path) -> None:
    """Recognise the shipped faces, convert the shipped model for this CPU, and time it.

    Everything is real and stays on this machine; about two minutes.

    Example: fer-edge demo
    """
    from fer_edge.demo import run

    run(out)
