"""The model card of a checkpoint and its bundle, every figure computed as it is written.

    python -m fer_edge.training.reports.model_card CHECKPOINT BUNDLE DATA OUT_FOLDER

Writes MODEL_CARD.md, model-card.png (confusion, calibration, coverage) and evaluation.json.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from fer_edge.bundle import Bundle, open_bundle
from fer_edge.page import markdown_table
from fer_edge.training.checkpoint import load_checkpoint
from fer_edge.training.evaluation.evaluate import evaluate
from fer_edge.training.models.network import InputSpec
from fer_edge.training.reports import plots

_INTENDED = """\
## Intended use

Research and engineering on edge inference: a small, honest default for trying out conversion,
parity and latency; a starting point for a network trained on your own, licensed faces.

## Not intended

- Deciding anything about a person: emotion inferred from a face is a guess about a *displayed
  expression*, not about what somebody feels.
- Inferring emotions at work or in education, which the EU AI Act prohibits (Art. 5(1)(f)) except
  for medical or safety reasons; identification; surveillance.
- A safety function on its own. FER2013 is for research use: a product needs its own data.

## Known weaknesses

- FER2013's labels are one annotator's and noisy; people agree with them about 65 % of the time, so
  a large part of the remaining error is the labels' own.
- Few faces of disgust, and fear is mistaken for sadness and surprise: see the recall column.
- Web pictures of posed or strong expressions; no near-infrared, night, sunglasses or driving.
  Age, gender and skin tone are not annotated, so bias between groups **has not been measured**.
