"""Connections that stall: upgrades, writes that nobody reads, floods of small pieces."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

from fer_edge.service.limits import FrameRate

KEY = b"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n"
VERSION = b"Sec-WebSocket-Version: 13\r\n"
GOOD = KEY + VERSION
UPGRADES = {
    "body": GOOD + b"Content-Length: 1\r\n",
    "chunked body": GOOD + b"Transfer-Encoding: chunked\r\n",
    "long line": GOOD + b"X-Long: " + b"a" * 9000 + b"\r\n",
    "many headers": GOOD + b"".join(b"X-%d: a\r\n" % n for n in range(140)),
    "no key": VERSION,
    "two keys": GOOD + KEY,
    "bad key": b"Sec-WebSocket-Key: a\r\n" + VERSION,
    "no version": KEY,
    "bad version": KEY + b"Sec-WebSocket-Version: 99\r\n",
}
PING = b"\x89\xfd" + b"\0" * 4 + b"p" * 125
EMPTY_BINARY, EMPTY_CONTINUATION = b"\x02\x80" + b"\0" * 4, b"\x00\x80" + b"\0" * 4


def upgrade(headers: bytes = GOOD, *, first: bytes = b"GET /live HTTP/1.1") -> bytes:
    return (
        first
        + b"\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        + headers
        + b"\r\n"
    )


def dial(server: Any) -> socket.socket:
    connection = socket.create_connection(("127.0.0.1", server.port))
    connection.settimeout(30)
    return connection


def rest(connection: socket.socket) -> bytes:
    """Return what comes until the server closes; fail if it does not."""
    received = b""
    with contextlib.suppress(ConnectionResetError, BrokenPipeError):
        while data := connection.recv(65536):
            received += data
    return received


def ends_well(server: Any) -> None:
    """Check that the server answers, and ends with 0 and an empty log."""
    assert httpx.get(f"{server.base}/healthz", timeout=30).status_code == 200
    server.process.send_signal(signal.SIGTERM)
    assert server.process.wait(60) == 0
    assert server.process.stdout.read() == ""


@pytest.fixture
def server(launch_fake: Any) -> Iterator[Any]:
    with launch_fake(write_s=1.0, connections=100) as server:
        yield server


@pytest.mark.parametrize("kind", UPGRADES)
def test_an_upgrade_that_cannot_be_accepted_is_refused_at_once(server: Any, kind: str) -> None:
    with dial(server) as connection:
        connection.sendall(upgrade(UPGRADES[kind]))
        answer = rest(connection)
    assert answer.startswith(b"HTTP/1.1 400 ")
    assert b"content-security-policy" in answer.lower()
    assert b'{"error":' in answer
    ends_well(server)


def test_an_accepted_upgrade_has_the_security_headers(server: Any) -> None:
    with dial(server) as connection:
        connection.sendall(upgrade())
        head = b""
        while b"\r\n\r\n" not in head:
            head += connection.recv(65536)
    assert head.startswith(b"HTTP/1.1 101 ")
    for name in (b"content-security-policy", b"x-content-type-options", b"cache-control"):
        assert head.lower().count(name + b":") == 1


def test_an_upgrade_of_http_1_0_or_with_post_is_refused(server: Any) -> None:
    for first in (b"GET /live HTTP/1.0", b"POST /live HTTP/1.1"):
        with dial(server) as connection:
            connection.sendall(upgrade(first=first))
            assert rest(connection).startswith(b"HTTP/1.1 400 ")


def test_upgrades_that_are_refused_leave_their_connections_free(server: Any) -> None:
    """More than the server has connections, held open by their clients, of every kind."""
    with contextlib.ExitStack() as stack:
        for number in range(150):
            connection = stack.enter_context(dial(server))
            connection.sendall(upgrade(list(UPGRADES.values())[number % len(UPGRADES)]))
            rest(connection)
        ends_well(server)


def test_an_upgrade_without_an_end_of_its_head_is_closed(launch_fake: Any) -> None:
    with launch_fake(head_s=0.5) as server, dial(server) as connection:
        connection.sendall(upgrade()[:-2])
        assert rest(connection) == b""
        ends_well(server)


def test_an_end_with_half_open_upgrades_is_0(server: Any) -> None:
    with contextlib.ExitStack() as stack:
        for headers in UPGRADES.values():
            stack.enter_context(dial(server)).sendall(upgrade(headers))
        stack.enter_context(dial(server)).sendall(upgrade()[:-2])
        ends_well(server)


def test_a_websocket_at_another_path_is_a_404(server: Any) -> None:
    with dial(server) as connection:
        connection.sendall(upgrade(first=b"GET /nothing HTTP/1.1"))
        answer = rest(connection)
    assert answer.startswith(b"HTTP/1.1 404 ")
    assert b"/docs" in answer


# --- clients that do not read --------------------------------------------------------------------


def flood(connection: socket.socket, data: bytes, most_bytes: int) -> int:
    """Send without reading until the server closes; return the bytes sent."""
    sent = 0
    connection.settimeout(0.2)
    end = time.monotonic() + 30
    while sent < most_bytes and time.monotonic() < end:
        try:
            sent += connection.send(data)
        except TimeoutError:
            continue
        except (ConnectionResetError, BrokenPipeError):
            return sent
    assert sent >= most_bytes, "the server kept a client that does not read"
    return sent


@pytest.mark.parametrize("path", ["/openapi.json", "/static/page.js", "/info", "/nothing"])
def test_who_does_not_read_its_answers_is_dropped(launch_fake: Any, path: str) -> None:
    """Before the token and on every path: pipelined requests, and no answer is taken."""
    request = f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".encode() * 200
    with launch_fake(write_s=0.5, token="secret") as server, contextlib.ExitStack() as stack:
        greedy = [stack.enter_context(dial(server)) for _ in range(3)]
        for connection in greedy:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            flood(connection, request, 64 * 1024 * 1024)
            assert httpx.get(f"{server.base}/healthz", timeout=30).status_code == 200
        ends_well(server)


def test_pings_whose_answers_nobody_reads_end_the_connection(launch_fake: Any) -> None:
    with launch_fake(write_s=0.5, frames_hz=1e9) as server:
        before = resident(server)
        with dial(server) as connection:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            connection.sendall(upgrade())
            flood(connection, PING * 500, 256 * 1024 * 1024)
        assert resident(server) - before < 16 * 2**20
        ends_well(server)


def resident(server: Any) -> int:
    """Return the bytes that the server holds in memory."""
    pages = int(Path(f"/proc/{server.process.pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


# --- small pieces of a request -------------------------------------------------------------------

CHUNKED = (
    b"POST /predict HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: image/png\r\n"
    b"Transfer-Encoding: chunked\r\n\r\n"
)
TINY = b"1\r\nx\r\n"


@pytest.mark.parametrize(
    "request_bytes",
    [
        CHUNKED + TINY * 40_000,
        b"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\n" + b"a:\r\n" * 16_000 + b"\r\n",
        b"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\n" + b"a:\r\n" * 100 + b"\r\n",
        b"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\na:\r\n" + b" b\r\n" * 16_000 + b"\r\n",
        CHUNKED + TINY + b"0\r\n" + b"a:\r\n" * 16_000 + b"\r\n",
    ],
    ids=["chunks", "headers", "few headers too many", "folded headers", "trailer"],
)
def test_what_is_too_finely_divided_is_a_400(server: Any, request_bytes: bytes) -> None:
    with dial(server) as connection:
        connection.sendall(request_bytes)
        answer = rest(connection)
    assert answer.startswith(b"HTTP/1.1 400 ")
    assert b"at least 64 bytes on average at any point after the first 128 chunks" in answer
    ends_well(server)


def test_tiny_chunks_after_a_refusal_end_the_connection(launch_fake: Any) -> None:
    with launch_fake(token="secret", head_s=600) as server, dial(server) as connection:
        connection.sendall(CHUNKED)
        assert connection.recv(4096).startswith(b"HTTP/1.1 401 ")
        flood(connection, TINY * 10_000, 64 * 1024 * 1024)
        ends_well(server)


def test_a_picture_in_chunks_of_some_bytes_is_answered(server: Any, happy: bytes) -> None:
    parts = (happy[start : start + 64] for start in range(0, len(happy), 64))
    headers = {"Content-Type": "image/png", **{f"x-{number}": "a" for number in range(90)}}
    answer = httpx.post(f"{server.base}/predict", content=parts, headers=headers, timeout=30)
    assert answer.status_code == 200


# --- small frames --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "frame", [PING, EMPTY_CONTINUATION, b"\x8a\x80" + b"\0" * 4], ids=["PING", "empty", "PONG"]
)
def test_a_flood_of_small_frames_ends_the_connection(server: Any, frame: bytes) -> None:
    with dial(server) as connection:
        connection.sendall(upgrade())
        assert connection.recv(4096).startswith(b"HTTP/1.1 101 ")
        connection.sendall(EMPTY_BINARY)
        flood(connection, frame * 1000, 64 * 1024 * 1024)
    ends_well(server)


def test_a_message_has_at_most_so_many_fragments(launch_fake: Any) -> None:
    with (
        launch_fake(fragments=16) as server,
        connect(f"ws://127.0.0.1:{server.port}/live") as live,
    ):
        with contextlib.suppress(ConnectionClosed):  # the server may be the quicker one
            live.send([b"a"] * 17)
        with pytest.raises(ConnectionClosed):
            live.recv(timeout=30)
        assert live.protocol.close_code == 1008
        assert "fragments" in live.protocol.close_reason


def test_a_message_in_fragments_is_answered(server: Any, happy: bytes) -> None:
    with connect(f"ws://127.0.0.1:{server.port}/live") as live:
        live.send([happy[start : start + 100] for start in range(0, len(happy), 100)])
        assert '"frame":1' in str(live.recv(timeout=30))
        live.ping().wait(30)


def test_frames_beyond_the_rate_are_refused_and_come_back() -> None:
    now = [0.0]
    rate = FrameRate(10.0, clock=lambda: now[0])
    assert [rate.take() for _ in range(21)] == [True] * 20 + [False]
    now[0] = 0.1
    assert [rate.take() for _ in range(2)] == [True, False]
