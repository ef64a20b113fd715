"""Server process: socket, time-outs, and an orderly end."""

from __future__ import annotations

import logging
import os
import signal
import socket
import sys
from collections.abc import Callable
from typing import NoReturn

import uvicorn
from starlette.types import ASGIApp

from fer_edge.errors import InputError
from fer_edge.opencv_log import silence_opencv
from fer_edge.service.limits import ServiceLimits
from fer_edge.service.protocol import http_protocol

log = logging.getLogger("fer_edge.service")
_SEND_BUFFER_BYTES = 64 * 1024
"""Bytes that the kernel holds for each connection until its client reads them."""


def serve(
    app: ASGIApp,
    host: str,
    port: int,
    limits: ServiceLimits,
    *,
    ready: Callable[[str], None],
) -> None:
    """Serve until SIGINT or SIGTERM, answer the requests under way, and return.

    Args:
        app: The application of ``create_app``.
        host: Address to listen on.
        port: Port to listen on; 0 takes a free one.
        limits: Limits of clients.
        ready: Called with the server's address once it listens.

    Raises:
        InputError: The server cannot listen on the address.
    """
    with listen(host, port) as listener:
        config = uvicorn.Config(
            app,
            http=http_protocol(limits),  # opens WebSockets as well
            ws="none",
            timeout_graceful_shutdown=max(1, round(limits.drain_s)),
            log_level="error",
            access_log=False,
            lifespan="on",
            server_header=False,
            proxy_headers=False,  # clients could fake their address with a header
        )
        config.load()
        # They log faulty requests: clients must not be able to fill the log.
        silence_opencv()
        logging.getLogger("python_multipart").setLevel(logging.CRITICAL)
        server = uvicorn.Server(config)
        # Install the handlers before start-up so that no signal is lost. uvicorn re-raises the
        # signal on exit; these handlers make that a no-op.
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, server.handle_exit)
        name = f"[{host}]" if ":" in host else host
        ready(f"http://{name}:{listener.getsockname()[1]}")
        server.run([listener])
    recogniser = getattr(getattr(app, "state", None), "recogniser", None)
    if recogniser is not None and recogniser.busy:
        _end_process(limits.drain_s)


def _end_process(drain_s: float) -> NoReturn:
    """End the process although a thread still works: closing the engine would wait for it."""
    log.warning(
        "a thread was still busy %g s after the end of the service; it was cut off", drain_s
    )
    logging.shutdown()
    for stream in (sys.stdout, sys.stderr):
        if stream is not None:  # closed before the start
            stream.flush()
    os._exit(0)


def listen(host: str, port: int) -> socket.socket:
    """Open a socket whose connections send without delay.

    Raises:
        InputError: The address is empty, invalid or in use.
    """
    if not host:  # the socket module would take it as all networks
        raise InputError(
            "expected an address to listen on, got none. Choose --host 127.0.0.1 for this machine "
            "alone, or --host 0.0.0.0 for all its networks"
        )
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        listener = socket.create_server((host, port), family=family, backlog=2048)
        # asyncio sets it only on sockets that name their protocol, and these do not. Without it an
        # answer on a kept connection waits 40 ms for the client's acknowledgement.
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        # The kernel would hold 4 MiB for each client that does not read. Answers are small.
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SEND_BUFFER_BYTES)
        return listener
    # The socket module encodes the name: it raises TypeError and ValueError for what it cannot.
    except (OSError, OverflowError, TypeError, ValueError) as error:
        raise InputError(
            f"cannot listen on {host} port {port}: {error}. Choose others with --host and --port"
        ) from error
