"""Model cards in the format of the Hugging Face Hub: Markdown with a YAML head."""

from __future__ import annotations

import json
from contextlib import suppress
from pathlib import Path
from typing import Any

from fer_edge.hub.model import MANIFESTS
from fer_edge.json_check import read_mapping, read_share

MARK = "<!-- Written by fer-edge push. Remove this line to keep your changes. -->"
"""Line by which a later push knows a card that it may replace."""
_LICENCES = {
    "apache-2.0", "bsd-2-clause", "bsd-3-clause", "cc-by-4.0", "cc-by-nc-4.0", "cc-by-nc-sa-4.0",
    "cc-by-sa-4.0", "cc0-1.0", "gpl-3.0", "mit", "other",
}  # fmt: skip
"""Identifiers of the Hub that are taken as they are; see its page on licences."""
_METRICS = ("accuracy", "balanced_accuracy", "macro_f1", "ece")


def hub_card(repo: str, kind: str, path: Path, licence: str | None = None) -> str:
    """Return README.md for a repository; every figure is from the model's own card.

    Args:
        repo: Repository, ``OWNER/NAME``.
        kind: ``bundle`` or ``checkpoint``.
        path: Folder of the model.
        licence: Licence of the weights; None takes the one of the card.
    """
    facts = _facts(kind, path)
    head: dict[str, Any] = {
        **_licence(licence or facts["licence"]),
        "library_name": "fer-edge",
        "pipeline_tag": "image-classification",
        "tags": ["facial-expression-recognition", "edge", "fer-edge", kind],
    }
    if facts["datasets"]:
        head["datasets"] = facts["datasets"]
    if facts["metrics"]:
        head["metrics"] = ["accuracy", "f1"]
        head["model-index"] = [_index(repo, facts)]
    # JSON is YAML, and quotes every value.
    lines = [f"{key}: {json.dumps(value)}" for key, value in head.items()]
    return "\n".join(["---", *lines, "---", MARK, "", *_body(repo, kind, facts), ""])


def _facts(kind: str, path: Path) -> dict[str, Any]:
    """Return the facts for the card. A checkpoint and a provenance may hold values of any type."""
    card = json.loads((path / MANIFESTS[kind]).read_text("utf-8"))
    if kind == "bundle":
        origin, model = card["provenance"], card
        size_px, backbone = card["crop"]["size_px"], origin.get("backbone")
        variants = [f"{variant['target']}/{variant['precision']}" for variant in card["variants"]]
    else:
        origin, model, variants = card, card["model"], []
        size_px, backbone = model["input"]["size_px"], model["backbone"]
    data, licences = origin.get("data"), origin.get("licences")
    sources = data.get("sources") if isinstance(data, dict) else None
    sources = sources if isinstance(sources, list) else []
    return {
        "name": str(card.get("name") or path.name.removesuffix(".fer")),
        "labels": model["labels"],
        "size_px": size_px,
        "backbone": backbone,
        "datasets": [text for text in sources if isinstance(text, str)],
        "metrics": _metrics(origin.get("held_out")),
        "licence": str(licences.get("data", "")) if isinstance(licences, dict) else "",
        "variants": variants,
    }


def _metrics(held_out: Any) -> dict[str, float]:
    """Return the figures that are shares; a card is free to hold anything."""
    metrics = {}
    for name in _METRICS:
        with suppress(ValueError):
            metrics[name] = read_share(read_mapping(held_out, "held_out").get(name), name)
    return metrics


def _licence(text: str) -> dict[str, str]:
    identifier = text.strip().lower()
    if identifier in _LICENCES:
        return {"license": identifier}
    stated = text if identifier not in ("", "not stated") else "not stated by the checkpoint"
    return {"license": "other", "license_name": stated}


def _index(repo: str, facts: dict[str, Any]) -> dict[str, Any]:
    data = ", ".join(facts["datasets"]) or "not stated"
    return {
        "name": repo.rpartition("/")[2],
        "results": [
            {
                "task": {"type": "image-classification"},
                "dataset": {"name": f"{data}, held-out part", "type": data},
                "metrics": [
                    {"type": name, "value": round(value, 4)}
                    for name, value in facts["metrics"].items()
                ],
            }
        ],
    }


def _body(repo: str, kind: str, facts: dict[str, Any]) -> list[str]:
    out = f"{facts['name']}.fer" if kind == "bundle" else "checkpoint"
    rows = {
        "expressions": ", ".join(facts["labels"]),
        "network": facts["backbone"],
        "input": f"{facts['size_px']} px crops" if facts["size_px"] else None,
        "trained on": ", ".join(facts["datasets"]),
        "variants": ", ".join(facts["variants"]),
        **{f"held-out {name}": f"{value:.4f}" for name, value in facts["metrics"].items()},
    }
    use = (
        f"fer-edge predict photo.jpg --bundle {out}"
        if kind == "bundle"
        else f"fer-edge convert {out} --target all -o model.fer"
    )
    return [
        f"# {facts['name']}",
        "",
        f"A {kind} of fer-edge: it guesses the displayed expression of a face, not what a person "
        "feels.",
        "",
        *(f"- {name}: {_plain(value)}" for name, value in rows.items() if value),
        "",
        "```sh",
        f"pip install 'fer-edge[{'hub' if kind == 'bundle' else 'hub,convert'}]'",
        f"fer-edge pull {repo} -o {out}",
        use,
        "```",
        "",
        "Do not use it for decisions about a person. The figures above are those of the model's "
        "own card, on faces held out of its training data.",
    ]


def _plain(value: object) -> str:
    """Return text without Markdown's or HTML's marks, on one line."""
    return "".join(c if c.isprintable() and c not in "<>[]`|" else " " for c in str(value))[:500]
