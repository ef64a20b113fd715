"""Model card of a checkpoint and its bundle.

    python -m fer_edge.training.reports.model_card CHECKPOINT BUNDLE DATA OUT_FOLDER

Writes MODEL_CARD.md, model-card.png (confusion, calibration, coverage) and evaluation.json.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click
from matplotlib.figure import Figure

from fer_edge.atomic import write_files
from fer_edge.bundle import Bundle, open_bundle
from fer_edge.errors import CheckpointError
from fer_edge.module_command import ModuleCommand
from fer_edge.page import markdown_table
from fer_edge.shipped import bundle_path, checkpoint_path
from fer_edge.training.checkpoint import WEIGHTS, Checkpoint, load_checkpoint
from fer_edge.training.evaluation.evaluate import evaluate
from fer_edge.training.evaluation.metrics import ECE_BINS
from fer_edge.training.models.network import InputSpec
from fer_edge.training.reports import plots
from fer_edge.training.reports.group_section import group_section, groups_beside
from fer_edge.training.reports.html import coverage_rows
from fer_edge.training.reports.run_report import epochs_of

_INTENDED = """\
## Intended use

Research and engineering on edge inference: a small model to try conversion, parity and latency
with, and a starting point for a network trained on your own, licensed faces.

## Not intended

- Decisions about a person: the model guesses a *displayed expression*, not what a person feels.
- Inferring emotions at work or in education, which the EU AI Act prohibits (Art. 5(1)(f)) except
  for medical or safety reasons; identification; surveillance.
- A safety function by itself. FER2013 is for research use: a product needs its own data.

## Known weaknesses

- FER2013's labels are one annotator's and noisy; people agree with them about 65 % of the time, so
  much of the remaining error comes from the labels.
- Few faces of disgust, and fear is mistaken for sadness and surprise: see the recall column.
- Web images of posed or strong expressions; no near-infrared, night, sunglasses or driving{drawn}.
  FER2013 does not state age, gender or skin tone. {bias}
