"""``fer-edge build``."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from fer_edge.cli.options import PATH, workspace_option
from fer_edge.shipped import bundle_path


@click.command()
@click.argument("bundle", type=bundle_path)
@click.option(
    "--cache-dir",
    type=PATH,
    metavar="FOLDER",
    help="Keep the engines here (default: ~/.cache/fer_edge/tensorrt).",
)
@click.option(
    "--device",
    metavar="NAME",
    help="Compile for this GPU: cuda, or cuda:N (default: the first GPU).",
)
@workspace_option
def build(
    bundle: Path, cache_dir: Path | None, device: str | None, workspace_mib: int | None
) -> None:
    """Compile a bundle's TensorRT variants for this machine's GPU.

    \b
    Example: fer-edge build driver.fer

    The engines go into a cache, where Predictor looks for them. The bundle does not change.
    Variants that already contain an engine for this GPU and TensorRT release are skipped.
    """
    from fer_edge.build import build as build_engines

    for line in build_engines(bundle, cache_dir, device, workspace_mib, step=_show_progress):
        click.echo(line)


def _show_progress(what: str, done: int, total: int) -> None:
    if sys.stderr.isatty():
        click.echo(f"\r\033[K  {what} {done}/{total}\r", nl=False, err=True)
