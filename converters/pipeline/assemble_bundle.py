"""Assembly of a bundle from new variants and those it has."""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from pathlib import Path
from typing import Any

from fer_edge.bundle import Bundle, Variant
from fer_edge.bundle_files import read_checked
from fer_edge.converters.pipeline.origin import origin
from fer_edge.manifest import today
from fer_edge.parity import RefusedVariant
from fer_edge.preprocess import CropRule
from fer_edge.training.checkpoint import Checkpoint
from fer_edge.verdict import FAILED


def refusal(variant: Variant) -> RefusedVariant:
    """Return the figures of a verified variant that is left out."""
    report = variant.parity
    assert report is not None
    return RefusedVariant(
        agreement=report.agreement,
        accuracy_change=report.accuracy_change,
        failures=report.failures,
        search=report.search,
        judged_by=report.judged_by,
        speed=variant.speed,
        verdict=report.verdict,
    )


def _preference(variant: Variant) -> tuple[int, float]:
    """Return the sort key of a variant.

    First come variants for hardware absent here, reduced precision before fp32. Then come measured
    ones by latency, those that too few faces judged, and unproven ones.
    """
    if variant.parity is not None and variant.parity.undecided:
        return 2, variant.speed.batch_1_p50_ms if variant.speed else 0.0
    if variant.speed is not None:
        return 1, variant.speed.batch_1_p50_ms
    if variant.parity is not None and variant.parity.judged_by is not None:
        return 0, float(variant.precision == "fp32")
    return 3, 0.0


def assemble(
    out: Path,
    source: Checkpoint,
    rule: CropRule,
    *,
    variants: Sequence[Variant],
    files: Mapping[str, bytes],
    existing: Bundle | None = None,
    refused: Mapping[str, RefusedVariant] | None = None,
    name: str | None = None,
    version: str | None = None,
) -> tuple[Bundle, dict[str, bytes]]:
    """Assemble a bundle from new variants and those it has.

    New variants replace existing ones of the same name. One that now failed is removed; the others
    stay, and are not recorded as refused.

    Args:
        out: Path of the bundle.
        source: Checkpoint that the variants were built from.
        rule: Crop rule of the bundle.
        variants: New variants.
        files: Files of the new variants, by ``folder/name``.
        existing: Bundle whose other variants are kept.
        refused: Variants that were built and left out, by name, with their figures.
        name: Name of the model; None is that of ``existing``, or the folder's stem.
        version: Version of the model; None is that of ``existing``, or "0".

    Returns:
        The bundle and its files by ``folder/name``.

    Raises:
        BundleError: A file of the existing bundle is damaged.
    """
    contents, merged = dict(files), list(variants)
    record = existing.familiarity if existing else None
    if source.familiarity is not None:
        record = source.familiarity.record
        contents[record.file.path] = source.familiarity.statistics.data()
    elif existing and record is not None:  # a copy of the checkpoint without its statistics
        contents[record.file.path] = read_checked(existing.path, record.file)
    refused = refused or {}
    gone = {variant.name for variant in variants}
    gone |= {name for name, figures in refused.items() if figures.verdict == FAILED}
    for variant in existing.variants if existing else ():
        if existing and variant.name not in gone:
            contents = {**existing.read(variant), **contents}
            merged.append(variant)
    merged.sort(key=_preference)
    names = {variant.name for variant in merged}
    bundle = Bundle(
        path=out,
        labels=source.spec.labels,
        crop=rule,
        temperature=source.temperature,
        abstain_below=source.abstain_below,
        embedding_dim=source.model.embedding_dim,
        provenance=_provenance(source, existing, names, refused),
        variants=tuple(merged),
        name=name if name is not None else existing.name if existing else out.stem,
        version=version if version is not None else existing.version if existing else "0",
        created=today(),
        familiarity=record,
    )
    return bundle, contents


def _provenance(
    source: Checkpoint,
    existing: Bundle | None,
    names: Set[str],
    refused: Mapping[str, RefusedVariant],
) -> dict[str, Any]:
    """Return the origin of a bundle; no variant in ``names`` is recorded as refused."""
    facts = source.facts
    earlier = existing.provenance.get("refused") if existing else None
    entries = dict(earlier) if isinstance(earlier, dict) else {}
    entries |= {name: figures.as_dict() for name, figures in refused.items()}
    return {
        **origin(source, existing),
        "backbone": source.spec.backbone,
        "recipe": facts.get("recipe", {}).get("name"),
        "seed": facts.get("recipe", {}).get("seed"),
        "data": facts.get("data", {}),
        "licences": facts.get("licences", {}),
        "refused": {name: entry for name, entry in entries.items() if name not in names},
    }
