"""Command line of a module: ``python -m fer_edge.training.average``."""

from __future__ import annotations

from typing import Any

import click

from fer_edge.errors import INTERRUPTED, FerEdgeError, refused_path
from fer_edge.standard_streams import open_missing


class ModuleCommand(click.Command):
    """Command that ends like ``fer-edge``.

    An error of fer_edge, a path that the system refuses, or Ctrl-C gives one sentence and an exit
    code.
    """

    def main(self, *args: Any, **more: Any) -> Any:
        """Run the command line."""
        open_missing()
        return super().main(*args, **more)

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command."""
        try:
            return super().invoke(ctx)
        except FerEdgeError as error:
            self._end(ctx, error)
        except OSError as error:
            refused = refused_path(error)
            if refused is None:
                raise
            self._end(ctx, refused)
        except KeyboardInterrupt:
            click.echo(f"{self.name}: interrupted", err=True)
            ctx.exit(INTERRUPTED)

    def _end(self, ctx: click.Context, error: FerEdgeError) -> None:
        click.echo(f"{self.name}: {error}", err=True)
        ctx.exit(error.exit_code)
