"""``fer-edge live``."""

from __future__ import annotations

import os
import sys
import threading
from pathlib import Path

import click

import fer_edge
from fer_edge.cli.options import (
    bundle_option,
    detector_option,
    quiet_option,
    threads_option,
    trusted_key_option,
    variant_options,
)
from fer_edge.cli.serve import open_detector, run_service

_HOST = "127.0.0.1"
"""The page is for this machine alone; browsers allow a webcam there without HTTPS."""


@click.command()
@bundle_option
@variant_options
@threads_option
@detector_option
@trusted_key_option
@click.option(
    "--port",
    default=0,
    type=click.IntRange(0, 65535),
    metavar="PORT",
    help="Listen on this port (default: a free one).",
)
@click.option("--no-browser", is_flag=True, help="Print the address; open no browser.")
@quiet_option
def live(
    bundle: Path | None,
    target: str | None,
    precision: str | None,
    threads: int | None,
    detector: Path | None,
    trusted_keys: tuple[Path, ...],
    port: int,
    no_browser: bool,
) -> None:
    """Watch expressions from the webcam in the browser.

    \b
    Example: fer-edge live
             fer-edge live --bundle driver.fer --no-browser

    Opens a page that starts the webcam, once the browser's question is answered. Frames go to
    this machine only, which keeps and logs none. Without a browser, the address is printed: open
    it yourself. Ctrl-C or SIGTERM ends it with exit code 0.
    """
    from fer_edge.service.limits import ServiceLimits

    with fer_edge.Predictor(
        bundle, target, precision, threads=threads, trusted_keys=trusted_keys or None
    ) as predictor:
        run_service(
            predictor,
            open_detector(detector, crop=False),
            _HOST,
            port,
            ServiceLimits(),
            opened=lambda address: _announce(f"{address}/#webcam", browse=not no_browser),
        )


def _announce(page: str, *, browse: bool) -> None:
    click.echo(f"Open {page} in a browser. End with Ctrl-C.", err=True)
    if browse:
        # Some browsers are waited for, and the service would never begin.
        threading.Thread(target=_open, args=(page,), name="fer-edge-browser", daemon=True).start()


def _open(page: str) -> None:
    import webbrowser  # rarely needed

    try:
        opened = _has_screen() and webbrowser.open(page)
    except (OSError, webbrowser.Error):  # named in BROWSER, and not there
        opened = False
    if not opened:
        click.echo("No browser could be opened here. Open the address yourself.", err=True)


def _has_screen() -> bool:
    """Return False where only a browser in the terminal could open: it shows no webcam."""
    named = ("DISPLAY", "WAYLAND_DISPLAY", "BROWSER")
    return sys.platform in ("darwin", "win32") or any(map(os.environ.get, named))
