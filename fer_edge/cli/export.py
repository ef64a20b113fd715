"""``fer-edge export``."""

from __future__ import annotations

from pathlib import Path

import click

from fer_edge.cli.options import data_option, json_option, out_option, print_json, quiet_option
from fer_edge.shipped import checkpoint_path


@click.command()
@click.argument("checkpoint", type=checkpoint_path)
@click.option(
    "--format",
    "file_format",
    required=True,
    type=click.Choice(["torchscript", "torch-export", "onnx"]),
    help="Write this format.",
)
@out_option("Write this file.", required=True)
@data_option("Compare on the val part of these faces (default: the shipped composite faces).")
@quiet_option
@json_option
def export(checkpoint: Path, file_format: str, out: Path, data: Path | None, as_json: bool) -> None:
    """Export a checkpoint as one ONNX or PyTorch file.

    \b
    Example: fer-edge export runs/driver/best --format torch-export -o driver.pt2

    For programs with their own runtime. The file has neither labels nor hashes: for a car,
    convert to a bundle. The file is loaded and compared with the checkpoint before it is written.

    \b
    Input: uint8 [N, S, S, 3] BGR face crops.
    Output: probabilities [N, C] and embedding [N, D], float32.

    PyTorch deprecates TorchScript in favour of torch.export.
    """
    from fer_edge.converters.pipeline.export_file import export_file
    from fer_edge.progress_bar import progress

    with progress() as (say, step):
        say(f"Exporting and comparing {checkpoint}")
        report = export_file(checkpoint, file_format, out, data, step)
        if file_format == "torchscript":
            say("PyTorch has deprecated TorchScript. Prefer --format torch-export.")
    if as_json:
        print_json(report)
        return
    click.echo(
        f"{out}: {report['bytes'] / 1e6:.1f} MB, probabilities within {report['max_abs_dp']:.1e} "
        f"of the checkpoint's on {report['faces']['faces']} faces, at batch sizes "
        f"{', '.join(map(str, report['batch_sizes']))}"
    )
    click.echo(f"labels, in order: {', '.join(report['labels'])}")
