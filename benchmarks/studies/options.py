"""Command-line options of several studies."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from fer_edge.monitor import WholeFrame
from fer_edge.shipped import bundle_path

Decorated = Callable[..., Any]
PATH = click.Path(path_type=Path)


bundle_option = click.option(
    "--bundle",
    type=bundle_path,
    metavar="FOLDER",
    help="Measure this bundle (default: the shipped one).",
)
json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


def print_report(report: Any, as_json: bool, text: str) -> None:
    """Print a study's report as JSON, in which NaN and infinity are errors, or as text."""
    click.echo(json.dumps(report, indent=1, allow_nan=False) if as_json else text)


def chosen_detector(file: Path | None, whole_frame: bool) -> WholeFrame | Path | None:
    """Return what finds the faces; None means the monitor's own. Raises UsageError for both."""
    if whole_frame and file is not None:
        raise click.UsageError("expected --detector or --whole-frame, got both")
    return WholeFrame() if whole_frame else file


def monitor_options(command: Decorated) -> Decorated:
    """Add the argument CLIP and the options of its monitor."""
    for option in (
        click.option("--whole-frame", is_flag=True, help="Take each frame as one face."),
        click.option("--detector", type=PATH, metavar="FILE", help="Detect faces with this YuNet."),
        bundle_option,
        click.argument("clip", type=PATH),
    ):
        command = option(command)
    return command
