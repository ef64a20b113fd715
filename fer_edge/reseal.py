"""Command that writes a bundle's ``manifest_sha256`` again after its manifest was edited.

    python -m fer_edge.reseal NAME.fer --bundle-version 2

The files of the bundle do not change. Signatures of the old manifest no longer fit.
"""

from __future__ import annotations

import json
from pathlib import Path

import click

from fer_edge.atomic import write_file
from fer_edge.bundle import MANIFEST, check_bundle
from fer_edge.bundle_files import MAX_MANIFEST_BYTES, read_manifest
from fer_edge.errors import BundleError, InputError
from fer_edge.json_check import read_mapping
from fer_edge.manifest import SEAL, read_json, sealed
from fer_edge.module_command import ModuleCommand
from fer_edge.paths import as_path


def reseal(bundle: Path, **changes: str) -> str:
    """Write the seal of a bundle's manifest again and return it.

    Args:
        bundle: Folder of the bundle.
        changes: New values for ``name``, ``version`` and ``created``.

    Raises:
        BundleError: The manifest cannot be read or written, or the bundle would not be accepted
            with the new one. The old manifest stays.
        InputError: A change has another name.
    """
    root = as_path(bundle, "the bundle")
    before = read_manifest(root)
    defaults = {"name": root.resolve().stem, "version": "0", "created": ""}
    for key in changes:
        if key not in defaults:
            raise InputError(f"expected changes of name, version and created, got {key!r}. Drop it")
    try:
        content = read_mapping(read_json(before), MANIFEST)
        facts = {key: content.pop(key, default) for key, default in defaults.items()}
        content = sealed({"schema": content.pop("schema", None), **facts, **changes, **content})
    except ValueError as error:
        raise BundleError(
            f"{root / MANIFEST} cannot be sealed: {error}. Correct it first"
        ) from error
    data = (json.dumps(content, indent=1) + "\n").encode()
    if len(data) > MAX_MANIFEST_BYTES:  # an editor may have written it without spaces
        raise BundleError(
            f"{root / MANIFEST} would have {len(data):,} bytes, and {MAX_MANIFEST_BYTES:,} are "
            "allowed. Shorten what was added to it"
        )
    check_bundle(root, data)
    try:
        write_file(root / MANIFEST, data)
    except OSError as error:
        raise BundleError(
            f"cannot write {root / MANIFEST}: {error.strerror}. Seal a copy in another folder"
        ) from error
    return str(content[SEAL])


@click.command("reseal", cls=ModuleCommand)
@click.argument("bundle", type=click.Path(path_type=Path))
@click.option("--name", metavar="TEXT", help="Set the name.")
@click.option("--bundle-version", "version", metavar="TEXT", help="Set the version.")
@click.option("--created", metavar="YYYY-MM-DD", help="Set the day.")
def main(bundle: Path, name: str | None, version: str | None, created: str | None) -> None:
    """Write a bundle's manifest_sha256 again after its manifest was edited."""
    changes = {"name": name, "version": version, "created": created}
    click.echo(reseal(bundle, **{k: v for k, v in changes.items() if v is not None}))


if __name__ == "__main__":
    main()
