"""``fer-edge convert``."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import click

from fer_edge.backends.base import offered
from fer_edge.cli.early_checks import check_data, check_model, check_targets
from fer_edge.cli.options import (
    PATH,
    Name,
    batch_sizes_option,
    data_option,
    gpu_option,
    json_option,
    out_option,
    precisions,
    print_json,
    quiet_option,
    soc_option,
    workspace_option,
)
from fer_edge.option_types import FiniteRange
from fer_edge.shipped import checkpoint_path

# The converters themselves import torch, which a help text must not.
_TARGETS = {
    target: facts
    for target, facts in offered().items()
    if importlib.util.find_spec(f"fer_edge.converters.{target}")
}
_PRECISIONS = precisions(_TARGETS)


@click.command()
@click.argument("checkpoint", type=checkpoint_path)
@click.option(
    "--target",
    "targets",
    multiple=True,
    required=True,
    type=Name((*_TARGETS, "all")),
    metavar="NAME",
    help=f"Convert for this target: {', '.join(_TARGETS)}, or all. Repeatable.",
)
@click.option(
    "--precision",
    "precisions",
    multiple=True,
    type=Name((*_PRECISIONS, "all", "auto")),
    default=("auto",),
    show_default=True,
    metavar="NAME",
    help=f"Convert to this precision: {', '.join(_PRECISIONS)}, all, or auto, which "
    "keeps the Pareto front of latency and agreement. Repeatable.",
)
@out_option("Write this bundle, NAME.fer, or add the variants to it.", required=True)
@data_option(
    "Judge parity on the val part of these faces and calibrate on train "
    "(default: the shipped composite faces)."
)
@click.option(
    "--calibrate",
    type=PATH,
    metavar="DATA",
    help="Calibrate int8 on these faces instead of the train part of --data.",
)
@click.option(
    "--allow-drop",
    type=FiniteRange(0, 100),
    metavar="POINTS",
    help="Accept up to POINTS percentage points of accuracy loss instead of requiring 99.5 % of "
    "the answered decisions. The bundle records it.",
)
@click.option(
    "--allow-unproven",
    is_flag=True,
    help="Also write variants that no engine here can check. The bundle records it.",
)
@batch_sizes_option(
    "Build engines for these batch sizes. TensorRT covers smallest to largest and tunes for the "
    "first.",
    default="1",
    show_default=True,
)
@gpu_option
@soc_option
@workspace_option
@click.option(
    "--judge-seconds",
    type=FiniteRange(1, 86_400),
    default=120.0,
    show_default=True,
    metavar="SECONDS",
    help="Judge a variant on the faces that it answers within this time.",
)
@click.option(
    "--seed",
    type=click.IntRange(0),
    default=2026,
    show_default=True,
    metavar="N",
    help="Draw the calibration faces with this seed.",
)
@click.option(
    "--name", metavar="TEXT", help="Name the model in the bundle (default: the name of the folder)."
)
@click.option(
    "--bundle-version",
    "version",
    metavar="TEXT",
    help="Record this version of the model (default: 0, or the one that the bundle has).",
)
@quiet_option
@json_option
def convert(
    checkpoint: Path,
    targets: tuple[str, ...],
    precisions: tuple[str, ...],
    out: Path,
    data: Path | None,
    calibrate: Path | None,
    allow_drop: float | None,
    allow_unproven: bool,
    batch_sizes: list[int],
    gpus: tuple[str, ...],
    socs: tuple[str, ...],
    workspace_mib: int | None,
    judge_seconds: float,
    seed: int,
    name: str | None,
    version: str | None,
    as_json: bool,
) -> None:
    """Convert a checkpoint into a bundle, or add variants to one.

    \b
    Example: fer-edge convert runs/edge-default/best --target openvino \\
                 --target onnxruntime --data fer2013/ -o driver.fer
             fer-edge convert CHECKPOINT --target tensorrt --precision fp16 \\
                 --gpu sm_86 --gpu sm_87 --batch-sizes 1,32 -o driver.fer

    Each variant is compared with the checkpoint on faces. A variant beyond a limit is left out. If
    --target and --precision name it, nothing is written and the exit code is 7. If the faces are
    too few for a verdict, the command prints how many would tell.
    """
    check_targets(targets, precisions, _TARGETS)
    check_model(checkpoint)
    check_data([data, calibrate])

    from fer_edge.converters.pipeline.convert import convert as run_conversion
    from fer_edge.progress_bar import progress

    with progress() as (say, _):
        bundle = run_conversion(
            checkpoint,
            targets,
            out,
            precisions,
            data=data,
            calibrate=calibrate,
            allow_drop=None if allow_drop is None else allow_drop / 100,
            allow_unproven=allow_unproven,
            batch_sizes=batch_sizes,
            gpus=gpus,
            socs=socs,
            workspace_mib=workspace_mib,
            judge_seconds=judge_seconds,
            seed=seed,
            name=name,
            version=version,
            say=say,
        )
    if as_json:
        print_json(bundle.as_dict())
    else:
        click.echo(f"{bundle.path}: {', '.join(v.name for v in bundle.variants)}")
