"""Accuracy and one-core latency of bundles in fp32, bf16 and int8, on OpenVINO.

    fer-edge convert default --target openvino --precision all -o default.fer
    fer-edge convert fast --target openvino --precision all -o fast.fer
    python -m fer_edge.benchmarks.studies.precisions default.fer fast.fer --data FER2013

A row has accuracy and ECE, the decisions kept (of all, and of those that fp32 answers), and the p50
of ``predictor(crop)`` for a 200 px BGR crop. Latencies are measured in turns, on one core with one
thread, and compared with the first bundle in fp32.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

import click
import numpy as np

from fer_edge import Prediction, Predictor, TargetError, open_bundle
from fer_edge.benchmarks.job import CROP_PX, noise
from fer_edge.benchmarks.machine.environment import environment, machine, noise_note
from fer_edge.benchmarks.measure.percentile_ratio import percentile_ratio
from fer_edge.benchmarks.measure.timing import Call, interleaved
from fer_edge.benchmarks.studies.options import PATH, json_option, print_report
from fer_edge.module_command import ModuleCommand
from fer_edge.page import markdown_table
from fer_edge.progress import Step, silent
from fer_edge.shipped import bundle_path
from fer_edge.training.data.faces import LabelledFace, load_faces
from fer_edge.training.evaluation.intervals import share_interval
from fer_edge.training.evaluation.metrics import metrics

TARGET, PRECISIONS = "openvino", ("fp32", "bf16", "int8")
_SAMPLES, _BATCH = 2000, 64
HEADER = (
    "model",
    "precision",
    "accuracy (95 %)",
    "balanced",
    "ECE",
    "kept, all",
    "kept, answered",
    "p50 ms, one core",
    "times as fast (95 %)",
)


def rows(
    bundles: Sequence[Path],
    faces: Sequence[LabelledFace],
    *,
    samples: int = _SAMPLES,
    step: Step = silent,
) -> list[dict[str, Any]]:
    """Return figures of each bundle in each precision that OpenVINO runs here.

    Args:
        bundles: Bundles with OpenVINO variants. The first variant of the first bundle is what
            speeds are compared with, fp32 if there is one.
        faces: Labelled faces to decide.
        samples: Timed calls of each variant.
        step: Receives progress.

    Raises:
        BundleError: A bundle is damaged.
        TargetError: A variant does not run here, or a bundle has none for OpenVINO.
    """
    written = [(bundle, _written(bundle)) for bundle in bundles]
    found: list[dict[str, Any]] = []
    for bundle, names in written:
        found += _decided(bundle, names, faces, step)
    _time(found, samples, step)
    return found


def _written(bundle: Path) -> list[str]:
    """Return the precisions of a bundle's OpenVINO variants. Raises TargetError for none."""
    written = {v.precision for v in open_bundle(bundle).variants if v.target == TARGET}
    names = [precision for precision in PRECISIONS if precision in written]
    if not names:
        raise TargetError(
            f"expected a variant of {TARGET} in {bundle}, got none. Make one with: fer-edge "
            f"convert CHECKPOINT --target {TARGET} --precision all -o NAME.fer"
        )
    return names


def _decided(
    bundle: Path, precisions: Sequence[str], faces: Sequence[LabelledFace], step: Step
) -> list[dict[str, Any]]:
    """Return a row without times for each precision; the first is the reference."""
    found: list[dict[str, Any]] = []
    truth = [face.label for face in faces]
    decisions: list[tuple[str, bool]] = []
    for precision in precisions:
        name = f"{bundle.stem} {precision}"
        answers: list[Prediction] = []
        with Predictor(bundle, TARGET, precision) as predictor:
            for i in range(0, len(faces), _BATCH):
                images = [face.read() for face in faces[i : i + _BATCH]]
                answers += predictor.predict_batch(images)
                step(name, len(answers), len(faces))
            labels = predictor.labels
        probabilities = [list(answer.probabilities.values()) for answer in answers]
        rates = metrics(np.array(probabilities), truth, labels)
        own = [(answer.label, answer.uncertain) for answer in answers]
        decisions = decisions or own
        same = np.array([mine[0] == first[0] for mine, first in zip(own, decisions, strict=True)])
        answered = np.array([not uncertain for _, uncertain in decisions])
        right = round(rates["accuracy"] * len(truth))
        found.append(
            {
                "model": bundle.stem,
                "precision": precision,
                "bundle": bundle,
                "faces": len(truth),
                "accuracy": rates["accuracy"],
                "accuracy_95": list(share_interval(right, len(truth))),
                "balanced": rates["balanced_accuracy"],
                "ece": rates["ece"],
                "kept": float(same.mean()),
                "kept_answered": float(same[answered].mean()) if answered.any() else None,
            }
        )
    return found


def _time(found: list[dict[str, Any]], samples: int, step: Step) -> None:
    """Add p50 and ratio to each row, in place."""
    crop = noise(1, CROP_PX)[0]
    with ExitStack() as stack:
        if hasattr(os, "sched_setaffinity"):  # Linux
            cores = os.sched_getaffinity(0)
            stack.callback(os.sched_setaffinity, 0, cores)
            os.sched_setaffinity(0, {min(cores)})
        calls: dict[str, Call] = {}
        for i, row in enumerate(found):
            predictor = Predictor(row.pop("bundle"), TARGET, row["precision"], threads=1)
            calls[str(i)] = partial(stack.enter_context(predictor), crop)
        taken = interleaved(
            calls, samples, warm_up=100, step=lambda done, total: step("timing", done, total)
        )
    for i, row in enumerate(found):
        row["p50_ms"] = taken[str(i)].percentile_ms(50)
        row["times_as_fast"] = list(
            percentile_ratio(taken["0"].ns, taken[str(i)].ns, 50, paired=True)
        )


def markdown(found: Sequence[dict[str, Any]]) -> str:
    """Return the rows as a table."""
    cells = []
    for row in found:
        low, high = row["accuracy_95"]
        answered = row["kept_answered"]
        ratio, least, most = row["times_as_fast"]
        cells.append(
            [
                row["model"],
                row["precision"],
                f"{row['accuracy']:.2%} ({100 * low:.1f} to {100 * high:.1f})",
                f"{row['balanced']:.2%}",
                f"{row['ece']:.3f}",
                f"{row['kept']:.2%}",
                "" if answered is None else f"{answered:.2%}",
                f"{row['p50_ms']:.3f}",
                f"{ratio:.2f} ({least:.2f} to {most:.2f})",
            ]
        )
    return markdown_table(HEADER, cells)


@click.command("precisions", cls=ModuleCommand)
@click.argument("bundles", nargs=-1, required=True, type=bundle_path)
@click.option("--data", required=True, type=PATH, help="Labelled faces; their val part decides.")
@json_option
def main(bundles: tuple[Path, ...], data: Path, as_json: bool) -> None:
    """Measure each precision of BUNDLES on OpenVINO."""
    from fer_edge.progress_bar import progress

    env = environment()
    with progress() as (_, step):
        faces = load_faces(data, "val", open_bundle(bundles[0]).labels)
        found = rows(bundles, faces, step=step)
    about = f"{machine(env)}, {env['time']}. {noise_note(env) or 'The machine was quiet.'}"
    text = f"{about} {len(faces):,} faces.\n\n{markdown(found)}"
    print_report({"environment": env, "rows": found}, as_json, text)


if __name__ == "__main__":
    main()