- Crops are frontal and centred. A shifted, turned or partly covered face is not detected as such.
- Confidence is calibrated on FER2013; on other cameras it has to be calibrated again.
"""


def write_card(checkpoint: Path, bundle: Path, data: Path, out: Path) -> None:
    """Evaluate everything and write the three files into ``out``."""
    loaded, opened = load_checkpoint(checkpoint), open_bundle(bundle)
    report = evaluate(checkpoint, data)
    variants = {
        v.name: evaluate(bundle, data, target=v.target, precision=v.precision)
        for v in opened.variants
    }
    out.mkdir(parents=True, exist_ok=True)
    _draw(report, out / "model-card.png")
    (out / "evaluation.json").write_text(
        json.dumps({"checkpoint": report, "variants": variants}, indent=1) + "\n", "utf-8"
    )
    facts = loaded.facts
    text = "\n".join(
        [
            "# Model card: the default model of fer_edge",
            "",
            "Made by `python -m fer_edge.training.reports.model_card`; every figure was computed "
            "in that run, with the code behind `fer-edge evaluate`. PublicTest is FER2013's "
            "`val` part.",
            "",
            _headline(report, loaded.spec.input, bundle),
            "## Data and training",
            "",
            "FER2013 `Training` rows (ICML 2013 challenge; **research and benchmark use only**), "
            f"{facts['data']['train_faces']:,} trained on and {facts['data']['held_out_faces']:,} "
            "held out for choosing the epoch, the temperature and the threshold; "
            f"{facts['data']['dropped_twins']} rows were dropped because the same picture stands "
            f"in PublicTest. FER+ votes (Microsoft, MIT){_taught(facts)} soften the targets. "
            f"{_started(facts)} PublicTest was looked at while recipes were designed (how votes "
            "are translated, the rule that picks the epoch, which network ships); no weight, "
            "temperature or threshold was fitted on it. PrivateTest was never seen.",
            "",
            f"Recipe `{facts['recipe']['name']}`, seed {facts['recipe']['seed']}, best epoch "
            f"{facts['epoch']} of {facts['recipe']['fit']['epochs']}; data fingerprint "
            f"`{facts['data']['fingerprint'][:16]}…`, weights SHA-256 `{loaded.sha256[:16]}…`. "
            "The whole recipe is in `card.json` beside the weights.",
            "",
            "## Per class (PublicTest)",
            "",
            _per_class(report),
            "## Confusion (rows: label, columns: answer)",
            "",
            _confusion(report),
            "## Calibration and abstention",
            "",
            f"Temperature {loaded.temperature:.3f}, fitted on the held-out faces. Expected "
            f"calibration error on PublicTest {report['all']['ece']:.4f} (15 equal-width bins). "
            f"Below a confidence of {loaded.abstain_below:.2f} the answer is *uncertain*: "
            f"{report['abstention']['coverage']:.1%} of PublicTest is answered, "
            f"{report['abstention']['accuracy']:.1%} of that rightly.",
            "",
            _coverage(report),
            "![Confusion, calibration and coverage](model-card.png)",
            "",
            "## Variants in the bundle (PublicTest, each on its own engine)",
            "",
            _variants(opened, variants),
            _INTENDED,
            "## Repeat",
            "",
            "The commands that train it, and what comes before it, head "
            "`training/recipes/edge-default.yaml`.",
            "",
            "```\nfer-edge evaluate CHECKPOINT --data FER2013\n"
            "python -m fer_edge.training.reports.model_card CHECKPOINT BUNDLE FER2013 OUT\n```",
            "",
        ]
    )
    (out / "MODEL_CARD.md").write_text(text, "utf-8")


def _taught(facts: dict[str, Any]) -> str:
    if not (teachers := facts.get("teachers")):
        return ""
    names = "; ".join(f"`{t['recipe']['name']}`, SHA-256 `{t['sha256'][:16]}…`" for t in teachers)
    return f" and networks trained on the same data ({names})"


def _started(facts: dict[str, Any]) -> str:
    if not (weights := facts.get("weights_from")):
        return "No other data, no pretrained weights."
    for teacher in facts.get("teachers", ()):
        if teacher["sha256"] == weights["sha256"] and teacher["recipe"]["model"].get("weights"):
            first = Path(teacher["recipe"]["model"]["weights"]).name
            return (
                f"The backbone went on from the teacher `{teacher['recipe']['name']}`, which "
                f"started from ImageNet weights (`{first}`); no other data."
            )
    return (
        f"The backbone started from ImageNet weights (`{weights['file']}`, SHA-256 "
        f"`{weights['sha256'][:16]}…`, {weights['loaded']} tensors); no other data."
    )


def _headline(report: dict[str, Any], inside: InputSpec, bundle: Path) -> str:
    megabytes = sum(f.stat().st_size for f in bundle.rglob("*") if f.is_file()) / 1e6
    rows = []
    for name, key in (("PublicTest", "all"), ("PublicTest, de-duplicated", "deduplicated")):
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
        f"{report['parameters']:,} parameters; {inside.size_px}x{inside.size_px} {inside.colour} "
        "inside, BGR crops of any size outside; "
        f"the bundle with all variants is {megabytes:.1f} MB.\n\n{table}"
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


def _coverage(report: dict[str, Any]) -> str:
    rows = report["all"]["coverage"]
    return markdown_table(
        ["answered", *(f"{row['coverage']:.0%}" for row in rows)],
        [
            ["right", *(f"{row['accuracy']:.1%}" for row in rows)],
            ["confidence from", *(f"{row['threshold']:.2f}" for row in rows)],
        ],
    )


def _variants(bundle: Bundle, reports: dict[str, dict[str, Any]]) -> str:
    rows = []
    fp32_ms = min(
        (v.speed["batch_1_p50_ms"] for v in bundle.variants if v.precision == "fp32"), default=None
    )
    for v in bundle.variants:
        m, p50_ms = reports[v.name]["all"], v.speed["batch_1_p50_ms"]
        rows.append(
            [
                v.name,
                f"{m['accuracy']:.2%}",
                f"{m['macro_f1']:.4f}",
                f"{m['ece']:.4f}",
                f"{v.parity['agreement']:.2%}",
                f"{v.parity['max_abs_dp']:.1e}",
                f"{p50_ms:.3f}",
                f"{fp32_ms / p50_ms:.2f}x" if fp32_ms else "",
            ]
        )
    machine = bundle.variants[0].speed["machine"]
    table = markdown_table(
        [
            "variant",
            "accuracy",
            "macro F1",
            "ECE",
            "agrees with torch",
            "max abs dp",
            "engine p50 ms, batch 1",
            "against the best fp32",
        ],
        rows,
    )
    return f"{table}\nLatency on {machine}, as measured at conversion.\n"


def _draw(report: dict[str, Any], out: Path) -> None:
    figure = Figure(figsize=(15, 4.6), layout="constrained")
    drawers = (plots.confusion, plots.calibration, plots.coverage)
    for axes, draw in zip(figure.subplots(1, len(drawers)), drawers, strict=True):
        draw(axes, report)
    out.write_bytes(plots.data(figure, "png"))


if __name__ == "__main__":
    write_card(*(Path(argument) for argument in sys.argv[1:5]))
