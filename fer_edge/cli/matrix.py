"""``fer-edge matrix``."""

from __future__ import annotations

from pathlib import Path

import click

from fer_edge.cli.options import print_json, write_out


@click.command()
@click.option("--small", is_flag=True, help="Fewer blocks and smaller pictures: minutes.")
@click.option("--network", "networks", multiple=True, help="Only these, as the table names them.")
@click.option("--target", "targets", multiple=True, help="Only these targets [all].")
@click.option("--precision", "precisions", multiple=True, help="Only these precisions [all].")
@click.option("--gpu", "gpus", multiple=True, metavar="sm_NN", help="GPUs to compile for.")
@click.option("--data", type=click.Path(path_type=Path),
              help="Labelled faces: val judges, train calibrates [composites].")  # fmt: skip
@click.option("--keep", type=click.Path(path_type=Path), metavar="FOLDER",
              help="Keep each network's checkpoint here, for convert and bench.")  # fmt: skip
@click.option(
    "-o", "--out", type=click.Path(path_type=Path), help="Write the table here, row by row."
)
@click.option("--json", "as_json", is_flag=True, help="JSON on standard output.")
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
    """Convert every backbone for every target and precision, and say what became of each.

    Example: fer-edge matrix --small --target onnxruntime
    """
    from dataclasses import asdict

    from fer_edge.converters.pipeline import matrix as module
    from fer_edge.progress import progress

    def write(rows: list[module.MatrixRow]) -> None:
        if out is not None:
            write_out(out, module.markdown(rows))

    with progress() as (say, step):
        rows = module.matrix(
            module.SMALL if small else module.FULL,
            data=data,
            named=networks,
            only=targets,
            precisions=precisions,
            gpus=gpus,
            keep=keep,
            say=say,
            step=step,
            found=write,  # so that what ends it early does not cost what was there
        )
    write(rows)
    if as_json:
        print_json([asdict(row) for row in rows])
    elif out is None:
        click.echo(module.markdown(rows))
