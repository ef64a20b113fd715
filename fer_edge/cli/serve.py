"""``fer-edge serve``."""

from __future__ import annotations

import ipaddress
import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

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
from fer_edge.errors import InputError
from fer_edge.option_types import FiniteRange

if TYPE_CHECKING:
    from fer_edge.monitor import Detector
    from fer_edge.service.limits import ServiceLimits

WARM_UP_BATCHES = (1, 2, 4, 8)
"""Faces per call that the engine runs once before the first request."""


@click.command()
@bundle_option
@variant_options
@threads_option
@detector_option
@click.option("--crop", is_flag=True, help="Take each complete image as one face; use no detector.")
@trusted_key_option
@click.option("--host", default="127.0.0.1", show_default=True, help="Listen on this address.")
@click.option(
    "--port",
    default=8000,
    show_default=True,
    type=click.IntRange(0, 65535),
    metavar="PORT",
    help="Listen on this port; 0 takes a free one.",
)
@click.option(
    "--allow-host",
    "hosts",
    multiple=True,
    metavar="NAME",
    help="Accept requests for this host name as well. Repeatable.",
)
@click.option(
    "--allow-origin",
    "origins",
    multiple=True,
    metavar="ORIGIN",
    help="Answer pages of this site as well, for example http://localhost:3000. Repeatable.",
)
@click.option(
    "--token",
    envvar="FER_EDGE_TOKEN",
    show_envvar=True,
    help="Require this bearer token. Prefer FER_EDGE_TOKEN: command lines are visible "
    "to other users.",
)
@click.option(
    "--rate",
    type=FiniteRange(0, min_open=True),
    default=30.0,
    show_default=True,
    metavar="HZ",
    help="Accept this many requests per second from one client.",
)
@click.option(
    "--max-mib",
    type=click.IntRange(1),
    default=8,
    show_default=True,
    metavar="MIB",
    help="Refuse larger requests.",
)
@click.option(
    "--max-megapixels",
    type=click.IntRange(1, 64),
    default=25,
    show_default=True,
    metavar="MP",
    help="Refuse larger images, at most 64.",
)
@quiet_option
def serve(
    bundle: Path | None,
    target: str | None,
    precision: str | None,
    threads: int | None,
    detector: Path | None,
    crop: bool,
    trusted_keys: tuple[Path, ...],
    host: str,
    port: int,
    hosts: tuple[str, ...],
    origins: tuple[str, ...],
    token: str | None,
    rate: float,
    max_mib: int,
    max_megapixels: int,
) -> None:
    """Serve predictions over HTTP, with a page to try them.

    \b
    Example: fer-edge serve

    \b
    Set up once with: pip install 'fer-edge[serve,detect]'
    Open http://127.0.0.1:8000, or send an image:
      curl -F image=@driver.jpg http://127.0.0.1:8000/predict

    Ctrl-C or SIGTERM ends the service with exit code 0, after requests under way are answered.
    Ctrl-C before the address is printed ends it with 130.
    """
    from fer_edge.service.limits import ServiceLimits

    if crop and detector is not None:
        raise click.UsageError("expected --crop or --detector, got both")
    if os.environ.get("FER_EDGE_TOKEN") == "" and token is None:
        raise InputError("FER_EDGE_TOKEN is set but empty. Set it to a token, or unset it")
    limits = ServiceLimits(
        body_bytes=max_mib << 20,
        buffered_bytes=max(ServiceLimits.buffered_bytes, 2 * (max_mib << 20)),
        pixels=max_megapixels * 1_000_000,
        rate_hz=rate,
        burst=max(1, round(2 * rate)),
    )
    with fer_edge.Predictor(
        bundle, target, precision, threads=threads, trusted_keys=trusted_keys or None
    ) as predictor:
        run_service(
            predictor,
            open_detector(detector, crop),
            host,
            port,
            limits,
            token=token,
            hosts=hosts,
            origins=origins,
            whole=crop,
        )


def open_detector(file: Path | None, crop: bool) -> Detector | None:
    """Return the service's detector; None takes each complete image as one face."""
    from fer_edge.monitor import default_detector

    return None if crop else default_detector(file)


def run_service(
    predictor: fer_edge.Predictor,
    detector: Detector | None,
    host: str,
    port: int,
    limits: ServiceLimits,
    *,
    token: str | None = None,
    hosts: tuple[str, ...] = (),
    origins: tuple[str, ...] = (),
    whole: bool = False,
    opened: Callable[[str], object] = lambda address: None,
) -> None:
    """Serve until SIGINT or SIGTERM, and say on standard error what runs.

    Args:
        predictor: As for ``create_app``.
        detector: As for ``create_app``.
        host: Address to listen on.
        port: Port to listen on; 0 takes a free one.
        limits: Limits of clients.
        token: As for ``create_app``.
        hosts: As for ``create_app``.
        origins: As for ``create_app``.
        whole: The user asked for complete images as faces, so that None needs no advice.
        opened: Called with the server's address once it listens.
    """
    from fer_edge.monitor.detector_default import GET_ONE
    from fer_edge.service.app import create_app
    from fer_edge.service.server import serve as run_server

    predictor.warm_up(WARM_UP_BATCHES)
    app = create_app(predictor, detector, token=token, hosts=hosts, origins=origins, limits=limits)

    def ready(address: str) -> None:
        name = "each complete image is one face"
        if detector is not None:
            name = f"faces by {type(detector).__name__}"
        click.echo(f"{address}  ({predictor.variant.name}, {name})", err=True)
        if detector is None and not whole:
            click.echo(
                "No face detector is available: each complete image is taken as one face. "
                f"{GET_ONE}. Then start the service again.",
                err=True,
            )
        if token is None and not _is_loopback(host):
            click.echo(
                "No token is set: anyone who can reach this port can use the service. "
                "Set FER_EDGE_TOKEN to require one.",
                err=True,
            )
        opened(address)

    run_server(app, host, port, limits, ready=ready)


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
