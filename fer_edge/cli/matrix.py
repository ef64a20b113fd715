"""``fer-edge matrix``."""

from __future__ import annotations

from pathlib import Path

import click

from fer_edge.cli.options import (
    PATH,
    PRECISIONS,
    TARGETS,
    Name,
    data_option,
    gpu_option,
    json_option,
    out_option,
    print_json,
    quiet_option,
    write_out,
)


@click.command()
@click.option(
    "--small", is_flag=True, help="Use fewer blocks and smaller images: minutes, not hours."
)
@click.option(
    "--network",
    "networks",
    multiple=True,
    metavar="NAME",
    help="Convert only this network, named as in the table. Repeatable.",
)
@click.option(
    "--target",
    "targets",
    multiple=True,
    type=Name(TARGETS),
    metavar="NAME",
    help="Convert only for this target. Repeatable.",
)
@click.option(
    "--precision",
    "precisions",
    multiple=True,
    type=Name(PRECISIONS),
    metavar="NAME",
    help="Convert only to this precision. Repeatable.",
)
@gpu_option
@data_option(
    "Judge on the val part of these faces and calibrate on train "
    "(default: the shipped composite faces)."
)
@click.option(
    "--keep",
    type=PATH,
    metavar="FOLDER",
    help="Keep each network's checkpoint in this folder, for convert and bench.",
)
@out_option("Write the table to this Markdown file, row by row.")
@quiet_option
@json_option
def matrix(
    small: bool,
    networks: tuple[str, ...],
    targets: tuple[str, ...],
    precisions: tuple[str, ...],
    gpus: tuple[str, ...],
    data: Path | None,
    keep: Path | None,
    out: Path | None,
    as_json: bool,
) -> None:
    """Convert every backbone for every target, and report each result.

    Example: fer-edge matrix --small --target onnxruntime
    """
    from dataclasses import asdict

    from fer_edge.converters.pipeline import matrix_networks as networks_of
    from fer_edge.converters.pipeline.matrix import matrix as run_matrix
    from fer_edge.converters.pipeline.matrix_table import MatrixRow, markdown
    from fer_edge.progress_bar import progress

    def write(rows: list[MatrixRow]) -> None:
        if out is not None:
            write_out(out, markdown(rows))

    with progress() as (say, step):
        rows = run_matrix(
            networks_of.SMALL if small else networks_of.FULL,
            data=data,
            named=networks,
            only=targets,
            precisions=precisions,
            gpus=gpus,
            keep=keep,
            say=say,
            step=step,
            found=write,  # after each row: an early end keeps the rows so far
        )
    write(rows)
    if as_json:
        print_json([asdict(row) for row in rows])
    elif out is None:
        click.echo(markdown(rows))
