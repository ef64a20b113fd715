"""The command line. Each command imports its work inside, so that --help needs no torch.

Exit codes: 0 done; 1 an error of our own making; 2 wrong usage; 3 input, data, labels or recipe
that cannot be used; 4 a damaged checkpoint or bundle; 5 a target, device or library that is not
here; 6 training, conversion or an engine failed; 7 a variant failed its parity gate;
8 a measurement broke a limit that was set for it (bench --budget, bench compare --fail-if).
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

import click

import fer_edge
from fer_edge.cli_bench import bench
from fer_edge.cli_common import print_json
from fer_edge.cli_convert import build, convert, matrix
from fer_edge.cli_data import data as data_group
from fer_edge.cli_data import with_broken
from fer_edge.cli_detector import detector
from fer_edge.cli_model import embed, evaluate, export, import_
from fer_edge.cli_serve import serve
from fer_edge.cli_video import video
from fer_edge.errors import FerEdgeError, InputError, MissingDependencyError, TargetError
from fer_edge.shipped import DEFAULT_BUNDLE

_EXTRA_OF = {
    **dict.fromkeys(("torch", "torchvision", "timm", "accelerate", "torchmetrics"), "train"),
    **dict.fromkeys(("pyarrow", "matplotlib", "yaml", "safetensors", "h5py", "datasets"), "train"),
    **dict.fromkeys(("onnx", "onnxscript", "nncf"), "convert"),
    **dict.fromkeys(("psutil", "rich"), "bench"),
    **dict.fromkeys(("fastapi", "python_multipart", "prometheus_client", "uvicorn"), "serve"),
    **dict.fromkeys(("starlette", "websockets"), "serve"),
    "openvino": "openvino",
    "cuda": "tensorrt",
}


class _Group(click.Group):
    """Turns our errors into one sentence and their exit code, and missing libraries into a hint."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except FerEdgeError as error:
            click.echo(f"fer-edge: {error}", err=True)
            ctx.exit(error.exit_code)
        except ModuleNotFoundError as error:
            name = (error.name or "").split(".")[0]
            if name not in _EXTRA_OF:
                raise
            missing = MissingDependencyError(name, _EXTRA_OF[name])
            click.echo(f"fer-edge: {missing}", err=True)
            ctx.exit(missing.exit_code)


