"""``fer-edge sign``."""

from __future__ import annotations

import hashlib
from pathlib import Path

import click

import fer_edge
from fer_edge.bundle import MANIFEST
from fer_edge.cli.options import PATH, quiet_option
from fer_edge.errors import BundleError
from fer_edge.lock import locked
from fer_edge.paths import absolute
from fer_edge.shipped import bundle_path


@click.command()
@click.argument("bundle", type=bundle_path)
@click.option(
    "--key", type=PATH, required=True, metavar="FILE", help="Sign with this private key, NAME.key."
)
@quiet_option
def sign(bundle: Path, key: Path) -> None:
    """Sign a bundle, so that a car can tell whose it is.

    \b
    Example: fer-edge sign driver.fer --key fleet-2026.key

    The bundle is checked first. A signature of the same key is replaced, others stay. A bundle
    that is converted again, or gets another variant, must be signed again.
    """
    from fer_edge.signing import add_signature, sign_manifest

    try:
        with locked(absolute(bundle)):
            signature = sign_manifest(_checked_manifest(bundle), key)
            add_signature(bundle, signature)
    except OSError as error:
        raise BundleError(
            f"cannot write to {bundle}: {error.strerror}. Sign a copy in another folder"
        ) from error
    click.echo(f"{bundle}: signed by {signature.key_id}")


def _checked_manifest(bundle: Path) -> bytes:
    """Return the manifest of a bundle that was just checked. Raises BundleError."""
    opened = fer_edge.open_bundle(bundle)
    for variant in opened.variants:
        opened.read(variant)  # checks what the models refer to
    manifest = (bundle / MANIFEST).read_bytes()
    if hashlib.sha256(manifest).hexdigest() != opened.sha256:
        raise BundleError(f"{bundle} changed while it was read. Sign it again")
    return manifest
