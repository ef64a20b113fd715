"""``fer-edge push``."""

from __future__ import annotations

from pathlib import Path

import click

from fer_edge.cli.options import json_option, print_json, quiet_option
from fer_edge.shipped import bundle_path


@click.command()
@click.argument("path", type=bundle_path, metavar="MODEL")
@click.argument("repo", metavar="OWNER/NAME")
@click.option(
    "--licence",
    metavar="NAME",
    help="State this licence of the weights, as the Hub names it, e.g. mit (default: the one in "
    "the model's card).",
)
@click.option("--private", is_flag=True, help="Create a private repository.")
@click.option("--revision", metavar="BRANCH", help="Push to this branch (default: main).")
@click.option("--message", metavar="TEXT", help="Set the first line of the commit.")
@quiet_option
@json_option
def push(
    path: Path,
    repo: str,
    licence: str | None,
    private: bool,
    revision: str | None,
    message: str | None,
    as_json: bool,
) -> None:
    """Push a bundle or a checkpoint to the Hugging Face Hub.

    \b
    Example: fer-edge push driver.fer OWNER/driver --licence cc-by-nc-4.0

    MODEL is a bundle, a checkpoint folder, or a shipped model, default or fast. It is checked
    first, and pushed as one commit, with a model card unless the repository has its own. Log in
    with 'hf auth login' or HF_TOKEN. Needs fer-edge[hub].
    """
    from fer_edge.hub import push
    from fer_edge.progress_bar import progress

    with progress() as (_, step):
        result = push(
            path,
            repo,
            licence=licence,
            private=private,
            revision=revision,
            message=message,
            step=step,
        )
    if as_json:
        print_json({**vars(result), "path": str(result.path)})
        return
    click.echo(
        f"{repo}: pushed the {result.kind} {path}, {result.files} files, "
        f"{result.size / 1e6:.1f} MB, commit {result.revision}"
    )
