"""``fer-edge doctor``."""

from __future__ import annotations

import click

from fer_edge.cli.options import json_option, print_json, print_line, quiet_option


@click.command()
@quiet_option
@json_option
def doctor(as_json: bool) -> None:
    """Report what runs here, and how to install what is missing.

    Example: fer-edge doctor
    """
    from fer_edge.doctor import diagnose

    report = diagnose()
    if as_json:
        print_json(report)
        return
    for part, finding in report["parts"].items():
        mark = "ok " if finding["ok"] else "-- "
        print_line(f"{mark}{part:12s} {finding['says']}", 16)
    click.echo("\nThe shipped model on this machine:")
    for line in report["default_model"]:
        print_line(f"  {line}")
