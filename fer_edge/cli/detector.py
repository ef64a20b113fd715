"""``fer-edge detector`` and what is below it."""

from __future__ import annotations

from pathlib import Path

import click

from fer_edge.cli.options import print_json


@click.group()
def detector() -> None:
    """The face detector's file.

    Example: fer-edge detector fetch
    """


@detector.command()
@click.option("-o", "--out", type=click.Path(path_type=Path),
              help="Where to [~/.cache/fer_edge, where the monitor looks].")  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="JSON on standard output.")
def fetch(out: Path | None, as_json: bool) -> None:
    """Download YuNet (0.2 MB, from OpenCV Zoo on GitHub) and check it against its pinned SHA-256.

    \b
    Example: fer-edge detector fetch
             fer-edge detector fetch -o yunet.onnx
    A file that is there already and is the right one is left alone. Without a network, get the
    file elsewhere and put it there, or give its path to the monitor.
    """
    from fer_edge.monitor.fetch_detector import YUNET_SHA256, YUNET_URL, default_path, fetch_yunet

    path = out or default_path()
    if path.is_dir():
        path = path / default_path().name
    fetched = fetch_yunet(path)
    if as_json:
        print_json(
            {"path": str(path), "fetched": fetched, "sha256": YUNET_SHA256, "url": YUNET_URL}
        )
    else:
        click.echo(f"{path}: {'fetched and checked' if fetched else 'there already, and checked'}")