@click.group(cls=_Group, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(fer_edge.__version__, prog_name="fer-edge")
def main() -> None:
    """Train a face-expression model once, run it on any edge chip with the same answers.

    \b
    Exit codes: 0 done, 2 usage, 3 unusable input, data or recipe, 4 damaged checkpoint or
    bundle, 5 target or library not here, 6 training, conversion or engine failed,
    7 parity gate failed, 8 a benchmark broke its limit, 1 anything else.
    Shell completion: eval "$(_FER_EDGE_COMPLETE=bash_source fer-edge)"
    """


@main.command()
@click.argument("images", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--bundle", type=click.Path(path_type=Path), help="A .fer folder [shipped model].")
@click.option("--target", help="Run this target and no other.")
@click.option("--precision", help="Run this precision and no other.")
@click.option("--box", nargs=4, type=int, help="x y width height of the face in each image.")
@click.option("--json", "as_json", is_flag=True, help="JSON on standard output.")
def predict(
    images: tuple[Path, ...],
    bundle: Path | None,
    target: str | None,
    precision: str | None,
    box: tuple[int, int, int, int] | None,
    as_json: bool,
) -> None:
    """Say the expression of each face crop. Example: fer-edge predict driver.png"""
    failed: FerEdgeError | None = None
    rows: list[dict[str, Any]] = []
    with fer_edge.Predictor(bundle, target, precision) as predictor:
        for path in images:
            try:
                answer = predictor(path, box)
            except InputError as error:
                failed = error
                rows.append({"image": str(path), "error": str(error)})
                if not as_json:
                    click.echo(f"{path}: {error}", err=True)
                continue
            rows.append({"image": str(path), **answer.as_dict()})
            if not as_json:
                doubt = f"  uncertain: {answer.reason}" if answer.uncertain else ""
                click.echo(f"{path}: {answer.label} {answer.confidence:.2f}{doubt}")
                for name, share in sorted(answer.probabilities.items(), key=lambda kv: -kv[1]):
                    click.echo(f"    {name:10s} {share:6.1%} {'█' * round(30 * share)}")
    if as_json:
        print_json(rows)
    if failed is not None:
        sys.exit(failed.exit_code)


@main.command()
@click.argument("recipe")
@click.option("--data", required=True, multiple=True, type=click.Path(path_type=Path),
              help="Labelled faces; several are merged.")  # fmt: skip
@click.option("--broken", type=click.Choice(["fail", "skip"]), default="fail", show_default=True,
              help="Pictures that cannot be read: an error, or left out and reported.")  # fmt: skip
@click.option("-o", "--run", type=click.Path(path_type=Path), help="Run folder [runs/RECIPE].")
@click.option("--set", "overrides", multiple=True, metavar="KEY=VALUE", help="E.g. fit.epochs=3.")
@click.option("--weights", type=click.Path(path_type=Path),
              help="What the backbone starts from, in place of model.pretrained.")  # fmt: skip
@click.option("--resume", is_flag=True, help="Go on from the last whole epoch.")
@click.option("--licence", help="What the data may be used for; goes into the card.")
def train(
    recipe: str,
    data: tuple[Path, ...],
    broken: str,
    run: Path | None,
    overrides: tuple[str, ...],
    weights: Path | None,
    resume: bool,
    licence: str | None,
) -> None:
    """Train a recipe (a file, or the name of a shipped one) on labelled faces.

    \b
    Example: fer-edge train training/recipes/edge-default.yaml --data fer2013/
    DATA is any form of docs/data.md: folders, CSV, parquet, HDF5, hf:NAME, with options behind
    an @. The checkpoint is RUN/best.
    Several processes: torchrun --nproc-per-node 2 -m fer_edge.cli train RECIPE --data DATA
    """
    from fer_edge.progress import progress
    from fer_edge.training.recipe import load_recipe
    from fer_edge.training.train import train as work

    if weights is not None:
        path = json.dumps(str(weights))
        overrides = (*overrides, f"model.weights={path}", "model.pretrained=false")
    loaded = load_recipe(recipe, overrides)
    with progress() as (say, step):
        best = work(
            loaded,
            with_broken(data, broken),
            run or Path("runs") / loaded.name,
            resume=resume,
            licence=licence,
            say=say,
            step=step,
        )
    if os.environ.get("RANK", "0") == "0":  # of the processes that torchrun started, the first
        click.echo(best)


@main.command()
@click.argument("bundle", type=click.Path(path_type=Path), required=False)
@click.option("--json", "as_json", is_flag=True, help="JSON on standard output.")
def inspect(bundle: Path | None, as_json: bool) -> None:
    """Check a bundle's files and show what is in it, and what of it runs here.

    Example: fer-edge inspect driver.fer
    """
    opened = fer_edge.open_bundle(bundle or DEFAULT_BUNDLE)
    if as_json:
        print_json({"path": str(opened.path), "sha256": opened.sha256, **opened.as_dict()})
        return
    click.echo(f"{opened.path}  (all hashes match)")
    click.echo(f"labels       {', '.join(opened.labels)}")
    click.echo(f"input        uint8 [N, {opened.crop.size_px}, {opened.crop.size_px}, 3] BGR")
    click.echo(f"temperature  {opened.temperature:.3f}, uncertain below {opened.abstain_below:.2f}")
    click.echo(f"made from    {opened.provenance.get('backbone')}, recipe "
               f"{opened.provenance.get('recipe')}")  # fmt: skip
    for v in opened.variants:
        p, size = v.parity, sum(f.bytes for f in v.files) / 1e6
        judged = (
            f"agreement {p['agreement']:.2%}, accuracy {p['accuracy']:.2%} "
            f"({100 * p['accuracy_change']:+.2f}) on {p['faces']['faces']} faces"
            if "agreement" in p else f"not proven: {p.get('unproven', 'no parity report')}"
        )  # fmt: skip
        if "judged_by" in p:
            judged += f"; by {p['judged_by']}"
        click.echo(f"  {v.name:18s} {size:5.1f} MB  {judged}")
    for line in _left_out(opened.provenance.get("refused")):
        click.echo(f"  {line}")
    click.echo("Here:")
    try:
        with fer_edge.Predictor(opened.path) as predictor:
            for choice in predictor.explain():
                click.echo(f"  {choice}")
    except TargetError as error:
        click.echo(f"  {error}")


def _left_out(refused: Any) -> list[str]:
    """Provenance is free text to a bundle's reader: what is not as we write it is passed over."""
    lines = []
    for name, why in refused.items() if isinstance(refused, dict) else ():
        if isinstance(why, dict):
            reason = why.get("failures") or [f"{why.get('beaten_by')} is faster here"]
            lines.append(f"{name} was tried and left out: {'; '.join(map(str, reason))}")
    return lines


@main.command()
@click.option("--json", "as_json", is_flag=True, help="JSON on standard output.")
def doctor(as_json: bool) -> None:
    """Say what can run here, what is missing, and the line that installs it.

    Example: fer-edge doctor
    """
    from fer_edge.doctor import diagnose

    report = diagnose()
    if as_json:
        print_json(report)
        return
    for part, finding in report["parts"].items():
        mark = "ok " if finding["ok"] else "-- "
        click.echo(f"{mark}{part:24s} {finding['says']}")
    click.echo("\nThe shipped model here:")
    for line in report["default_model"]:
        click.echo(f"  {line}")


@main.command()
@click.option("-o", "--out", default="demo-out", show_default=True, type=click.Path(path_type=Path))
def demo(out: Path) -> None:
    """Recognise the shipped faces, convert the shipped model for this CPU, and time it.

    Everything is real and stays on this machine; about two minutes.

    Example: fer-edge demo
    """
    from fer_edge.demo import run

    run(out)


main.add_command(bench)
main.add_command(data_group)
main.add_command(detector)
for command in (convert, matrix, build, evaluate, export, import_, embed):
    main.add_command(command)
main.add_command(video)
main.add_command(serve)


if __name__ == "__main__":
    main()
