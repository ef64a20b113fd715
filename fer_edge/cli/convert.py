"""``fer-edge convert``."""

from __future__ import annotations

from pathlib import Path

import click

from fer_edge.cli.options import numbers, print_json


@click.command()
@click.argument("checkpoint", type=click.Path(path_type=Path))
@click.option("--target", "targets", multiple=True, required=True,
              help="coreml, onnxruntime, openvino, tensorrt, or all.")  # fmt: skip
@click.option(
    "--precision",
    "precisions",
    multiple=True,
    default=("auto",),
    help="fp32, fp16, bf16, int8, pal6, w8a8, all, or auto: only what is worth it here.",
)
@click.option("-o", "--out", required=True, type=click.Path(path_type=Path), help="NAME.fer")
@click.option("--data", type=click.Path(path_type=Path),
              help="Labelled faces: val judges, train calibrates [composites].")  # fmt: skip
@click.option("--calibrate", type=click.Path(path_type=Path), help="Other faces for int8.")
@click.option("--allow-drop", type=click.FloatRange(0, 100), metavar="POINTS",
              help="Accuracy points a reduced precision may lose, instead of decisions that "
                   "change; recorded.")  # fmt: skip
@click.option("--allow-unproven", is_flag=True,
              help="Also write what no engine here can judge; recorded.")  # fmt: skip
@click.option("--batch-sizes", default="1", show_default=True, metavar="N,N,…",
              help="Those that engines are built for; TensorRT: from the least to the most, "
                   "tuned for the first.")  # fmt: skip
@click.option("--gpu", "gpus", multiple=True, metavar="sm_NN",
              help="GPUs to compile for [the one here].")  # fmt: skip
@click.option("--workspace-mib", type=click.IntRange(1), metavar="MIB",
              help="GPU memory that one layer may use [all].")  # fmt: skip
@click.option("--seed", default=2026, show_default=True, help="Of the calibration sample.")
@click.option("--json", "as_json", is_flag=True, help="The manifest as JSON on standard output.")
def convert(
    checkpoint: Path,
    targets: tuple[str, ...],
    precisions: tuple[str, ...],
    out: Path,
    data: Path | None,
    calibrate: Path | None,
    allow_drop: float | None,
    allow_unproven: bool,
    batch_sizes: str,
    gpus: tuple[str, ...],
    workspace_mib: int | None,
    seed: int,
    as_json: bool,
) -> None:
    """Convert a checkpoint folder into a bundle, or add variants to one.

    \b
    Example: fer-edge convert runs/edge-default/best --target openvino --target onnxruntime \\
                 --data fer2013/ -o driver.fer
    For NVIDIA GPUs: --target tensorrt --precision fp16 --gpu sm_86 --gpu sm_87 --batch-sizes 1,32
    Each variant has to agree with the checkpoint on real faces. One that does not is left out;
    if its precision was asked for by name, nothing is written.
    """
    from fer_edge.converters.pipeline.convert import convert as work
    from fer_edge.progress import progress

    with progress() as (say, _):
        bundle = work(
            checkpoint,
            targets,
            out,
            precisions,
            data=data,
            calibrate=calibrate,
            allow_drop=None if allow_drop is None else allow_drop / 100,
            allow_unproven=allow_unproven,
            batch_sizes=numbers(batch_sizes),
            gpus=gpus,
            workspace_mib=workspace_mib,
            seed=seed,
            say=say,
        )
    if as_json:
        print_json(bundle.as_dict())
    else:
        click.echo(f"{bundle.path}: {', '.join(v.name for v in bundle.variants)}")
