"""``fer-edge serve``."""

from __future__ import annotations

import ipaddress
import os
from pathlib import Path

import click

import fer_edge
from fer_edge.errors import InputError


@click.command()
@click.option("--bundle", type=click.Path(path_type=Path), help="A .fer folder [shipped model].")
@click.option("--target", help="Run this target and no other.")
@click.option("--precision", help="Run this precision and no other.")
@click.option("--threads", type=click.IntRange(1), help="CPU threads of the engine [all cores].")
@click.option("--detector", type=click.Path(path_type=Path), metavar="FILE",
              help="YuNet's ONNX file [none: each whole picture is one face].")  # fmt: skip
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option("--port", default=8000, show_default=True, type=click.IntRange(0, 65535))
@click.option("--allow-host", "hosts", multiple=True, metavar="NAME",
              help="A name by which clients reach it; may be repeated.")  # fmt: skip
@click.option("--token", envvar="FER_EDGE_TOKEN", show_envvar=True,
              help="Clients have to know it. Others see command lines.")  # fmt: skip
@click.option("--rate", type=click.FloatRange(0, min_open=True), default=30.0, show_default=True,
              help="Requests of one client per second.")  # fmt: skip
@click.option("--max-mib", type=click.IntRange(1), default=8, show_default=True,
              help="Of one request.")  # fmt: skip
@click.option("--max-megapixels", type=click.IntRange(1, 64), default=25, show_default=True,
              help="Of one picture.")  # fmt: skip
def serve(
    bundle: Path | None,
    target: str | None,
    precision: str | None,
    threads: int | None,
    detector: Path | None,
    host: str,
    port: int,
    hosts: tuple[str, ...],
    token: str | None,
    rate: float,
    max_mib: int,
    max_megapixels: int,
) -> None:
    """Answer pictures and live frames over HTTP, with a page to try it.

    \b
    Example: fer-edge serve --detector yunet.onnx    # from: fer-edge detector fetch -o yunet.onnx
    Then open http://127.0.0.1:8000, or: curl -F image=@driver.jpg http://127.0.0.1:8000/predict
    Ends on Ctrl-C or SIGTERM with 0, after what is under way was answered.
    """
    from fer_edge.monitor import YuNet
    from fer_edge.service.app import create_app
    from fer_edge.service.limits import ServiceLimits
    from fer_edge.service.server import serve as work

    if os.environ.get("FER_EDGE_TOKEN") == "" and token is None:
        raise InputError("FER_EDGE_TOKEN is set and empty. Give it a token, or unset it")
    limits = ServiceLimits(
        body_bytes=max_mib << 20,
        pixels=max_megapixels * 1_000_000,
        rate_hz=rate,
        burst=max(1, round(2 * rate)),
    )
    with fer_edge.Predictor(bundle, target, precision, threads=threads) as predictor:
        predictor.warm_up((1, 2, 4, 8))
        finder = None if detector is None else YuNet(detector, width_px=640)
        app = create_app(predictor, finder, token=token, hosts=hosts, limits=limits)

        def ready(address: str) -> None:
            faces = "each whole picture is one face" if finder is None else "faces by YuNet"
            click.echo(f"{address}  ({predictor.variant.name}, {faces})", err=True)
            if token is None and not _is_loopback(host):
                click.echo("Without a token, everybody who reaches this port may use it.", err=True)

        work(app, host, port, limits, ready=ready)


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
