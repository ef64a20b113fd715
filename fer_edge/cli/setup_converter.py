"""``fer-edge setup-converter``."""

from __future__ import annotations

import click

from fer_edge.cli.options import json_option, print_json, quiet_option


@click.command("setup-converter")
@click.argument("target", type=click.Choice(["litert"]))
@click.option(
    "--torch-index",
    metavar="URL",
    help="Install torch from this package index (default: the index that pip uses). On Linux, "
    "https://download.pytorch.org/whl/cpu has builds without CUDA, which are smaller.",
)
@quiet_option
@json_option
def setup_converter(target: str, torch_index: str | None, as_json: bool) -> None:
    """Install a target's converter, apart from fer-edge.

    \b
    Example: fer-edge setup-converter litert
             fer-edge convert default --target litert -o driver.fer

    LiteRT's converter brings a torch of its own, 2.1 GB in ~/.cache/fer_edge. Devices do not need
    it: they need pip install 'fer-edge[litert]'. An environment that is complete is kept.
    """
    from fer_edge.converters.litert_conversion.environment import PINS, default_folder, set_up
    from fer_edge.progress_bar import progress

    folder = default_folder()
    with progress() as (_, step):
        made = set_up(folder, torch_index, step)
    if as_json:
        print_json({"target": target, "path": str(folder), "made": made, "versions": list(PINS)})
    else:
        click.echo(f"{folder}: {'made and tried' if made else 'already there'}")
