"""A real server process: slow clients, floods, and the end."""

from __future__ import annotations

import asyncio
import contextlib
import json
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect

from fer_edge.cores import usable_cores
from fer_edge.errors import InputError
from fer_edge.service.limits import ServiceLimits
from fer_edge.service.server import listen, serve


def until(condition: Any, within_s: float = 20) -> None:
    end = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < end, "it did not come to that in time"
        time.sleep(0.02)


def closed(connection: socket.socket) -> bytes:
    """Return the bytes that come until the other side closes."""
    connection.settimeout(20)
    got = b""
    with contextlib.suppress(ConnectionResetError):
        while data := connection.recv(4096):
            got += data
    return got


@pytest.fixture(scope="module")
def impatient(launch_fake: Any) -> Iterator[Any]:
    with launch_fake(head_s=0.5, body_s=0.4, body_bytes=4000) as server:
        yield server


@pytest.fixture
def serve_fake(launch_fake: Any) -> Iterator[Any]:
    """Starts a server of the test's own; see ``launch_fake``."""
    with contextlib.ExitStack() as stack:
        yield lambda **options: stack.enter_context(launch_fake(**options))


@pytest.mark.parametrize(
    "head",
    [b"", b"POST /pre", b"POST /predict HTTP/1.1\r\nHost: x\r\nX-A: "],
    ids=["nothing", "half a line", "half a head"],
)
def test_who_sends_no_whole_head_is_hung_up_on(impatient: Any, head: bytes) -> None:
    with socket.create_connection(("127.0.0.1", impatient.port)) as slow:
        slow.sendall(head)
        assert httpx.get(f"{impatient.base}/healthz").status_code == 200  # others are not held up
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            for _ in range(12):  # single bytes buy no time
                slow.sendall(b"a")
                time.sleep(0.1)
        assert closed(slow) == b""


def test_a_second_head_on_a_connection_has_to_be_whole_as_well(impatient: Any) -> None:
    with socket.create_connection(("127.0.0.1", impatient.port)) as slow:
        slow.sendall(b"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\nGET /heal")
        assert closed(slow).count(b"200 OK") == 1


def test_a_body_that_comes_too_slowly_is_a_408(impatient: Any) -> None:
    with socket.create_connection(("127.0.0.1", impatient.port)) as slow:
        slow.sendall(
            b"POST /predict HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
            b"Content-Length: 1000\r\n\r\n{"
        )
        assert closed(slow).startswith(b"HTTP/1.1 408 ")


def test_a_body_that_goes_on_after_its_refusal_is_cut_off(impatient: Any) -> None:
    with socket.create_connection(("127.0.0.1", impatient.port)) as endless:
        endless.sendall(
            b"POST /predict HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
            b"Transfer-Encoding: chunked\r\n\r\n"
        )
        endless.settimeout(20)

        def send_on() -> None:
            for _ in range(2000):
                endless.sendall(b"3e8\r\n" + b"x" * 1000 + b"\r\n")
                time.sleep(0.01)

        with pytest.raises((BrokenPipeError, ConnectionResetError)):
            send_on()


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_500_at_once_are_all_answered_and_memory_does_not_grow(serve_fake: Any, post: Any) -> None:
    server = serve_fake(latency_ms=5, pending=32, connections=600)

    async def flood() -> list[tuple[int, bytes]]:
        return list(await asyncio.gather(*(post(server.port) for _ in range(500))))

    asyncio.run(flood())
    before = server.metric("process_resident_memory_bytes")
    answers = [answer for _ in range(3) for answer in asyncio.run(flood())]
    statuses = {status for status, _ in answers}
    assert statuses == {200, 503}
    assert all(b"retry-after: 1" in text for status, text in answers if status == 503)
    assert sum(status == 200 for status, _ in answers) >= 32
    assert server.metric("fer_edge_pending_pictures") == 0
    assert server.metric("process_resident_memory_bytes") - before < 24 * 2**20


def test_who_comes_back_too_early_waits_and_others_do_not(serve_fake: Any) -> None:
    server = serve_fake(rate_hz=1e-3, burst=1)
    request = b"GET /nowhere HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"
    with socket.create_connection(("127.0.0.1", server.port)) as hasty:
        hasty.settimeout(20)

        def status() -> int:
            answer = b""
            while not answer.endswith(b"}"):
                answer += hasty.recv(4096)
            return int(answer.split()[1])

        hasty.sendall(request)
        assert status() == 404
        hasty.sendall(request)
        assert status() == 429
        hasty.sendall(request)
        for _ in range(3):
            assert httpx.get(f"{server.base}/healthz").status_code == 200
        assert not select.select([hasty], [], [], 0)[0], "it was answered before its time"
        assert status() == 429


