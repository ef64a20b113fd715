"""``fer-edge build``."""

from __future__ import annotations

import sys
from pathlib import Path

import click


@click.command()
@click.argument("bundle", type=click.Path(path_type=Path))
@click.option("--cache-dir", type=click.Path(path_type=Path),
              help="Where engines are kept [~/.cache/fer_edge/tensorrt].")  # fmt: skip
@click.option("--device", help="cuda, or cuda:N for another GPU than the first.")
@click.option("--workspace-mib", type=click.IntRange(1), metavar="MIB",
              help="GPU memory that one layer may use [all].")  # fmt: skip
def build(
    bundle: Path, cache_dir: Path | None, device: str | None, workspace_mib: int | None
) -> None:
    """Compile a bundle's TensorRT variants for the GPU of this device.

    \b
    Example: fer-edge build driver.fer
    The engines go into a cache, where Predictor finds them; the bundle stays as it is. What holds
    an engine for this GPU and this release of the library already is left alone.
    """
    from fer_edge.build import build as work

    for line in work(bundle, cache_dir, device, workspace_mib, step=_phase):
        click.echo(line)


def _phase(what: str, done: int, total: int) -> None:
    if sys.stderr.isatty():
        click.echo(f"\r\033[K  {what} {done}/{total}\r", nl=False, err=True)
