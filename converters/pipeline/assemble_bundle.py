"""What goes into the bundle that is written: the new variants, and those that were there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from fer_edge.bundle import Bundle, Variant
from fer_edge.preprocess import CropRule
from fer_edge.training.checkpoint import Checkpoint


def refusal(variant: Variant) -> dict[str, Any]:
    """Why a variant that was built is not in the bundle, with the figures."""
    wanted = ("agreement", "accuracy_change", "failures", "search", "judged_by")
    return {k: variant.parity[k] for k in wanted if k in variant.parity} | dict(variant.speed)


def _preference(variant: Variant) -> tuple[int, float]:
    """Order in the bundle. First what was built for a chip that is not here: it is wanted where
    that chip is, and passed over elsewhere; with nothing measured, fp32 comes after the precisions
    that were built to be faster. Then by latency, and last what nothing has judged."""
    if "batch_1_p50_ms" in variant.speed:
        return 1, variant.speed["batch_1_p50_ms"]
    if "judged_by" in variant.parity:
        return 0, float(variant.precision == "fp32")
    return 2, 0.0


def merged(
    out: Path,
    source: Checkpoint,
    rule: CropRule,
    new: Sequence[Variant],
    files: Mapping[str, bytes],
    existing: Bundle | None,
    refused: dict[str, Any],
) -> tuple[Bundle, dict[str, bytes]]:
    """The bundle to write, and its files by path: new variants replace those of the same name, the
    others stay. refused: what was tried and is not worth having, with its figures."""
    contents, variants = dict(files), list(new)
    names = {variant.name for variant in variants}
    for variant in existing.variants if existing else ():
        if existing and variant.name not in names:
            contents = {**existing.read(variant), **contents}
            variants.append(variant)
    variants.sort(key=_preference)
    facts = source.facts
    earlier = existing.provenance.get("refused", {}) if existing else {}
    earlier = {name: why for name, why in earlier.items() if name not in names}
    provenance = {
        "checkpoint_sha256": source.sha256,
        "backbone": source.spec.backbone,
        "recipe": facts.get("recipe", {}).get("name"),
        "seed": facts.get("recipe", {}).get("seed"),
        "data": facts.get("data", {}),
        "licences": facts.get("licences", {}),
        "refused": earlier | refused,
    }
    bundle = Bundle(
        path=out,
        labels=source.spec.labels,
        crop=rule,
        temperature=source.temperature,
        abstain_below=source.abstain_below,
        embedding_dim=source.model.embedding_dim,
        provenance=provenance,
        variants=tuple(variants),
    )
    return bundle, contents
