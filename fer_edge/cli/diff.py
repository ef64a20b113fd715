"""``fer-edge diff``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

import fer_edge
from fer_edge.cli.options import json_option, print_json, quiet_option
from fer_edge.errors import LimitError
from fer_edge.shipped import bundle_path


@click.command()
@click.argument("old", type=bundle_path)
@click.argument("new", type=bundle_path)
@quiet_option
@json_option
def diff(old: Path, new: Path, as_json: bool) -> None:
    """Compare two bundles: what changes for the car.

    \b
    Example: fer-edge diff driver-2.fer driver-3.fer

    Compared are labels, crop, thresholds, variants and their order, files, parity figures, size,
    data and licences; name, version and date are shown. The exit code is 0 if nothing else
    differs, and 8 if something does.
    """
    from fer_edge.bundle_diff import changes

    bundles = fer_edge.open_bundle(old), fer_edge.open_bundle(new)
    found = changes(*bundles)
    if as_json:
        about = {name: _about(bundle) for name, bundle in zip(("old", "new"), bundles, strict=True)}
        print_json({**about, "same": not found, "changes": [change.as_dict() for change in found]})
    else:
        for sign, bundle in zip("-+", bundles, strict=True):
            facts = _about(bundle)
            click.echo(
                f"{sign} {bundle.path}: {facts['name'] or 'without a name'}, version "
                f"{facts['version']}, {facts['created'] or 'no date'}, {facts['sha256'][:12]}"
            )
        for change in found:
            click.echo(f"  {change}")
        if not found:
            click.echo("  nothing changes for the car")
    if found:
        click.get_current_context().exit(LimitError.exit_code)


def _about(bundle: fer_edge.Bundle) -> dict[str, Any]:
    return {
        "path": str(bundle.path),
        "name": bundle.name,
        "version": bundle.version,
        "created": bundle.created,
        "sha256": bundle.sha256,
    }
