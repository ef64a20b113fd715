"""``fer-edge verify``."""

from __future__ import annotations

from pathlib import Path

import click

import fer_edge
from fer_edge.cli.options import PATH, json_option, print_json, quiet_option
from fer_edge.shipped import bundle_path


@click.command()
@click.argument("bundle", type=bundle_path)
@click.option(
    "--trusted-key",
    "trusted_keys",
    type=PATH,
    multiple=True,
    required=True,
    metavar="FILE",
    help="Accept a signature of this public key, NAME.pub. Repeatable.",
)
@quiet_option
@json_option
def verify(bundle: Path, trusted_keys: tuple[Path, ...], as_json: bool) -> None:
    """Check that a trusted key signed a bundle and every file.

    \b
    Example: fer-edge verify driver.fer --trusted-key fleet-2026.pub

    The exit code is 4 if the bundle is unsigned, changed, or signed by other keys only.
    """
    opened = fer_edge.open_bundle(bundle, trusted_keys)
    for variant in opened.variants:
        opened.read(variant)  # checks what the models refer to
    if as_json:
        print_json(
            {
                "path": str(opened.path),
                "name": opened.name,
                "version": opened.version,
                "created": opened.created,
                "sha256": opened.sha256,
                "signed_by": opened.signed_by,
            }
        )
        return
    label = f"{opened.name or 'without a name'}, version {opened.version}"
    click.echo(f"{opened.path}: {label}, signed by {opened.signed_by}; all hashes match")
