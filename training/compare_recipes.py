"""Comparison of recipes on the same faces: one table, one chart.

    python -m fer_edge.training.compare_recipes gcvit-full gcvit-last2 --data fer2013/ \\
        -o results.md

A killed comparison continues when it is started again.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median
from typing import Any

import click
import matplotlib

matplotlib.use("Agg")
from matplotlib import pyplot as plt
from matplotlib.ticker import MaxNLocator

from fer_edge.atomic import make_place, write_files
from fer_edge.errors import InputError, RecipeError
from fer_edge.module_command import ModuleCommand
from fer_edge.page import markdown_table
from fer_edge.progress import Say, Step, silent
from fer_edge.progress_bar import progress
from fer_edge.training.config.recipe import load_recipe
from fer_edge.training.config.schema import Recipe
from fer_edge.training.data.dataset_spec import DatasetSpec
from fer_edge.training.data.faces import load_faces
from fer_edge.training.evaluation.evaluate import evaluate
from fer_edge.training.loop.run_folder import METRICS
from fer_edge.training.loop.train import train
from fer_edge.training.reports import plots


@dataclass(frozen=True)
class Result:
    """Result of one recipe's run.

    Phases that were not reached have no value.

    Attributes:
        recipe: Name of the recipe.
        device: Device and precision of the training.
        parameters: Parameters of the network.
        trainable: Trained parameters of each phase.
        epochs: Epochs of each phase.
        epoch_s: Median seconds of an epoch, for each phase.
        held_accuracy: Accuracy (0..1) on the held-out faces after each epoch.
        accuracy: Accuracy (0..1) on the ``val`` part.
        balanced_accuracy: Balanced accuracy (0..1) on the ``val`` part.
        macro_f1: Macro F1 (0..1) on the ``val`` part.
    """

    recipe: str
    device: str
    parameters: int
    trainable: tuple[int, ...]
    epochs: tuple[int, ...]
    epoch_s: tuple[float, ...]
    held_accuracy: tuple[float, ...]
    accuracy: float
    balanced_accuracy: float
    macro_f1: float


def compare_recipes(
    recipes: Sequence[Recipe],
    data: Path,
    runs: Path,
    say: Say = print,
    step: Step = silent,
) -> list[Result]:
    """Train or resume each recipe, and evaluate it on ``val``.

    Args:
        recipes: Recipes with different names.
        data: Data set with ``train`` and ``val`` parts.
        runs: Folder of the run folders, which have the recipes' names.
        say: Receives messages.
        step: Receives progress.

    Returns:
        One result for each recipe.

    Raises:
        RecipeError: Two recipes have the same name, or one cannot be trained.
        DataError: The data cannot be read, or has no ``val`` part. Nothing is trained then.
        TrainingError: A training cannot start or continue.
    """
    names = [recipe.name for recipe in recipes]
    if len(set(names)) < len(names):
        raise RecipeError(
            f"expected recipes with different names, got {', '.join(names)}. Rename one"
        )
    load_faces(replace(DatasetSpec.parse(data), labels="none"), "val", say=say)
    results = []
    for recipe in recipes:
        say(f"{recipe.name}:")
        run = runs / recipe.name
        best = train(recipe, data, run, resume=True, say=say, step=step)
        results.append(_result(run, evaluate(best, data, step=step)["all"]))
    return results


def _result(run: Path, scores: dict[str, Any]) -> Result:
    facts = json.loads((run / "run.json").read_text("utf-8"))
    rows = [json.loads(line) for line in (run / METRICS).read_text("utf-8").splitlines()]
    phases = sorted({row["phase"] for row in rows})
    seconds = [[row["seconds"] for row in rows if row["phase"] == phase] for phase in phases]
    return Result(
        recipe=facts["recipe"]["name"],
        device=f"{facts['environment']['device']}, {facts['recipe']['fit']['precision']}",
        parameters=facts["parameters"]["total"],
        trainable=tuple(facts["parameters"]["trainable"][phase - 1] for phase in phases),
        epochs=tuple(map(len, seconds)),
        epoch_s=tuple(map(median, seconds)),
        held_accuracy=tuple(row["held_accuracy"] for row in rows),
        accuracy=scores["accuracy"],
        balanced_accuracy=scores["balanced_accuracy"],
        macro_f1=scores["macro_f1"],
    )


def with_epochs(recipe: Recipe, epochs: int) -> Recipe:
    """Return the recipe with this many epochs, divided among its phases.

    Each phase has at least one epoch. Raises RecipeError for fewer epochs than phases.
    """
    fit = recipe.fit
    if epochs < len(fit.phases):
        raise RecipeError(
            f"expected at least {len(fit.phases)} epochs for the phases of {recipe.name}, "
            f"got {epochs}"
        )
    first, *rest = _divided(epochs, [phase.epochs for phase in fit.phases])
    then = tuple(replace(phase, epochs=n) for phase, n in zip(fit.then, rest, strict=True))
    return replace(recipe, fit=replace(fit, epochs=first, then=then))


def _divided(epochs: int, shares: Sequence[int]) -> list[int]:
    """Divide epochs by shares, at least one each; the rest goes to those that lack most."""
    counts = [1] * len(shares)
    for _ in range(epochs - len(shares)):
        lacks = [epochs * s / sum(shares) - n for s, n in zip(shares, counts, strict=True)]
        counts[lacks.index(max(lacks))] += 1
    return counts


_HEAD = (
    "recipe",
    "parameters",
    "trainable",
    "epochs",
    "s/epoch",
    "accuracy",
    "balanced",
    "macro F1",
    "device",
)
"""Columns of the table."""


def markdown(results: Sequence[Result], picture: str) -> str:
    """Return table and chart as Markdown; arrows join the phases."""
    rows = []
    for r in results:
        shares = (f"{n:,} ({n / r.parameters:.1%})" for n in r.trainable)
        rows.append(
            [
                r.recipe,
                f"{r.parameters:,}",
                " → ".join(shares),
                " → ".join(map(str, r.epochs)),
                " → ".join(f"{s:.1f}" for s in r.epoch_s),
                f"{r.accuracy:.2%}",
                f"{r.balanced_accuracy:.2%}",
                f"{r.macro_f1:.4f}",
                r.device,
            ]
        )
    return f"{markdown_table(_HEAD, rows)}\n![Accuracy, time and parameters]({picture})\n"


def drawing(results: Sequence[Result]) -> bytes:
    """Return a PNG file of accuracy, scores, time and trainable parameters."""
    figure, (curves, scores, time_s, size) = plt.subplots(
        1, 4, figsize=(16, 4), layout="constrained"
    )
    names = [r.recipe for r in results]
    colours = [f"C{i}" for i in range(len(results))]
    for r in results:
        epochs = range(1, len(r.held_accuracy) + 1)
        curves.plot(epochs, r.held_accuracy, "o-", ms=3, label=r.recipe)
    curves.xaxis.set_major_locator(MaxNLocator(integer=True))
    curves.set_xlabel("epoch")
    curves.set_ylabel("held-out accuracy")
    curves.legend()
    width = 0.8 / len(results)
    for i, r in enumerate(results):
        values = [r.accuracy, r.balanced_accuracy, r.macro_f1]
        places = [place + i * width for place in range(3)]
        bars = scores.bar(places, values, width, color=colours[i])
        scores.bar_label(bars, [f"{v:.3f}" for v in values], fontsize=8)
    middles = [place + 0.4 - width / 2 for place in range(3)]
    scores.set_xticks(middles, ["accuracy", "balanced", "macro F1"])
    scores.set_title("validation part", fontsize=10)
    _bars(time_s, names, [r.epoch_s for r in results], colours, "seconds per epoch", "{:.1f}")
    millions = [[n / 1e6 for n in r.trainable] for r in results]
    _bars(size, names, millions, colours, "trainable parameters, millions", "{:.2f}")
    for axes in (curves, scores, time_s, size):
        axes.grid(alpha=0.3)
        axes.set_axisbelow(True)
    plt.close(figure)
    return plots.data(figure, "png")


def _bars(
    axes: Any,
    names: Sequence[str],
    values: Sequence[Sequence[float]],
    colours: Sequence[str],
    title: str,
    form: str,
) -> None:
    """Draw a bar for each phase of each recipe."""
    labels, heights, colour_of = [], [], []
    for name, phases, colour in zip(names, values, colours, strict=True):
        for i, value in enumerate(phases):
            labels.append(f"{name}\nphase {i + 1}" if len(phases) > 1 else name)
            heights.append(value)
            colour_of.append(colour)
    bars = axes.bar(range(len(labels)), heights, color=colour_of)
    axes.bar_label(bars, [form.format(height) for height in heights], fontsize=8)
    axes.set_xticks(range(len(labels)), labels, fontsize=7, rotation=20, ha="right")
    axes.set_title(title, fontsize=10)


def _check_out(out: Path) -> None:
    """Check the path of the table before hours of training, and make its folder.

    Raises InputError.
    """
    if out.suffix != ".md":
        raise InputError(
            f"expected a name that ends in .md for the table, got {out}. Choose one with -o; the "
            "chart goes beside it, as .png"
        )
    try:
        for path in (out, out.with_suffix(".png")):
            make_place(path)
    except OSError as error:
        raise InputError(
            f"cannot write {out}: {error.strerror}. Choose another file with -o"
        ) from error


_PATH = click.Path(path_type=Path)


@click.command("compare_recipes", cls=ModuleCommand)
@click.argument("recipes", nargs=-1, required=True)
@click.option("--data", required=True, type=_PATH, help="Train and evaluate on these faces.")
@click.option(
    "-o",
    "--out",
    required=True,
    type=_PATH,
    help="Write the table to NAME.md, the chart to NAME.png.",
)
@click.option(
    "--epochs",
    type=click.IntRange(1),
    help="Train each recipe for this many epochs (default: as in the recipes).",
)
@click.option(
    "--set",
    "overrides",
    multiple=True,
    metavar="KEY=VALUE",
    help="Set this value in every recipe. Repeatable.",
)
@click.option(
    "--runs",
    default="runs",
    show_default=True,
    type=_PATH,
    help="Keep the run folders in this folder.",
)
def main(
    recipes: tuple[str, ...],
    data: Path,
    out: Path,
    epochs: int | None,
    overrides: tuple[str, ...],
    runs: Path,
) -> None:
    """Train recipes on the same faces, and compare accuracy, time and parameters."""
    _check_out(out)
    with progress() as (say, step):
        loaded = [load_recipe(name, overrides, say) for name in recipes]
        if epochs:
            loaded = [with_epochs(recipe, epochs) for recipe in loaded]
        results = compare_recipes(loaded, data, runs, say, step)
    picture = out.with_suffix(".png")
    table = markdown(results, picture.name)
    write_files({picture: drawing(results), out: table.encode()})
    click.echo(out)


if __name__ == "__main__":
    main()
