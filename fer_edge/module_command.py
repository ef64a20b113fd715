"""Command line of a module: ``python -m fer_edge.training.average``."""

from __future__ import annotations

import errno
import io
import os
import sys
from typing import Any

import click

from fer_edge.errors import INTERRUPTED, FerEdgeError, InputError, refused_path
from fer_edge.libraries import broken_library, failed_start
from fer_edge.standard_streams import open_missing


class ModuleCommand(click.Command):
    """Command that ends like ``fer-edge``.

    An error of fer_edge, a path that the system refuses, a library that cannot be imported, a full
    disk behind the output, or Ctrl-C gives one sentence and an exit code.
    """

    def main(self, *args: Any, **more: Any) -> Any:
        """Run the command line."""
        open_missing()
        try:
            return super().main(*args, **more)
        except OSError as error:
            if error.errno != errno.ENOSPC:
                raise
            # Python writes what is left once more as it ends.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            full = "cannot write the output: the disk is full. Free some"
            click.echo(f"{self.name}: {full}", err=True)
            sys.exit(InputError.exit_code)

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command."""
        for stream in (sys.stdout, sys.stderr):
            if isinstance(stream, io.TextIOWrapper):  # a code page may lack a bar or a label
                stream.reconfigure(errors="replace")
        try:
            result = super().invoke(ctx)
            sys.stdout.flush()  # a full disk shows here, and not after the last line of Python
            return result
        except Exception as error:
            end = self.ending(ctx, error)
            if end is None:
                raise
            click.echo(f"{self.name}: {end}", err=True)
            ctx.exit(end.exit_code)
        except KeyboardInterrupt:
            click.echo(f"{self.name}: {self.interrupted(ctx)}", err=True)
            ctx.exit(INTERRUPTED)

    def ending(self, ctx: click.Context, error: Exception) -> FerEdgeError | None:
        """Return the sentence and exit code for a failure; None leaves the traceback."""
        if isinstance(error, FerEdgeError):
            return error
        if isinstance(error, OSError) and (refused := refused_path(error)):
            return refused
        if isinstance(error, ValueError) and (wrong := failed_start(error)):
            return wrong
        return broken_library(error)

    def interrupted(self, ctx: click.Context) -> str:
        """Return what to print after Ctrl-C."""
        return "interrupted"
