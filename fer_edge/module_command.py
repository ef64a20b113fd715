"""Command line of a module: ``python -m fer_edge.training.average``."""

from __future__ import annotations

from typing import Any

import click

from fer_edge.errors import FerEdgeError


class ModuleCommand(click.Command):
    """Command that ends like ``fer-edge``.

    An error of fer_edge gives one sentence and its exit code.
    """

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command."""
        try:
            return super().invoke(ctx)
        except FerEdgeError as error:
            click.echo(f"{ctx.command.name}: {error}", err=True)
            ctx.exit(error.exit_code)
