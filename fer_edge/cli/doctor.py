"""``fer-edge doctor``."""

from __future__ import annotations

import click

from fer_edge.cli.options import print_json


@click.command()
@click.option("--json", "as_json", is_flag=True, help="JSON on standard output.")
def doctor(as_json: bool) -> None:
    """Say what can run here, what is missing, and the line that installs it.

    Example: fer-edge doctor
    """
    from fer_edge.doctor import diagnose

    report = diagnose()
    if as_json:
        print_json(report)
        return
    for part, finding in report["parts"].items():
        mark = "ok " if finding["ok"] else "-- "
        click.echo(f"{mark}{part:24s} {finding['says']}")
    click.echo("\nThe shipped model here:")
    for line in report["default_model"]:
        click.echo(f"  {line}")
