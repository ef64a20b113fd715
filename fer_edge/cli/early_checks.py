"""Checks of paths and names before a command imports torch, which takes seconds."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from fer_edge.backends.base import TargetFacts
from fer_edge.bundle import open_bundle
from fer_edge.errors import CheckpointError, DataError, TargetError
from fer_edge.shipped import MODELS
from fer_edge.shown import shown


def check_data(sources: Sequence[Path | None]) -> None:
    """Raise DataError for a missing data set or an unknown option."""
    from fer_edge.training.data.dataset_spec import HUB, as_dataset_specs

    given = [source for source in sources if source is not None]
    for spec in as_dataset_specs(given) if given else ():
        if not spec.path.startswith(HUB) and not spec.file.exists():
            raise DataError(f"expected a data set at {spec.file}, found nothing there")


def check_model(path: Path) -> None:
    """Raise CheckpointError or BundleError for a model that does not exist."""
    with contextlib.suppress(OSError):  # the system refuses the path, as a name of 300 letters
        if path.exists():
            return
    if path.suffix == ".fer":
        open_bundle(path)
    raise CheckpointError(
        f"expected a checkpoint folder with model.safetensors and card.json at {path}: no such "
        f"folder. fer-edge train writes one, in RUN/best; {' and '.join(MODELS)} are shipped"
    )


def check_targets(
    targets: Sequence[str], precisions: Sequence[str], known: Mapping[str, TargetFacts]
) -> None:
    """Raise TargetError for a target or precision that does not exist."""
    names = list(known) if "all" in targets else list(targets)
    if unknown := [target for target in names if target not in known]:
        raise TargetError(
            f"unknown target {', '.join(map(shown, unknown))}. Known: {', '.join(known)}, all"
        )
    offered = {precision for name in names for precision in known[name].precisions}
    if missing := [name for name in precisions if name not in offered | {"all", "auto"}]:
        offers = "; ".join(f"{name}: {', '.join(known[name].precisions)}" for name in names)
        raise TargetError(
            f"none of the targets has the precision {', '.join(map(shown, missing))}. "
            f"Offered: {offers}"
        )


def check_run(folder: Path, resume: bool) -> None:
    """Raise TrainingError for a run folder that holds a run, unless it is resumed.

    Under torchrun the training decides: a restarted worker finds the state of its own run.
    """
    from fer_edge.errors import TrainingError

    if (folder / "state.pt").exists() and not resume and "TORCHELASTIC_RUN_ID" not in os.environ:
        raise TrainingError(
            f"{folder} holds a run already. Continue it with --resume, or choose another folder"
        )
