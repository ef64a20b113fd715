"""``fer-edge keygen``."""

from __future__ import annotations

from pathlib import Path

import click

from fer_edge.cli.options import PATH, quiet_option
from fer_edge.errors import InputError


@click.command()
@click.argument("name", type=PATH)
@quiet_option
def keygen(name: Path) -> None:
    """Make a key pair to sign bundles with: NAME.key, NAME.pub.

    \b
    Example: fer-edge keygen fleet-2026

    Keep NAME.key secret; it signs. NAME.pub goes into the car and verifies.
    """
    from fer_edge.signing import new_key_pair

    if name.name in ("", ".."):
        raise InputError(f"expected a name for two files, got {name}. Run: fer-edge keygen fleet")
    private = name.with_name(f"{name.name}.key")
    public = name.with_name(f"{name.name}.pub")
    if not name.parent.is_dir():
        raise InputError(f"expected the folder {name.parent}, found none. Create it first")
    key_id = new_key_pair(private, public)
    click.echo(f"{private}: the private key. Keep it secret, and keep a copy")
    click.echo(f"{public}: the public key {key_id}, for trusted_keys and fer-edge verify")
