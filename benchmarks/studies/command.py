"""A command of ``python -m fer_edge.benchmarks.NAME`` that ends as ``fer-edge`` does."""

from __future__ import annotations

from typing import Any

import click

from fer_edge import FerEdgeError


class Command(click.Command):
    """Turns our errors into a sentence and their exit code (``fer-edge --help`` lists them)."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except FerEdgeError as error:
            click.echo(f"{ctx.command.name}: {error}", err=True)
            ctx.exit(error.exit_code)
