"""Time of a training step on a CPU, with and without training/models/depthwise.py.

    python -m fer_edge.benchmarks.studies.training_step [RECIPE]

RECIPE is a shipped recipe's name or a file (default: edge-default). It sets batch, picture size and
precision; the pictures are random.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import click
import numpy as np
import torch

from fer_edge.benchmarks.machine.environment import environment, machine, noise_note
from fer_edge.benchmarks.measure.percentile_ratio import percentile_ratio
from fer_edge.benchmarks.measure.timing import Samples, interleaved
from fer_edge.module_command import ModuleCommand
from fer_edge.training.config.recipe import load_recipe
from fer_edge.training.config.schema import Recipe
from fer_edge.training.models.depthwise import quicken
from fer_edge.training.models.from_recipe import model_spec
from fer_edge.training.models.network import ExpressionNet

_STEPS, _BUDGET_S = 24, 180.0


def training_step(recipe: Recipe, quick: bool) -> Callable[[], object]:
    """Return a callable that makes one training step.

    Args:
        recipe: Recipe that sets network, batch, size and precision.
        quick: Replace strided depthwise layers by quick ones.
    """
    torch.manual_seed(0)
    spec = model_spec(recipe)
    net = ExpressionNet(spec).train()
    net.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    if quick:
        print(f"{spec.backbone}: {quicken(net)} strided depthwise layers made quick")
    optimiser = torch.optim.AdamW(net.parameters(), lr=1e-4)
    px = recipe.augment.crop_px or recipe.input.size_px
    pictures = torch.randn(recipe.fit.batch, spec.input.channels, px, px)
    targets = torch.randint(0, len(recipe.labels), (recipe.fit.batch,))

    def step() -> None:
        with torch.autocast("cpu", torch.bfloat16, enabled=recipe.fit.precision == "bf16"):
            logits, _ = net(pictures)
            loss = torch.nn.functional.cross_entropy(logits.float(), targets)
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        optimiser.zero_grad()

    return step


def report(latencies: Mapping[str, Samples], pictures: int) -> None:
    """Print the times of two kinds of steps and their ratio.

    Args:
        latencies: Times of the new and of the old kind of step, by name, taken in turns.
        pictures: Pictures in a step.
    """
    for name, samples in latencies.items():
        print(
            f"  {name:12s} {np.median(samples.ns) / 1e6:.0f} ms a step, "
            f"{samples.throughput_hz(pictures):.0f} pictures/s"
        )
    (name, new), (_, old) = latencies.items()
    ratio, low, high = percentile_ratio(old.ns, new.ns, 50, paired=True)
    print(f"  {name} is {ratio:.2f}x as fast ({low:.2f} to {high:.2f})")


@click.command("training_step", cls=ModuleCommand)
@click.argument("name", metavar="RECIPE", default="edge-default")
def main(name: str) -> None:
    """Print the times of a step of RECIPE (default: edge-default) and their ratio."""
    recipe = load_recipe(name)
    env = environment()
    print(machine(env), noise_note(env) or "", sep="\n")
    steps = {"quick": training_step(recipe, True), "torch's own": training_step(recipe, False)}
    latencies = interleaved(steps, _STEPS, warm_up=2, block=4, budget_s=_BUDGET_S)
    report(latencies, recipe.fit.batch)


if __name__ == "__main__":
    main()
