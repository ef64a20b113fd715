"""Time of a training step on a CPU, with and without kept memory.

    python -m fer_edge.benchmarks.studies.training_memory [RECIPE]

RECIPE is a shipped recipe's name or a file (default: edge-default). Two processes make its steps in
turns; one of them keeps its memory (fer_edge/kept_memory.py). The pictures are random.
"""

from __future__ import annotations

import multiprocessing
import signal
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from multiprocessing.connection import Connection

import click

from fer_edge.benchmarks.machine.environment import environment, machine, noise_note
from fer_edge.benchmarks.measure.timing import interleaved
from fer_edge.benchmarks.studies.training_step import report, training_step
from fer_edge.kept_memory import keep_memory
from fer_edge.module_command import ModuleCommand
from fer_edge.torch_threads import short_waits
from fer_edge.training.config.recipe import load_recipe
from fer_edge.training.config.schema import Recipe

_STEPS, _BUDGET_S = 24, 180.0


@click.command("training_memory", cls=ModuleCommand)
@click.argument("name", metavar="RECIPE", default="edge-default")
@click.option("--steps", type=click.IntRange(8), default=_STEPS, show_default=True)
def main(name: str, steps: int) -> None:
    """Print the times of a step of RECIPE with and without kept memory."""
    recipe = load_recipe(name)
    env = environment()
    print(machine(env), noise_note(env) or "", sep="\n")
    short_waits()
    with ExitStack() as stack:
        calls = {
            name: stack.enter_context(_in_child(recipe, keep))
            for name, keep in (("kept memory", True), ("given back", False))
        }
        latencies = interleaved(calls, steps, warm_up=2, block=4, budget_s=_BUDGET_S)
    report(latencies, recipe.fit.batch)


@contextmanager
def _in_child(recipe: Recipe, keep: bool) -> Iterator[Callable[[], object]]:
    """Yield a callable that makes one step in a process of its own."""
    spawn = multiprocessing.get_context("spawn")
    ours, theirs = spawn.Pipe()
    child = spawn.Process(target=_serve, args=(theirs, recipe, keep), daemon=True)
    child.start()
    theirs.close()

    def step() -> object:
        ours.send(True)
        return ours.recv()

    try:
        yield step
    finally:
        child.kill()
        child.join()


def _serve(requests: Connection, recipe: Recipe, keep: bool) -> None:
    """Make one step for each request."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the parent too, which kills
    if keep:
        keep_memory()
    step = training_step(recipe, quick=True)
    while requests.recv():
        step()
        requests.send(True)


if __name__ == "__main__":
    main()