- Crops are frontal and centred. A shifted, turned or partly covered face is not detected as such.
- Confidence is calibrated on FER2013; calibrate it again for other cameras.
"""

_BIAS = {
    True: '"By groups" has what other sets show.',
    False: "Bias between groups **has not been measured**.",
}
_DRAWN = {
    True: ".\n  Training draws such effects on these images; no picture from a car was used",
    False: "",
}


def write_card(checkpoint: Path, bundle: Path, data: Path, out: Path) -> None:
    """Evaluate a checkpoint and its bundle, and write the model card.

    Args:
        checkpoint: Checkpoint folder.
        bundle: ``.fer`` bundle of the checkpoint.
        data: FER2013, evaluated on its ``val`` part.
        out: Folder for MODEL_CARD.md, model-card.png and evaluation.json.

    Raises:
        CheckpointError: The checkpoint cannot be loaded, or has no facts of a training.
        BundleError: The bundle is damaged.
        DataError: The data cannot be read.
        TargetError: A variant does not run on this machine.
    """
    loaded, loaded_bundle = load_checkpoint(checkpoint), open_bundle(bundle)
    check_trained(loaded, checkpoint)
    report = evaluate(checkpoint, data, near_duplicates=True)
    variants = {
        v.name: evaluate(bundle, data, target=v.target, precision=v.precision)
        for v in loaded_bundle.variants
    }
    out.mkdir(parents=True, exist_ok=True)
    evaluation = json.dumps({"checkpoint": report, "variants": variants}, indent=1)
    text = card_text(loaded, loaded_bundle, report, variants, groups_beside(loaded_bundle, out))
    write_files(
        {
            out / "model-card.png": _drawing(report),
            out / "evaluation.json": (evaluation + "\n").encode(),
            out / "MODEL_CARD.md": text.encode(),
        }
    )


def check_trained(checkpoint: Checkpoint, source: Path) -> None:
    """Raise CheckpointError unless a checkpoint has the facts of its training."""
    if missing := [key for key in ("data", "recipe", "epoch") if key not in checkpoint.facts]:
        raise CheckpointError(
            f"expected a checkpoint of fer-edge train, {source} has no facts on "
            f"{', '.join(missing)}. For its figures alone: fer-edge evaluate {source} --data DATA"
        )


def card_text(
    checkpoint: Checkpoint,
    bundle: Bundle,
    report: dict[str, Any],
    variants: dict[str, dict[str, Any]],
    groups: list[dict[str, Any]] | None = None,
) -> str:
    """Return the model card as Markdown.

    ``report`` and ``variants`` are the reports of evaluate for the checkpoint and each variant.
    ``groups`` are reports of evaluate_groups, or None.
    """
    return "\n".join(
        [
            f"# Model card: the {bundle.path.stem} model of fer_edge",
            "",
            "Made by `python -m fer_edge.training.reports.model_card`, which computes every figure "
            "with the code of `fer-edge evaluate`. PublicTest is FER2013's `val` part.",
            "",
            _headline(report, checkpoint.spec.input, bundle.path),
            *_training(checkpoint),
            "## Per class (PublicTest)",
            "",
            _per_class(report),
            "## Confusion (rows: label, columns: answer)",
            "",
            _confusion(report),
            *_calibration(checkpoint, report),
            "## Variants in the bundle (PublicTest, each on its own engine)",
            "",
            _variants(bundle, variants),
            *_int8(checkpoint, bundle.path.stem),
            *group_section(groups or []),
            _INTENDED.format(
                bias=_BIAS[bool(groups)],
                drawn=_DRAWN[_draws_effects(checkpoint)],
            ),
            "## Repeat",
            "",
            f"`training/recipes/{checkpoint.facts['recipe']['name']}.yaml` begins with the "
            "commands that train the model.",
            "",
            "```\nfer-edge evaluate CHECKPOINT --data FER2013\n"
            "python -m fer_edge.training.reports.model_card CHECKPOINT BUNDLE FER2013 OUT\n"
            "python -m fer_edge.training.reports.group_card CHECKPOINT BUNDLE LONDON FAIRFACE OUT"
            "\n```",
            "",
        ]
    )


def _training(checkpoint: Checkpoint) -> list[str]:
    facts = checkpoint.facts
    data, recipe = facts["data"], facts["recipe"]
    return [
        "## Data and training",
        "",
        "FER2013 `Training` rows (ICML 2013 challenge; **research and benchmark use only**): "
        f"{data['train_faces']:,} to train on, and {data['held_out_faces']:,} held out to select "
        "the epoch and fit the temperature and the threshold. "
        f"{data['dropped_twins']} rows were dropped as duplicates of PublicTest images. "
        f"FER+ votes (Microsoft, MIT){_taught(facts)} soften the targets. "
        f"{_started(facts)} {_averaged(facts)}{_more(facts)} "
        "PublicTest was used to design the recipes (translation of votes, selection of the epoch, "
        "choice of the network); no weight, temperature or threshold was fitted on it. "
        "PrivateTest was never used.",
        "",
        f"Recipe `{recipe['name']}`, seed {recipe['seed']}, best epoch {facts['epoch']} of "
        f"{epochs_of(recipe)}; data fingerprint `{data['fingerprint'][:16]}…`, weights "
        f"SHA-256 `{checkpoint.sha256[:16]}…`. `card.json` beside the weights has the complete "
        "recipe.",
        "",
    ]


def _draws_effects(checkpoint: Checkpoint) -> bool:
    return any(checkpoint.facts["recipe"]["augment"].get("incar", {}).values())


def _calibration(checkpoint: Checkpoint, report: dict[str, Any]) -> list[str]:
    answered = report["abstention"]
    right = answered["accuracy"]  # None if nothing is answered
    correct = "" if right is None else f", {right:.1%} of those answers are correct"
    return [
        "## Calibration and abstention",
        "",
        f"Temperature {checkpoint.temperature:.3f}, fitted on the held-out faces. Expected "
        f"calibration error on PublicTest {report['all']['ece']:.4f} ({ECE_BINS} equal-width "
        f"bins). Below a confidence of {checkpoint.abstain_below:.2f} the answer is *uncertain*: "
        f"{answered['coverage']:.1%} of PublicTest is answered{correct}.",
        "",
        markdown_table(*coverage_rows(report["all"]["coverage"])),
        "![Confusion, calibration and coverage](model-card.png)",
        "",
    ]


def _int8(checkpoint: Checkpoint, name: str) -> list[str]:
    """Return the figures of the int8 weights; none if there are none."""
    if checkpoint.int8 is None:
        return []
    facts = checkpoint.int8.facts
    held, method = facts["held_out"], facts["method"]["distillation"]
    low, high = held["agreement_95"]
    worse, better = held["accuracy_change_95"]
    how = f"{method['epochs']} epochs" if method["epochs"] else "without training,"
    return [
        "## int8",
        "",
        f"`{name}-checkpoint` has int8 weights and ranges of `fer-edge quantize`, {how} in "
        f"{facts['minutes']:.1f} minutes. On {held['faces']:,} "
        f"held-out faces they keep {held['agreement']:.2%} of the float network's decisions (95 %: "
        f"{low:.2%} to {high:.2%}), {held['answered_agreement']:.2%} of the answered ones, and "
        f"change the accuracy by {100 * held['accuracy_change']:+.2f} points "
        f"({100 * worse:+.2f} to {100 * better:+.2f}).",
        "",
    ]


def _taught(facts: dict[str, Any]) -> str:
    names = [
        f"`{t['recipe']['name']}`, SHA-256 `{t['sha256'][:16]}…`" for t in facts.get("teachers", ())
    ]
    names += [
        f"predictions in `{o['file']}`, SHA-256 `{o['sha256'][:16]}…`"
        for o in facts.get("opinions", ())
    ]
    return f" and networks trained on the same data ({'; '.join(names)})" if names else ""


def _more(facts: dict[str, Any]) -> str:
    """Return what else the network learnt from."""
    if not (more := facts["data"].get("unlabelled")):
        return "No other data."
    return (
        f"{more['faces']:,} faces without labels were trained on too, with targets of the teachers "
        f"alone: {', '.join(f'`{source}`' for source in more['sources'])}, fingerprint "
        f"`{more['fingerprint'][:16]}…`."
    )


def _started(facts: dict[str, Any]) -> str:
    if not (weights := facts.get("weights_from")):
        return "No pretrained weights."
    if "hub" in weights:
        return f"The backbone started from timm's weights `{weights['hub']}`."
    for teacher in facts.get("teachers", ()):
        if teacher["sha256"] == weights["sha256"] and teacher["recipe"]["model"].get("weights"):
            return (
                f"The backbone started from the teacher `{teacher['recipe']['name']}`, which "
                f"started from {_source(teacher['recipe'])}."
            )
    return (
        f"The backbone started from {_source(facts['recipe'])} (SHA-256 "
        f"`{weights['sha256'][:16]}…`, {weights['loaded']} tensors)."
    )


def _source(recipe: dict[str, Any]) -> str:
    """Return the name of the weights that a recipe starts from."""
    path = Path(recipe["model"]["weights"])
    if path.name == WEIGHTS:  # RUN/best/model.safetensors
        path = path.parent
    if path.name == "best":
        path = path.parent
    return f"the checkpoint `{path.name}`" if not path.suffix else f"the weights `{path.name}`"


def _averaged(facts: dict[str, Any]) -> str:
    """Return what the weights are the average of; empty if they are none."""
    if not (averaged := facts.get("averaged")):
        return ""
    share = averaged["share"]
    return (
        f"The weights are an average: {share:.0%} of this run's best epoch (SHA-256 "
        f"`{averaged['trained'][:16]}…`) and {1 - share:.0%} of the checkpoint "
        f"`{averaged['start'][:16]}…`. Temperature and threshold were fitted to it. "
    )


def _headline(report: dict[str, Any], spec: InputSpec, bundle: Path) -> str:
    megabytes = sum(f.stat().st_size for f in bundle.rglob("*") if f.is_file()) / 1e6
    rows = []
    for name, key in (
        ("PublicTest", "all"),
        ("PublicTest, without duplicates", "deduplicated"),
        ("PublicTest, without near duplicates", "near_deduplicated"),
    ):
        if key not in report:
            continue
        m = report[key]
        rows.append(
            [
                name,
                f"{m['faces']:,}",
                f"**{m['accuracy']:.2%}**",
                f"{m['balanced_accuracy']:.2%}",
                f"{m['macro_f1']:.4f}",
                f"{m['ece']:.4f}",
            ]
        )
    table = markdown_table(["", "faces", "accuracy", "balanced", "macro F1", "ECE"], rows)
    return (
        f"{report['parameters']:,} parameters; {spec.size_px}x{spec.size_px} {spec.colour} "
        "network input from BGR crops of any size; "
        f"the bundle with all variants has {megabytes:.1f} MB.\n\n{table}"
    )


def _per_class(report: dict[str, Any]) -> str:
    return markdown_table(
        ["class", "recall", "precision", "F1", "faces"],
        [
            [
                name,
                f"{m['recall']:.3f}",
                f"{m['precision']:.3f}",
                f"{m['f1']:.3f}",
                str(m["support"]),
            ]
            for name, m in report["all"]["per_class"].items()
        ],
    )


def _confusion(report: dict[str, Any]) -> str:
    return markdown_table(
        ["", *report["labels"]],
        [
            [name, *map(str, row)]
            for name, row in zip(report["labels"], report["all"]["confusion"], strict=True)
        ],
    )


def _variants(bundle: Bundle, reports: dict[str, dict[str, Any]]) -> str:
    fp32 = [v.speed.batch_1_p50_ms for v in bundle.variants if v.precision == "fp32" and v.speed]
    rows = []
    for v in bundle.variants:
        m, p50_ms = reports[v.name]["all"], v.speed.batch_1_p50_ms if v.speed else None
        rows.append(
            [
                v.name,
                f"{m['accuracy']:.2%}",
                f"{m['macro_f1']:.4f}",
                f"{m['ece']:.4f}",
                f"{v.parity.agreement:.2%}" if v.parity else "",
                f"{v.parity.max_abs_dp:.1e}" if v.parity else "",
                f"{p50_ms:.3f}" if p50_ms else "",
                f"{min(fp32) / p50_ms:.2f}x" if p50_ms and fp32 else "",
            ]
        )
    machine = next((v.speed.machine for v in bundle.variants if v.speed), "no machine")
    table = markdown_table(
        [
            "variant",
            "accuracy",
            "macro F1",
            "ECE",
            "agreement with torch",
            "largest abs dp",
            "engine p50 ms, batch 1",
            "speed-up over best fp32",
        ],
        rows,
    )
    return f"{table}\nLatency on {machine}, as measured at conversion.\n"


def _drawing(report: dict[str, Any]) -> bytes:
    figure = Figure(figsize=(15, 4.6), layout="constrained")
    drawers = (plots.confusion, plots.calibration, plots.coverage)
    for axes, draw in zip(figure.subplots(1, len(drawers)), drawers, strict=True):
        draw(axes, report)
    return plots.data(figure, "png")


@click.command("model_card", cls=ModuleCommand)
@click.argument("checkpoint", type=checkpoint_path)
@click.argument("bundle", type=bundle_path)
@click.argument("data", type=click.Path(path_type=Path))
@click.argument("out", type=click.Path(path_type=Path))
def main(checkpoint: Path, bundle: Path, data: Path, out: Path) -> None:
    """Write the model card of CHECKPOINT and its BUNDLE into the folder OUT.

    Its figures are on the faces of DATA.
    """
    write_card(checkpoint, bundle, data, out)


if __name__ == "__main__":
    main()
