"""Commands that make bundles: ``convert``, ``matrix``, ``build``."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from fer_edge.cli_common import numbers, print_json, write_out


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
    from fer_edge.converters.convert import convert as work
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

    from fer_edge.converters import matrix as module
    from fer_edge.progress import progress

    def write(rows: list[module.Row]) -> None:
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
