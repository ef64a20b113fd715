"""``fer-edge detector`` and its subcommand."""

from __future__ import annotations

from pathlib import Path

import click

from fer_edge.cli.options import json_option, out_option, print_json, quiet_option


@click.group()
def detector() -> None:
    """Fetch the face detector for photos and video.

    Example: fer-edge detector fetch
    """


@detector.command()
@out_option("Write the file here (default: ~/.cache/fer_edge, where all commands look).")
@quiet_option
@json_option
def fetch(out: Path | None, as_json: bool) -> None:
    """Download YuNet and check its pinned SHA-256.

    \b
    Example: fer-edge detector fetch
             fer-edge detector fetch -o yunet.onnx

    YuNet is 0.2 MB, from OpenCV Zoo on GitHub. A correct file that is already there is kept.
    Without a network, copy the file there from another machine, or pass it as --detector FILE.
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
        click.echo(f"{path}: {'fetched and checked' if fetched else 'already there, and checked'}")
