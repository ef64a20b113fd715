"""What becomes of a trained model: ``fer-edge evaluate``, ``export``, ``import`` and ``embed``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from fer_edge.cli_common import print_json, write_out
from fer_edge.errors import InputError, LimitError
from fer_edge.shipped import DEFAULT_BUNDLE

_PATH = click.Path(path_type=Path)


@click.command()
@click.argument("sources", nargs=-1, required=True, type=_PATH, metavar="CHECKPOINT|BUNDLE...")
@click.option("--data", required=True, type=_PATH, help="Labelled faces.")
@click.option("--split", default="val", show_default=True, help="train, val, test, or none.")
@click.option("--target", help="Which target of a bundle; all: each variant that runs here.")
@click.option("--precision", help="Which precision of a bundle.")
@click.option("-o", "--out", "outs", multiple=True, type=_PATH,
              help="Write the report here: .json, .html or .png; may be repeated.")  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="JSON on standard output.")
def evaluate(
    sources: tuple[Path, ...],
    data: Path,
    split: str,
    target: str | None,
    precision: str | None,
    outs: tuple[Path, ...],
    as_json: bool,
) -> None:
    """Accuracy, per-class figures, ROC and calibration of checkpoints and bundles.

    \b
    Example: fer-edge evaluate runs/edge-default/best --data fer2013/ -o report.html
             fer-edge evaluate runs/a/best runs/b/best --data fer2013/
             fer-edge evaluate driver.fer --target all --data fer2013/
    Several are compared with the first, face by face. docs/evaluation.md defines each figure.
    """
    from fer_edge.progress import progress
    from fer_edge.training.evaluate import evaluate_all as work

    _check_forms(outs, (".json", ".html", ".png"))
    with progress() as (_, step):
        found = work(sources, data, _part(split), target=target, precision=precision, step=step)
    for out in outs:
        write_out(out, _rendered(found, out.suffix))
    if as_json:
        print_json(found)
        return
    for report in found["inputs"]:
        _print_input(report)
    for row in found["comparisons"]:
        change, (low, high) = row["accuracy"]["change"], row["accuracy"]["interval"]
        click.echo(
            f"{row['of']} against {row['with']}: accuracy {100 * change:+.2f} points "
            f"[{100 * low:+.2f}, {100 * high:+.2f}], the same answer for {row['agreement']:.2%}"
        )
    for row in found["refused"]:
        click.echo(f"not here: {row['input']}: {row['why']}")
    click.echo(f"[low, high]: {found['method']}.")


def _rendered(found: dict[str, Any], suffix: str) -> str | bytes:
    if suffix == ".json":
        return json.dumps(found, indent=1, allow_nan=False) + "\n"
    if suffix == ".html":
        from fer_edge.training.pages import evaluation_page

        return evaluation_page(found)
    from fer_edge.training.plots import sheet

    return sheet(found["inputs"])


def _print_input(report: dict[str, Any]) -> None:
    click.echo(report["name"])
    for key in ("all", "deduplicated"):
        m = report[key]
        low, high = m["intervals"]["accuracy"]
        click.echo(
            f"{key:13s} {m['faces']:6,} faces  accuracy {m['accuracy']:.4f} "
            f"[{low:.4f}, {high:.4f}]  balanced {m['balanced_accuracy']:.4f}  "
            f"macro F1 {m['macro_f1']:.4f}  weighted F1 {m['weighted_f1']:.4f}  "
            f"ECE {m['ece']:.4f}"
        )
    for name, row in report["all"]["per_class"].items():
        auc = report["all"]["roc"]["per_class"][name]["auc"]
        click.echo(
            f"    {name:10s} recall {row['recall']:.3f}  precision {row['precision']:.3f}  "
            f"F1 {row['f1']:.3f}  AUC {'    –' if auc is None else f'{auc:.3f}'}  "
            f"n {row['support']}"
        )
    a = report["abstention"]
    click.echo(
        f"Answers with confidence of at least {a['threshold']:.2f}: {a['coverage']:.1%} of the "
        f"faces, {a['accuracy'] or 0:.1%} of them right"
    )


@click.command()
@click.argument("checkpoint", type=_PATH)
@click.option("--format", "form", required=True,
              type=click.Choice(["torchscript", "torch-export", "onnx"]))  # fmt: skip
@click.option("-o", "--out", required=True, type=_PATH, help="The file to write.")
@click.option("--data", type=_PATH, help="Labelled faces: val judges [composites].")
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
    from fer_edge.converters.files import export_file
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


@click.command("import")
@click.argument("file", type=_PATH)
@click.option("--backbone", required=True, help="timm's name, e.g. mobilenetv3_small_100.")
@click.option("--labels", required=True, metavar="A,B,…", help="In the order of the outputs.")
@click.option("--size", required=True, type=click.IntRange(16, 1024), metavar="PX",
              help="Side of the pictures it was trained on.")  # fmt: skip
@click.option("--colour", required=True, type=click.Choice(["rgb", "grey"]))
@click.option("--mean", required=True, metavar="N,…", help="One per colour, in units of 0..1.")
@click.option("--std", required=True, metavar="N,…", help="One per colour, in units of 0..1.")
@click.option("--set", "arguments", multiple=True, metavar="KEY=JSON",
              help="More for timm.create_model, e.g. img_size=96.")  # fmt: skip
@click.option("--licence", help="What the weights may be used for; goes into the card.")
@click.option("-o", "--out", required=True, type=_PATH, help="The checkpoint folder to write.")
@click.option("--json", "as_json", is_flag=True, help="JSON on standard output.")
def import_(
    file: Path,
    backbone: str,
    labels: str,
    size: int,
    colour: Any,
    mean: str,
    std: str,
    arguments: tuple[str, ...],
    licence: str | None,
    out: Path,
    as_json: bool,
) -> None:
    """Take over a classifier that was trained with timm, as a checkpoint.

    \b
    Example: fer-edge import theirs.pth --backbone resnet18 --size 224 --colour rgb \\
                 --labels angry,disgust,fear,happy,neutral,sad,surprise \\
                 --mean 0.485,0.456,0.406 --std 0.229,0.224,0.225 -o checkpoint
    FILE is a state dict: safetensors, or a torch file of tensors, also inside a training state.
    A pickled module is refused: it can run any code. The logits are compared with timm's own.
    """
    from fer_edge.labels import canonical_all
    from fer_edge.progress import progress
    from fer_edge.training.foreign import import_checkpoint
    from fer_edge.training.model import InputSpec, ModelSpec

    spec = ModelSpec(
        backbone=backbone,
        labels=canonical_all(labels.split(",")),
        input=InputSpec(size, colour, _shares(mean, "--mean"), _shares(std, "--std")),
        backbone_args=dict(_argument(text) for text in arguments),
    )
    with progress() as (say, _):
        account, rounding = import_checkpoint(file, spec, out, licence)
        say(str(account))
    if as_json:
        print_json({"checkpoint": str(out), **account.facts(), "rounding": rounding})
        return
    click.echo(
        f"{out}: timm's own logits. Stored in half precision, which changes "
        f"{rounding['answers_changed']} of {rounding['faces']} answers to the shipped faces and "
        f"no probability by more than {rounding['max_abs_dp']:.1e}"
    )
    click.echo("Not calibrated: its temperature is 1, and it never abstains")


@click.command()
@click.argument("pictures", nargs=-1, type=_PATH)
@click.option("--model", default=DEFAULT_BUNDLE, type=_PATH,
              help="A checkpoint folder or a bundle [shipped model].")  # fmt: skip
@click.option("--data", type=_PATH, help="Labelled faces, in the place of pictures.")
@click.option("--split", default="val", show_default=True, help="train, val, test, or none.")
@click.option("--target", help="Which target of a bundle.")
@click.option("--precision", help="Which precision of a bundle.")
@click.option("-o", "--out", type=_PATH, help="Write the embeddings here: .npz or .parquet.")
@click.option("--check", is_flag=True,
              help="Do faces of one expression lie near each other?")  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="JSON on standard output.")
def embed(
    pictures: tuple[Path, ...],
    model: Path,
    data: Path | None,
    split: str,
    target: str | None,
    precision: str | None,
    out: Path | None,
    check: bool,
    as_json: bool,
) -> None:
    """Write the embedding of each face: pictures, folders of them, or a data set.

    \b
    Example: fer-edge embed crops/ driver.png -o faces.npz
             fer-edge embed --data fer2013/ --split val -o val.parquet
             fer-edge embed --check --data fer2013/
    --check searches the faces of val among those of train (DATA needs both); exit code 8 where
    that is no better than chance.
    """
    from fer_edge.progress import progress
    from fer_edge.training import embed as module

    if check:
        if data is None or out is not None or pictures:
            raise click.UsageError("--check takes --data, and neither pictures nor -o")
        with progress() as (_, step):
            found = module.check(model, data, split, target=target, precision=precision, step=step)
        _print_check(found, as_json)
        return
    if out is None:
        raise click.UsageError("say with -o where the embeddings shall go")
    _check_forms((out,), (".npz", ".parquet"))
    with progress() as (_, step):
        faces = module.embed(
            model, pictures, data, _part(split), target=target, precision=precision, step=step
        )
    write_out(out, faces.npz() if out.suffix == ".npz" else faces.parquet())
    count, width = faces.embeddings.shape
    if as_json:
        print_json({"file": str(out), "faces": count, "width": width, "model": faces.model})
    else:
        click.echo(f"{out}: {count:,} faces, {width} numbers each")


def _print_check(found: dict[str, Any], as_json: bool) -> None:
    if as_json:
        print_json(found)
    else:
        click.echo(
            f"{found['queries']:,} faces of {found['split']} among {found['gallery']:,} of train, "
            f"by cosine; {found['neighbours']} neighbours"
        )
        for name, row in found["figures"].items():
            low, high = row["interval"]
            click.echo(
                f"    {name:16s} {row['value']:.4f} [{low:.4f}, {high:.4f}]  "
                f"chance {row['chance']:.4f}"
            )
        click.echo(f"    the classifier itself is right for {found['classifier_accuracy']:.4f}")
        click.echo(f"[low, high]: {found['method']}.")
    if not found["holds"]:
        raise LimitError("faces of one expression are not nearer to each other than by chance")


def _part(split: str) -> str | None:
    return None if split == "none" else split


def _check_forms(outs: tuple[Path, ...], known: tuple[str, ...]) -> None:
    for out in outs:
        if out.suffix not in known:
            raise InputError(f"expected a name that ends in {', '.join(known)}, got {out}")
        if not out.parent.is_dir():  # said now, and not after minutes of work
            raise InputError(f"cannot write {out}: there is no folder {out.parent}")


def _shares(text: str, option: str) -> tuple[float, ...]:
    try:
        return tuple(float(part) for part in text.split(","))
    except ValueError:
        raise click.BadParameter(f"expected numbers like 0.5,0.5,0.5, got {text!r}",
                                 param_hint=option) from None  # fmt: skip


def _argument(text: str) -> tuple[str, Any]:
    key, equals, value = text.partition("=")
    try:
        if not equals:
            raise ValueError
        return key, json.loads(value)
    except ValueError:
        raise click.BadParameter(f"expected KEY=JSON, e.g. img_size=96, got {text!r}",
                                 param_hint="--set") from None  # fmt: skip
