"""``fer-edge pull``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from fer_edge.cli.options import PATH, json_option, out_option, print_json, quiet_option


@click.command()
@click.argument("repo", metavar="OWNER/NAME")
@out_option("Write the model to this folder; a bundle's name ends in .fer.", required=True)
@click.option(
    "--kind",
    type=click.Choice(["bundle", "checkpoint"]),
    help="Pull the bundle or the checkpoint of a repository that holds both (default: by the name "
    "of -o).",
)
@click.option(
    "--revision",
    metavar="REVISION",
    help="Pull this commit, tag or branch (default: the main branch).",
)
@click.option(
    "--trusted-key",
    "trusted_keys",
    type=PATH,
    multiple=True,
    metavar="FILE",
    help="Accept only a bundle that this public key, NAME.pub, signed. Repeatable.",
)
@quiet_option
@json_option
def pull(
    repo: str,
    out: Path,
    kind: Any,
    revision: str | None,
    trusted_keys: tuple[Path, ...],
    as_json: bool,
) -> None:
    """Pull a bundle or a checkpoint from the Hugging Face Hub.

    \b
    Example: fer-edge pull OWNER/driver -o driver.fer --trusted-key fleet-2026.pub

    All files are checked before the folder is put in place: hashes, manifest, and the signature
    if a key is given. The commit is printed; --revision COMMIT pulls the same files again. Needs
    fer-edge[hub], and fer-edge[train] for a checkpoint.
    """
    from fer_edge.hub import pull
    from fer_edge.progress_bar import progress

    with progress() as (_, step):
        result = pull(
            repo,
            out,
            kind=kind,
            revision=revision,
            trusted_keys=trusted_keys or None,
            step=step,
        )
    if as_json:
        print_json({**vars(result), "path": str(result.path)})
        return
    signed = f", signed by {result.signed_by}" if result.signed_by else ""
    click.echo(
        f"{out}: {result.kind} of {repo}, {result.files} files, {result.size / 1e6:.1f} MB, all "
        f"hashes match{signed}"
    )
    click.echo(f"Commit {result.revision}. The same files again: --revision {result.revision}")
