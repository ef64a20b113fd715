"""Average of a checkpoint and one that was trained from it.

    python -m fer_edge.training.average default runs/edge-camera/best --data DATA -o averaged

Fine-tuning for new kinds of pictures costs accuracy on the old ones. The average of the weights
before and after keeps most of both (Wortsman et al., 2022, https://arxiv.org/abs/2109.01903).
"""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path

import click
import torch
from torch import Tensor

from fer_edge.errors import CheckpointError
from fer_edge.module_command import ModuleCommand
from fer_edge.option_types import FiniteRange
from fer_edge.out_folder import check_out_folder
from fer_edge.progress import Say, Step, silent
from fer_edge.progress_bar import progress
from fer_edge.training.checkpoint import CARD, Checkpoint, load_checkpoint, save_checkpoint
from fer_edge.training.config.schema import InCar
from fer_edge.training.data.holdout import Holdout, split_data
from fer_edge.training.loop.dataset import fastest_device
from fer_edge.training.loop.held_out import HeldOut, effects_of
from fer_edge.training.loop.selection import calibrated

_HOLD_OUT = Holdout(0.1, 0)
"""Share (0..1) and seed of the held-out faces if the card states none."""


def average(
    start: str | Path,
    tuned: str | Path,
    share: float,
    data: str | Path,
    out: Path,
    say: Say = print,
    step: Step = silent,
) -> Checkpoint:
    """Write the average of two checkpoints, calibrated on held-out faces.

    Half of these faces are under the in-car effects of ``tuned``, or of ``start`` if ``tuned`` was
    trained without effects.

    Args:
        start: Checkpoint that the training started from.
        tuned: Checkpoint that it ended with. The average has its card.
        share: Share (0..1) of ``tuned``.
        data: Faces that ``tuned`` was trained on; its held-out ones calibrate the average.
        out: Folder to write.
        say: Receives messages.
        step: Receives progress.

    Returns:
        The checkpoint.

    Raises:
        CheckpointError: A checkpoint cannot be read, or the two are different networks.
        DataError: The faces cannot be read, or are too few.
        InputError: ``out`` is a file or another folder.
    """
    check_out_folder(out, CARD, "checkpoint")
    first, last = load_checkpoint(start), load_checkpoint(tuned)
    if first.spec != last.spec:
        raise CheckpointError(
            f"expected two checkpoints of one network, but {start} and {tuned} differ in backbone, "
            "input or labels. Average a checkpoint with the one that its training started from"
        )
    last.model.load_state_dict(_weighted(first, last, share))
    split = split_data(data, last.spec.labels, Holdout.stated(last.facts) or _HOLD_OUT, step, say)
    facts = {key: value for key, value in last.facts.items() if key != "int8"} | {
        "averaged": {"start": first.sha256, "trained": last.sha256, "share": share}
    }
    made = replace(last, facts=facts, int8=None, familiarity=None)
    effects = effects_of(last.facts)
    if effects == InCar():
        effects = effects_of(first.facts)
    held_out = HeldOut(split.held_out, last.spec.input, effects)
    with tempfile.TemporaryDirectory() as folder:  # saving rounds the weights to calibrate
        save_checkpoint(made, Path(folder) / out.name)
        made = load_checkpoint(Path(folder) / out.name)
    made, _ = calibrated(made, held_out, fastest_device())
    save_checkpoint(made, out)
    return made


def _weighted(first: Checkpoint, last: Checkpoint, share: float) -> dict[str, Tensor]:
    start, end = first.model.state_dict(), last.model.state_dict()
    return {
        name: torch.lerp(start[name], value, share) if value.is_floating_point() else value
        for name, value in end.items()
    }


@click.command("average", cls=ModuleCommand)
@click.argument("start")
@click.argument("trained")
@click.option(
    "--share",
    default=0.5,
    show_default=True,
    type=FiniteRange(0, 1),
    help="Share of TRAINED in the average.",
)
@click.option("--data", required=True, help="Faces that TRAINED was trained on.")
@click.option(
    "-o", "--out", required=True, type=click.Path(path_type=Path), help="Folder to write."
)
def main(start: str, trained: str, share: float, data: str, out: Path) -> None:
    """Average the weights of START and TRAINED, and calibrate the result."""
    with progress() as (say, step):
        made = average(start, trained, share, data, out, say, step)
    held = made.facts["held_out"]
    click.echo(f"{out}: accuracy {held['accuracy']:.4f}, ECE {held['ece']:.3f} on held-out faces")


if __name__ == "__main__":
    main()
