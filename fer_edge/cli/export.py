"""``fer-edge export``."""

from __future__ import annotations

from pathlib import Path

import click

from fer_edge.cli.options import PATH, print_json


@click.command()
@click.argument("checkpoint", type=PATH)
@click.option("--format", "form", required=True,
              type=click.Choice(["torchscript", "torch-export", "onnx"]))  # fmt: skip
@click.option("-o", "--out", required=True, type=PATH, help="The file to write.")
@click.option("--data", type=PATH, help="Labelled faces: val judges [composites].")
@click.option("--json", "as_json", is_flag=True, help="JSON on standard output.")
def export(checkpoint: Path, form: str, out: Path, data: Path | None, as_json: bool) -> None:
    """Write a checkpoint's graph as one file, for a program that brings its own runtime.

    \b
    Example: fer-edge export runs/edge-default/best --format torch-export -o driver.pt2
    In: uint8 [N, S, S, 3] BGR face crops. Out: probabilities [N, C] and embedding [N, D], float32.
    The file is loaded again and compared with the checkpoint before it is put there. It has
    neither labels nor hashes: for a car, convert to a bundle. TorchScript is deprecated by
    PyTorch in favour of torch.export; take it for programs that cannot change.
    """
    from fer_edge.converters.pipeline.export_file import export_file
    from fer_edge.progress import progress

    with progress() as (say, _):
        say(f"Exporting and comparing {checkpoint}")
        report = export_file(checkpoint, form, out, data)
        if form == "torchscript":
            say("TorchScript is deprecated by PyTorch: --format torch-export takes its place.")
    if as_json:
        print_json(report)
        return
    click.echo(
        f"{out}: {report['bytes'] / 1e6:.1f} MB, probabilities within {report['max_abs_dp']:.1e} "
        f"of the checkpoint's on {report['faces']['faces']} faces, at batch sizes "
        f"{', '.join(map(str, report['batch_sizes']))}"
    )
    click.echo(f"labels, in order: {', '.join(report['labels'])}")
