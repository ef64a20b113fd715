"""Time of a torch network beside a busy program, with long and short waits.

    python -m fer_edge.benchmarks.studies.busy_machine [--checkpoint FOLDER] [--batch N]

Two processes run the network in turns: one with the waits that torch has by itself, one with those
of the ``fer-edge`` commands (fer_edge/torch_threads.py). First nothing else runs, then a program of
another session that takes one core.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import click
import numpy as np

from fer_edge.benchmarks.machine.environment import environment, machine, noise_note
from fer_edge.benchmarks.measure.percentile_ratio import percentile_ratio
from fer_edge.benchmarks.measure.timing import Call, interleaved
from fer_edge.benchmarks.references.in_child import ChildReference
from fer_edge.benchmarks.studies.options import PATH, json_option, print_report
from fer_edge.child import python_command
from fer_edge.module_command import ModuleCommand
from fer_edge.shipped import DEFAULT_CHECKPOINT
from fer_edge.torch_threads import ROUNDS, SPIN_COUNT
from fer_edge.training.checkpoint import load_checkpoint

_SAMPLES, _BLOCK, _BUDGET_S = 48, 4, 120.0
_BUSY = """
from fer_edge.child import end_with_parent
end_with_parent()
while True:
    pass
"""


@click.command("busy_machine", cls=ModuleCommand)
@click.option("--checkpoint", type=PATH, help="Run this network (default: the shipped one).")
@click.option("--batch", type=click.IntRange(1), default=8, show_default=True)
@click.option("--samples", type=click.IntRange(8), default=_SAMPLES, show_default=True)
@json_option
def main(checkpoint: Path | None, batch: int, samples: int, as_json: bool) -> None:
    """Measure what a busy core does to a network in torch."""
    env = environment()
    report: dict[str, Any] = {
        "machine": machine(env),
        "time": env["time"],
        "noise": noise_note(env),
        "rows": list(rows(checkpoint or DEFAULT_CHECKPOINT, batch, samples)),
    }
    lines = [f"{report['machine']}, {report['time']}\n{report['noise'] or ''}"]
    lines += [
        f"  {row['beside']:24s} long waits {row['long_ms']:.2f} ms a face, short "
        f"{row['short_ms']:.2f}: {row['ratio']:.2f}x ({row['low']:.2f} to {row['high']:.2f})"
        for row in report["rows"]
    ]
    print_report(report, as_json, "\n".join(lines))


def rows(checkpoint: Path, batch: int, samples: int) -> Iterator[dict[str, Any]]:
    """Yield the figures without another program, and with one.

    Args:
        checkpoint: Folder of the network.
        batch: Faces in a call.
        samples: Calls with each setting; fewer if they take long.
    """
    side = load_checkpoint(checkpoint).spec.input.size_px
    torchs_own = {k: v for k, v in os.environ.items() if k not in (SPIN_COUNT, "OMP_WAIT_POLICY")}
    for beside, load in (("nothing else", contextlib.nullcontext), ("one busy core", _busy_core)):
        with ExitStack() as stack:
            calls: dict[str, Call] = {}
            for name, env in (("long", torchs_own), ("short", torchs_own | {SPIN_COUNT: ROUNDS})):
                child = ChildReference(checkpoint, env=env)
                stack.callback(child.close)
                calls[name] = child.at((batch, side, side, 3))
            stack.enter_context(load())
            latencies = interleaved(calls, samples, warm_up=2, block=_BLOCK, budget_s=_BUDGET_S)
        ratio, low, high = percentile_ratio(latencies["long"].ns, latencies["short"].ns, 50)
        medians = {f"{k}_ms": np.median(v.ns) / 1e6 / batch for k, v in latencies.items()}
        yield {"beside": beside, "ratio": ratio, "low": low, "high": high, **medians}


@contextmanager
def _busy_core() -> Iterator[None]:
    """Run a program that computes all the time, in a session of its own.

    Linux shares the cores between sessions, as between containers: both threads of torch then get
    what the other session leaves.
    """
    command = python_command("-c", _BUSY)
    process = subprocess.Popen(command, start_new_session=True)
    try:
        yield
    finally:
        process.kill()
        process.wait()


if __name__ == "__main__":
    main()
