"""``fer-edge build``."""

from __future__ import annotations

from pathlib import Path

import click

from fer_edge.cli.options import PATH, quiet_option, workspace_option
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
@quiet_option
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
    from fer_edge.progress_bar import progress

    with progress() as (_, step):
        for line in build_engines(bundle, cache_dir, device, workspace_mib, step=step):
            click.echo(line)
