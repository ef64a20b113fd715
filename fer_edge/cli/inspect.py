"""``fer-edge inspect``."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

import click

import fer_edge
from fer_edge.cli.options import json_option, print_json, print_line, quiet_option
from fer_edge.errors import EngineError
from fer_edge.parity import ParityReport, RefusedVariant
from fer_edge.shipped import bundle_path
from fer_edge.shown import printable, shown
from fer_edge.signing import read_signatures


@click.command()
@click.argument("bundle", type=bundle_path, required=False)
@quiet_option
@json_option
def inspect(bundle: Path | None, as_json: bool) -> None:
    """Check a bundle's files and list which variants run here.

    Example: fer-edge inspect driver.fer

    Without BUNDLE, the command inspects default, a shipped model. The engines run in a process
    of their own, so that a model that crashes one is a line here.
    """
    from fer_edge.engine_trial import try_variants

    opened = fer_edge.open_bundle(bundle or "default")
    _check_models(opened)
    signers = [signature.key_id for signature in read_signatures(opened.path)]
    if as_json:
        about: dict[str, Any] = {"path": str(opened.path), "sha256": opened.sha256}
        if signers:
            about["claims_signatures_of"] = signers
        print_json({**about, **opened.as_dict()})
        return
    click.echo(f"{opened.path}  (all hashes match)")
    click.echo(f"model        {_model(opened)}")
    click.echo(f"signed by    {_signed_by(signers)}")
    click.echo(f"labels       {', '.join(opened.labels)}")
    click.echo(f"input        uint8 [N, {opened.crop.size_px}, {opened.crop.size_px}, 3] BGR")
    click.echo(f"temperature  {opened.temperature:.3f}, uncertain below {opened.abstain_below:.2f}")
    if opened.recalibration is not None:
        temperature = opened.recalibration.temperature
        click.echo(f"adapted      temperature {temperature:.3f} more; see provenance.adaptation")
    if opened.familiarity is not None:
        record = opened.familiarity
        click.echo(
            f"unfamiliar   beyond limits that {record.false_refusals:.1%} of {record.faces:,} "
            "held-out faces exceed"
        )
    provenance = opened.provenance
    made_from = f"{_short(provenance.get('backbone'))}, recipe {_short(provenance.get('recipe'))}"
    click.echo(f"made from    {made_from}")
    reasons: list[str] = []
    for v in opened.variants:
        size = sum(f.bytes for f in v.files) / 1e6
        facts = [_figures(v.parity)] if v.parity else []
        facts += _warnings(v, reasons)
        print_line(f"  {v.name:18s} {size:5.1f} MB  {'; '.join(facts)}", 29)
    for number, reason in enumerate(reasons, start=1):
        print_line(f"  [{number}] the chip itself has not run these yet: {reason}", 4)
    for line in _left_out(provenance.get("refused")):
        print_line(f"  {line}")
    click.echo("On this machine:")
    for sentence in try_variants(opened.path):
        print_line(f"  {_short(sentence, 2000)}")


def _check_models(bundle: fer_edge.Bundle) -> None:
    """Check what the models refer to. One that cannot be read is the engine's to refuse."""
    for variant in bundle.variants:
        with contextlib.suppress(EngineError):
            bundle.read(variant)


def _model(bundle: fer_edge.Bundle) -> str:
    day = f", of {bundle.created}" if bundle.created else ""
    return f"{bundle.name or 'without a name'}, version {bundle.version}{day}"


def _signed_by(signers: list[str]) -> str:
    if not signers:
        return "nobody"
    return f"{', '.join(signers)} (not verified; see fer-edge verify)"


def _figures(report: ParityReport) -> str:
    figures = (
        f"agreement {report.agreement:.2%}, accuracy {report.accuracy:.2%} "
        f"({100 * report.accuracy_change:+.2f}) on {report.faces.faces:,} faces"
    )
    if report.judgement is None or report.undecided:  # the warning has the undecided verdict
        return figures
    answered = [c for c in report.judgement.checks if c.name == "answered_agreement"]
    return "; ".join([f"{report.judgement.verdict}: {figures}", *map(str, answered)])


def _warnings(variant: fer_edge.Variant, reasons: list[str]) -> list[str]:
    """Return the points that a report leaves open.

    The reason for a stand-in is one of the notes below.
    """
    report = variant.parity
    if report is None or report.judged_by is None:
        return [variant.warning] if variant.warning else []
    doubt = None if report.judgement is None else report.judgement.warning
    reason = printable(report.judged_by.reason)
    if reason not in reasons:
        reasons.append(reason)
    verified = f"verified by {report.judged_by.judge} [{reasons.index(reason) + 1}]"
    return [printable(text) for text in (doubt, verified) if text]


def _left_out(refused: Any) -> list[str]:
    """Describe refused variants; provenance is free-form, so other entries are skipped."""
    lines = []
    for name, entry in refused.items() if isinstance(refused, dict) else ():
        with contextlib.suppress(ValueError):
            reason = RefusedVariant.parse(entry).reason
            lines.append(f"{_short(name)} was tried and left out: {_short(reason, 500)}")
    return lines


def _short(value: object, most: int = 100) -> str:
    """Return an untrusted value as one line without control characters."""
    return printable(value[:most]) if isinstance(value, str) else shown(value)
