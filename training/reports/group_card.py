"""Figures by groups for the model card.

    python -m fer_edge.training.reports.group_card CHECKPOINT BUNDLE LONDON FAIRFACE OUT_FOLDER

Writes groups.json, and MODEL_CARD.md with its section. ``model_card`` ran before: evaluation.json
of the folder has the other figures.
"""

from __future__ import annotations

import json
from pathlib import Path

import click

from fer_edge.atomic import write_files
from fer_edge.bundle import Bundle, open_bundle
from fer_edge.errors import DataError
from fer_edge.module_command import ModuleCommand
from fer_edge.shipped import bundle_path, checkpoint_path
from fer_edge.training.checkpoint import Checkpoint, load_checkpoint
from fer_edge.training.data.folds import Fold
from fer_edge.training.evaluation.groups import evaluate_groups
from fer_edge.training.evaluation.locate import require_detector
from fer_edge.training.reports.group_section import GROUPS_FILE, compact
from fer_edge.training.reports.group_tables import Report
from fer_edge.training.reports.model_card import card_text, check_trained

HELD_OUT = Fold(0, 3)
"""Fold of FairFace that no training uses."""


def write_groups(checkpoint: Path, bundle: Path, london: Path, fairface: Path, out: Path) -> None:
    """Evaluate a bundle by groups and rewrite the model card.

    Args:
        checkpoint: Checkpoint folder.
        bundle: ``.fer`` bundle of the checkpoint. Its OpenVINO variant runs, in fp32 if it has it.
            Of a bundle without OpenVINO, the variant that Predictor chooses runs.
        london: Face Research Lab London Set.
        fairface: FairFace.
        out: Folder with evaluation.json; receives groups.json and MODEL_CARD.md.

    Raises:
        CheckpointError: The checkpoint has no facts of a training.
        BundleError: The bundle is damaged.
        DataError: The data cannot be read, or no card can be written from evaluation.json.
        TargetError: The variant does not run on this machine, or there is no detector.
    """
    loaded = load_checkpoint(checkpoint)
    check_trained(loaded, checkpoint)
    opened = open_bundle(bundle)
    evaluation = _evaluation(out / "evaluation.json", loaded, opened)  # before hours of work
    detector = require_detector(None)
    target, precision = _variant(opened)
    reports = []
    for data, columns, fold in (
        (london, ("gender", "ethnicity", "age"), None),
        (fairface, ("gender", "race", "age"), HELD_OUT),
    ):
        found = evaluate_groups(
            [bundle],
            data,
            columns,
            fold=fold,
            detector=detector,
            target=target,
            precision=precision,
        )
        reports += found["inputs"]
    groups = compact(reports)
    text = card_text(loaded, opened, *evaluation, json.loads(groups))
    write_files({out / GROUPS_FILE: (groups + "\n").encode(), out / "MODEL_CARD.md": text.encode()})


def _evaluation(path: Path, checkpoint: Checkpoint, bundle: Bundle) -> tuple[Report, Report]:
    """Read what ``model_card`` wrote. Raises DataError if no card can be written from it."""
    try:
        evaluation = json.loads(path.read_text("utf-8"))
        figures = evaluation["checkpoint"], evaluation["variants"]
        card_text(checkpoint, bundle, *figures)
        return figures
    except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        raise DataError(
            f"cannot read the figures of model_card in {path}. Run first: "
            "python -m fer_edge.training.reports.model_card CHECKPOINT BUNDLE FER2013 "
            f"{path.parent}"
        ) from error


def _variant(bundle: Bundle) -> tuple[str | None, str | None]:
    """Return target and precision of the variant that runs; None lets the Predictor choose."""
    names = {variant.name for variant in bundle.variants}
    if "openvino/fp32" in names:
        return "openvino", "fp32"
    return ("openvino" if any(name.startswith("openvino/") for name in names) else None), None


@click.command("group_card", cls=ModuleCommand)
@click.argument("checkpoint", type=checkpoint_path)
@click.argument("bundle", type=bundle_path)
@click.argument("london", type=click.Path(path_type=Path))
@click.argument("fairface", type=click.Path(path_type=Path))
@click.argument("out", type=click.Path(path_type=Path))
def main(checkpoint: Path, bundle: Path, london: Path, fairface: Path, out: Path) -> None:
    """Write the figures by groups into the model card in OUT.

    They are those of CHECKPOINT and its BUNDLE.
    """
    write_groups(checkpoint, bundle, london, fairface, out)


if __name__ == "__main__":
    main()
