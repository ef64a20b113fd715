"""``fer-edge matrix``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from fer_edge.backends.base import offered
from fer_edge.cli.early_checks import check_targets
from fer_edge.cli.options import (
    PATH,
    PRECISIONS,
    TARGETS,
    Name,
    check_out,
    data_option,
    gpu_option,
    json_option,
    make_folder,
    out_option,
    print_json,
    quiet_option,
    write_out,
)
from fer_edge.errors import DataError, LimitError
from fer_edge.option_types import FiniteRange
from fer_edge.shown import printable

if TYPE_CHECKING:
    from fer_edge.release_matrix.run import Request


@click.command()
@click.argument("checkpoints", nargs=-1, metavar="[CHECKPOINT]...")
@click.option(
    "--release",
    is_flag=True,
    help="Grade the shipped models, or each CHECKPOINT, in every cell, and compare with the last "
    "version.",
)
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
@click.option(
    "--faces",
    type=click.IntRange(10),
    metavar="N",
    help="Judge each cell of a release on at most N faces (default: all).",
)
@click.option(
    "--budget-s",
    type=FiniteRange(0, min_open=True),
    metavar="S",
    help="Time each variant of a release for S seconds (default: 3).",
)
@click.option(
    "--judge-seconds",
    type=FiniteRange(0, min_open=True),
    metavar="S",
    help="Judge each variant of a release on the faces that take S seconds, and on at least 100; "
    "for simulators (default: 120).",
)
@click.option(
    "--again",
    is_flag=True,
    help="Grade cells again, even if they have a grade. Other values of --judge-seconds, "
    "--budget-s and --gpu need it.",
)
@click.option(
    "--against",
    type=PATH,
    metavar="FILE",
    help="Compare a release with this JSON (default: the last version before it in the folder).",
)
@click.option(
    "--latency-factor",
    type=FiniteRange(1),
    metavar="X",
    help="Call a median that grew more than X times on the same machine a regression "
    "(default: 1.5).",
)
@out_option(
    "Write the table to this Markdown file, row by row. With --release: write VERSION.md and "
    "VERSION.json to this folder (default: docs/results/matrix)."
)
@quiet_option
@json_option
@click.pass_context
def matrix(
    context: click.Context,
    checkpoints: tuple[str, ...],
    release: bool,
    small: bool,
    networks: tuple[str, ...],
    targets: tuple[str, ...],
    precisions: tuple[str, ...],
    gpus: tuple[str, ...],
    data: Path | None,
    keep: Path | None,
    faces: int | None,
    budget_s: float | None,
    judge_seconds: float | None,
    again: bool,
    against: Path | None,
    latency_factor: float | None,
    out: Path | None,
    as_json: bool,
) -> None:
    """Convert every backbone for every target, and report each result.

    \b
    Example: fer-edge matrix --small --target onnxruntime
             fer-edge matrix --release --data fer2013/ --faces 1000
             fer-edge matrix --release default runs/mine/checkpoint

    --release grades models in place of backbones: builds, runs with latency, parity, accuracy. A
    cell that is done is kept unless the checkpoint, the version, the faces or the libraries
    changed, so a run that was ended goes on. Exit codes of --release: 8 a cell got worse; 3 a
    cell of the last version cannot be compared.
    """
    _check_usage(context, release)
    check_targets(targets or ("all",), precisions, offered())
    if release:
        from fer_edge.converters.pipeline.prepare import JUDGE_SECONDS
        from fer_edge.release_matrix.regressions import LATENCY_FACTOR
        from fer_edge.release_matrix.run import BUDGET_S, FOLDER, Request

        request = Request(
            checkpoints=checkpoints,
            targets=targets,
            precisions=precisions,
            data=data,
            faces=faces,
            gpus=gpus,
            budget_s=BUDGET_S if budget_s is None else budget_s,
            judge_seconds=JUDGE_SECONDS if judge_seconds is None else judge_seconds,
            again=again,
            factor=LATENCY_FACTOR if latency_factor is None else latency_factor,
            against=against,
        )
        return _release(request, FOLDER if out is None else out, as_json)
    from dataclasses import asdict

    from fer_edge.converters.pipeline import matrix_networks as networks_of
    from fer_edge.converters.pipeline.matrix import matrix as run_matrix
    from fer_edge.converters.pipeline.matrix_table import MatrixRow, markdown
    from fer_edge.progress_bar import progress

    if keep is not None:
        make_folder(keep)  # the table may lie beside it
    if out is not None:
        check_out(out)

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
            on_rows=write,  # after each row: an early end keeps the rows so far
        )
    write(rows)
    if as_json:
        print_json([asdict(row) for row in rows])
    elif out is None:
        click.echo(markdown(rows))


_OF_RELEASE = (
    "checkpoints",
    "faces",
    "budget_s",
    "judge_seconds",
    "again",
    "against",
    "latency_factor",
)
_OF_BACKBONES = ("small", "networks", "keep")


def _check_usage(context: click.Context, release: bool) -> None:
    """Refuse what the other form of the command has."""
    others = _OF_BACKBONES if release else _OF_RELEASE
    for parameter in context.command.params:
        name = parameter.name
        if name in others and context.params[name] not in (None, False, ()):
            word = parameter.opts[0] if isinstance(parameter, click.Option) else "CHECKPOINT"
            problem = "does not go with" if release else "needs"
            raise click.UsageError(f"{word} {problem} --release.")


def _release(request: Request, folder: Path, as_json: bool) -> None:
    from fer_edge.progress_bar import progress
    from fer_edge.release_matrix.run import release_matrix

    with progress() as (say, step):
        matrix = release_matrix(request, folder, say=say, step=step)
    comparison = matrix.comparison
    if as_json:
        print_json(matrix.as_dict())
    else:
        for cell in matrix.cells:
            click.echo(printable(str(cell)))
        if comparison is not None:
            for sentence in (*comparison.not_compared, *comparison.notes):
                click.echo(f"since {comparison.version}: {sentence}")
        click.echo(f"Written: {folder / matrix.version}.md and .json")
    if comparison is not None and comparison.regressions:
        raise LimitError(f"since {comparison.version}: " + "; ".join(comparison.regressions))
    if comparison is not None and comparison.not_compared:
        raise DataError(
            f"cannot be compared with {comparison.version}: " + "; ".join(comparison.not_compared)
        )
