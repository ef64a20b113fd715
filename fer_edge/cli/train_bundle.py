"""Evaluation and conversion after a training run, for ``fer-edge train --bundle``."""

from __future__ import annotations

import importlib.util
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from fer_edge.errors import BundleError, MissingDependencyError
from fer_edge.progress import Say, Step, say_nothing

if TYPE_CHECKING:
    from fer_edge.training.data.dataset_spec import DatasetSpec

_SHARES = (0.8, 0.2)
"""Shares of calibrating and judging faces of data without a val part."""


def check_bundle(path: Path) -> None:
    """Raise BundleError for a path that cannot become a new bundle."""
    if path.suffix != ".fer":
        raise BundleError(f"expected a bundle name that ends in .fer, got {path}")
    if path.exists():
        raise BundleError(f"{path} exists already. Choose another name, or remove it first")
    if importlib.util.find_spec("onnx") is None:
        raise MissingDependencyError("onnx", "train,convert")


def evaluate_and_convert(
    best: Path, data: Sequence[DatasetSpec], out: Path, say: Say, step: Step
) -> None:
    """Evaluate a checkpoint on its val part, if any, and convert it here."""
    from fer_edge.converters.pipeline.convert import convert
    from fer_edge.training.checkpoint import load_checkpoint
    from fer_edge.training.data.parts import load_parts
    from fer_edge.training.data.split import split_datasets
    from fer_edge.training.evaluation.evaluate import evaluate

    labels = load_checkpoint(best).spec.labels
    with tempfile.TemporaryDirectory() as temporary:
        parts, _ = load_parts(data, labels, say_nothing, step)
        divided = len(data) == 1 and {"train", "val"} <= set(parts)
        if divided:
            judging: Path = Path(data[0].text)
            figures = evaluate(best, judging, "val", step=step)["all"]
            low, high = figures["intervals"]["accuracy"]
            say(
                f"accuracy {figures['accuracy']:.4f} [{low:.4f}, {high:.4f}] on the "
                f"{figures['faces']:,} faces of val"
            )
        else:
            judging = Path(temporary) / "faces"
            split_datasets(
                data, judging, _SHARES, part="all", labels=labels, broken="skip", step=step
            )
        bundle = convert(best, _targets(), out, ["fp32"], data=judging, name=out.stem, say=say)
    click.echo(f"{bundle.path}: {', '.join(variant.name for variant in bundle.variants)}")


def _targets() -> list[str]:
    """Return the targets that have a converter and run on this machine."""
    from fer_edge.doctor import engines

    return [
        engine.target
        for engine in engines()
        if engine.why_not is None
        and importlib.util.find_spec(f"fer_edge.converters.{engine.target}")
    ]