def test_connections_beyond_the_limit_are_told_so(serve_fake: Any) -> None:
    server = serve_fake(connections=3)
    with contextlib.ExitStack() as stack:
        for _ in range(3):
            stack.enter_context(socket.create_connection(("127.0.0.1", server.port)))
        until(lambda: httpx.get(f"{server.base}/healthz").status_code == 503)
        assert httpx.get(f"{server.base}/healthz").headers["retry-after"] == "1"
    until(lambda: httpx.get(f"{server.base}/healthz").status_code == 200)


def test_what_is_under_way_is_answered_before_the_end(serve_fake: Any, post: Any) -> None:
    server = serve_fake(latency_ms=300, batch_faces=1)

    async def load() -> list[tuple[int, bytes]]:
        requests = [asyncio.create_task(post(server.port)) for _ in range(6)]
        async with httpx.AsyncClient(timeout=30) as client:
            while True:
                text = (await client.get(f"{server.base}/metrics")).text
                if "fer_edge_pending_pictures 6.0" in text:
                    break
        server.process.send_signal(signal.SIGTERM)
        return list(await asyncio.gather(*requests))

    assert [status for status, _ in asyncio.run(load())] == [200] * 6
    assert server.process.wait(20) == 0
    assert server.process.stdout.read() == ""
    with pytest.raises(httpx.ConnectError):
        httpx.get(f"{server.base}/healthz")


def close_code(live: ClientConnection) -> int:
    """Reads until the server closes the connection."""
    try:
        while True:
            live.recv(timeout=20)
    except ConnectionClosed:
        return live.protocol.close_code or 0


def test_a_frame_with_too_many_bytes_ends_its_connection(impatient: Any) -> None:
    with connect(f"ws://127.0.0.1:{impatient.port}/live") as live:
        live.send(b"\0" * 4001)
        assert close_code(live) == 1009  # message too big


def test_live_connections_are_told_of_the_end(serve_fake: Any, happy: bytes) -> None:
    server = serve_fake(latency_ms=200)
    with connect(f"ws://127.0.0.1:{server.port}/live", subprotocols=["fer-edge"]) as socket:
        assert socket.subprotocol == "fer-edge"
        socket.send(happy)
        assert json.loads(socket.recv())["frame"] == 1
        for _ in range(5):
            socket.send(happy)
        server.process.send_signal(signal.SIGTERM)
        assert close_code(socket) == 1012  # service restart
    assert server.process.wait(20) == 0
    assert server.process.stdout.read() == ""


def test_a_client_that_leaves_in_the_middle_is_no_error(serve_fake: Any, happy: bytes) -> None:
    server = serve_fake(latency_ms=200)
    for _ in range(3):
        with connect(f"ws://127.0.0.1:{server.port}/live") as connection:
            for _ in range(3):
                connection.send(happy)
            connection.socket.shutdown(socket.SHUT_RDWR)
        with socket.create_connection(("127.0.0.1", server.port)) as leaver:
            leaver.sendall(
                b"POST /predict HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
                b"Content-Length: 1000\r\n\r\n{"
            )
    until(lambda: server.metric("fer_edge_live_connections") == 0)
    server.process.send_signal(signal.SIGTERM)
    assert server.process.wait(20) == 0
    assert server.process.stdout.read() == ""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_idle_server_ends_with_0(serve_fake: Any, number: int) -> None:
    server = serve_fake()
    with socket.create_connection(("127.0.0.1", server.port)) as idle:
        idle.sendall(b"POST /pre")
        server.process.send_signal(number)
        assert server.process.wait(20) == 0


def test_strangers_write_nothing_into_the_log(serve_fake: Any) -> None:
    server = serve_fake(token="secret")
    with socket.create_connection(("127.0.0.1", server.port)) as stranger:
        stranger.sendall(b"\x16\x03\x01\x02\0\xff not HTTP\r\n\r\n")
        closed(stranger)
    httpx.get(f"{server.base}/etc/passwd")
    upgrade = {
        "connection": "Upgrade",
        "upgrade": "websocket",
        "sec-websocket-version": "13",
        "sec-websocket-key": "AAAAAAAAAAAAAAAAAAAAAA==",
    }
    assert httpx.get(f"{server.base}/live", headers=upgrade).status_code == 401
    bearer = {"authorization": "Bearer secret"}
    for picture in (b"\x89PNG\r\n\x1a\n" + b"\0" * 60, b"\xff\xd8" + b"\0" * 50 + b"\xff\xd9"):
        files = {"image": ("../../secret-name.png", picture)}
        answer = httpx.post(f"{server.base}/predict", headers=bearer, files=files)
        assert answer.status_code == 422
    server.process.send_signal(signal.SIGTERM)
    assert server.process.wait(20) == 0
    assert server.process.stdout.read() == ""


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_nothing_is_written_to_the_disk(serve_fake: Any, tmp_path: Any) -> None:
    """A picture beyond the size at which frameworks turn to temporary files."""
    server = serve_fake()
    pid, opened = server.process.pid, set()
    big = b"\xff\xd8" + b"\0" * 6_000_000 + b"\xff\xd9"

    def chunks() -> Any:
        yield b'--B\r\nContent-Disposition: form-data; name="image"; filename="a"\r\n\r\n'
        for at in range(0, len(big), 500_000):
            yield big[at : at + 500_000]
            opened.update(str(file.readlink()) for file in Path(f"/proc/{pid}/fd").iterdir())
        yield b"\r\n--B--\r\n"

    headers = {"content-type": "multipart/form-data; boundary=B"}
    response = httpx.post(f"{server.base}/predict", content=chunks(), headers=headers, timeout=30)
    assert response.status_code == 422
    assert not [name for name in opened if name.startswith(("/tmp", "/var")) or "deleted" in name]


def test_a_taken_port_is_a_sentence() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(InputError, match=f"port {port}.*--port"):
            serve(None, "127.0.0.1", port, ServiceLimits(), ready=print)  # type: ignore[arg-type]
    with pytest.raises(InputError, match=r"no\.such\.host"):
        serve(None, "no.such.host.invalid", 0, ServiceLimits(), ready=print)  # type: ignore[arg-type]


@pytest.mark.parametrize("host", ["ä" * 70, "a\0b", "a" * 300, "\ud800", ".", ":"])
def test_a_host_that_is_no_address_is_a_sentence(host: str) -> None:
    with pytest.raises(InputError, match=r"cannot listen on .*Choose others with --host"):
        listen(host, 0)


def test_an_empty_host_does_not_mean_all_networks() -> None:
    with pytest.raises(InputError, match=r"--host 127\.0\.0\.1 .*--host 0\.0\.0\.0"):
        listen("", 0)


def test_the_command_serves_the_shipped_model(launch: Any, happy: bytes) -> None:
    with launch(
        ["-m", "fer_edge.cli", "serve", "--port", "0", "--threads", "1", "--crop"]
    ) as server:
        answer = httpx.post(f"{server.base}/predict", files={"image": happy}, timeout=30).json()
        assert answer["faces"][0]["emotion"] == "happiness"
        assert answer["whole_picture"] is True
        server.process.send_signal(signal.SIGINT)
        assert server.process.wait(20) == 0


@pytest.mark.parametrize("library", ["fastapi", "uvicorn", "prometheus_client", "python_multipart"])
def test_a_missing_library_is_the_line_that_installs_it(library: str) -> None:
    code = (
        f"import sys; sys.modules[{library!r}] = None; from fer_edge.cli import main; "
        "main(['serve', '--port', '0'])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 5
    assert "pip install 'fer-edge[serve]'" in done.stderr
    assert "Traceback" not in done.stderr


def test_answers_on_a_kept_connection_are_sent_at_once() -> None:
    with listen("127.0.0.1", 0) as listener, socket.create_connection(listener.getsockname()):
        accepted, _ = listener.accept()
        with accepted:
            assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


STUCK = """
import threading, time
import fer_edge.service.recogniser as recogniser
recogniser.decode_image = lambda *a, **k: time.sleep(3600)
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_end_comes_whatever_the_threads_do(launch_fake: Any, happy: bytes, number: int) -> None:
    with launch_fake(before=STUCK, decode_s=0.3, drain_s=1.0) as server:
        files = {"image": happy}
        statuses = [
            httpx.post(f"{server.base}/predict", files=files, timeout=30).status_code
            for _ in range(min(usable_cores(), 4) + 1)
        ]
        assert statuses == [504] * (len(statuses) - 1) + [503]
        assert httpx.get(f"{server.base}/healthz").status_code == 200
        server.process.send_signal(number)
        assert server.process.wait(30) == 0
        assert "Traceback" not in server.process.stdout.read()


def test_requests_that_the_end_cuts_off_get_a_503(launch_fake: Any, post: Any) -> None:
    with launch_fake(before=STUCK, drain_s=1.0) as server:

        async def load() -> list[tuple[int, bytes]]:
            requests = [asyncio.create_task(post(server.port)) for _ in range(6)]
            await asyncio.sleep(0.5)
            server.process.send_signal(signal.SIGTERM)
            return list(await asyncio.gather(*requests))

        answers = asyncio.run(load())
        assert [status for status, _ in answers] == [503] * 6
        assert all(b"nosniff" in answer for _, answer in answers)
        assert server.process.wait(30) == 0
        assert "Traceback" not in server.process.stdout.read()
