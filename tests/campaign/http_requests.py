"""Requests to a server process on this machine, one in twenty of them hostile.

PYTHONPATH=tests/campaign python tests/campaign/http_requests.py --count 20000
"""

from __future__ import annotations

import argparse
import base64
import collections
import contextlib
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

HOSTILE_SHARE = 0.05
CLIENTS = 16
"""Connections at a time."""
ANSWER_S = 60.0
"""Longest wait for one answer, in seconds; no answer by then is a fault."""
MOST_GROWTH_BYTES = 64 * 1024 * 1024
"""Growth of the server's memory that is not a fault, after the first tenth of the requests."""

_SERVER = """
import sys
from fer_edge import Predictor
from fer_edge.service.app import create_app
from fer_edge.service.limits import ServiceLimits
from fer_edge.service.server import serve
limits = ServiceLimits(rate_hz=1e6, burst=1_000_000, head_s=2, body_s=2, write_s=2)
with Predictor(sys.argv[1], threads=1) as predictor:
    app = create_app(predictor, limits=limits)
    serve(app, "127.0.0.1", 0, limits, ready=lambda address: print(address, flush=True))
"""
_HEAD = b"Host: 127.0.0.1\r\n"
_UPGRADE = (
    b"GET /live HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Version: 13\r\n"
)


@dataclass
class Report:
    """Outcome of a run.

    Attributes:
        statuses: answers by status; 0 is a connection that was closed without an answer.
        faults: sentences; empty if all is well.
        growth_bytes: growth of the server's memory after the first tenth.
        duration_s: seconds of all requests.
    """

    statuses: collections.Counter[int]
    faults: list[str]
    growth_bytes: int
    duration_s: float


def _post(body: bytes, kind: bytes, *, length: int | None = None) -> bytes:
    size = len(body) if length is None else length
    return (
        b"POST /predict HTTP/1.1\r\n"
        + _HEAD
        + b"Connection: close\r\nContent-Type: "
        + kind
        + b"\r\nContent-Length: %d\r\n\r\n" % size
        + body
    )


def _form(data: bytes) -> bytes:
    return (
        b'--B\r\nContent-Disposition: form-data; name="image"; filename="a"\r\n\r\n'
        + data
        + b"\r\n--B--\r\n"
    )


FORM, JSON = b"multipart/form-data; boundary=B", b"application/json"


def good(rng: np.random.Generator, image: bytes) -> bytes:
    """Return one of the requests that clients send."""
    coded = base64.b64encode(image)
    get = b"GET %s HTTP/1.1\r\n" + _HEAD + b"Connection: close\r\n\r\n"
    forms = [
        lambda: _post(_form(image), FORM),
        lambda: _post(image, b"image/jpeg"),
        lambda: _post(b'{"image": "' + coded + b'"}', JSON),
        lambda: get % b"/healthz",
        lambda: get % b"/",
        lambda: get % b"/info",
    ]
    return forms[rng.integers(len(forms))]()


def hostile(rng: np.random.Generator, image: bytes) -> bytes:
    """Return a request that is wrong, large, cut off or meant to stall the server."""
    size = int(rng.integers(1, 1 << 20))
    noise = rng.integers(0, 256, size, np.uint8).tobytes()
    flipped = bytearray(image)
    for where in rng.integers(0, len(flipped), 20):
        flipped[where] = rng.integers(256)
    bomb = b"\x89PNG\r\n\x1a\n" + b"\0\0\0\rIHDR\0\0\x40\0\0\0\x40\0\x08\2\0\0\0" + noise[:60]
    frame = b"\x82\xfe\x04\x00\0\0\0\0" + noise[:1024].ljust(1024, b"\0")
    forms: list[Callable[[], bytes]] = [
        lambda: noise[:4096],
        lambda: _post(_form(bytes(flipped)), FORM),
        lambda: _post(_form(bomb), FORM),
        lambda: _post(noise, b"image/png"),
        lambda: _post(b"[" + b"{}," * size, JSON),
        lambda: _post(b'{"image": "' + b"A" * size, JSON),
        lambda: _post(_form(image)[: -int(rng.integers(1, 200))], FORM),
        lambda: _post(b"", FORM, length=100),
        lambda: _post(b"x" * 100, JSON, length=10**15),
        lambda: _post(b"--B\r\n" + b"a: b\r\n" * (size // 6), FORM),
        lambda: b"POST /predict HTTP/1.1\r\n" + _HEAD + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n",
        lambda: b"GET /" + noise[:200].hex().encode() + b" HTTP/1.1\r\nHost: evil\r\n\r\n",
        lambda: b"GET / HTTP/1.1\r\n" + _HEAD + b"X: " + b"a" * (size // 4) + b"\r\n\r\n",
        lambda: b"GET /info HTTP/1.1\r\n" + _HEAD + b"Origin: http://evil\r\n\r\n",
        lambda: _UPGRADE + b"Content-Length: 1\r\n\r\n",
        lambda: _UPGRADE + b"X: " + b"a" * 9000 + b"\r\n\r\n",
        lambda: _UPGRADE,
        lambda: _UPGRADE + b"\r\n" + frame,
        lambda: _UPGRADE + b"\r\n" + b"\x89\x80\0\0\0\0" * 5000,
        lambda: _UPGRADE + b"\r\n" + b"\x81\x82\0\0\0\0\xff\xfe",
        lambda: (b"GET /openapi.json HTTP/1.1\r\n" + _HEAD + b"\r\n") * 50,
    ]
    return forms[rng.integers(len(forms))]()


def _ask(port: int, request: bytes) -> int:
    """Send a request and return the status; 0 if the connection was closed without an answer."""
    answer = b""
    with socket.create_connection(("127.0.0.1", port)) as connection:
        connection.settimeout(ANSWER_S)
        with contextlib.suppress(ConnectionResetError, BrokenPipeError):
            connection.sendall(request)
        with contextlib.suppress(ConnectionResetError):
            while b"\r\n" not in answer and (data := connection.recv(65536)):
                answer += data
    return int(answer.split(b" ", 2)[1]) if answer.startswith(b"HTTP/1.1 ") else 0


@contextlib.contextmanager
def server() -> Iterator[tuple[subprocess.Popen[str], int]]:
    """Run a server on the fake engine. Yields its process and port."""
    from fer_edge.backends.fake import write_fake_bundle

    with tempfile.TemporaryDirectory() as folder:
        bundle = write_fake_bundle(Path(folder) / "campaign.fer")
        process = subprocess.Popen(
            [sys.executable, "-P", "-c", _SERVER, str(bundle)],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        try:
            assert process.stdout is not None
            line = process.stdout.readline()
            if not line.startswith("http://"):
                raise RuntimeError(line + process.stdout.read())
            yield process, int(line.rsplit(":", 1)[1])
        finally:
            process.kill()
            process.communicate()


def _resident_bytes(process: subprocess.Popen[str]) -> int:
    pages = int(Path(f"/proc/{process.pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def run(count: int, seed: int = 0) -> Report:
    """Send ``count`` requests, then check that the server is whole and ends with 0."""
    rng = np.random.default_rng(seed)
    picture = cv2.resize(rng.integers(0, 256, (12, 16, 3), np.uint8), (320, 240))
    image = cv2.imencode(".jpg", picture)[1].tobytes()
    faults: list[str] = []
    statuses: collections.Counter[int] = collections.Counter()
    with server() as (process, port), ThreadPoolExecutor(CLIENTS) as clients:

        def ask(is_hostile: bool, seed: int) -> tuple[bool, int]:
            request = (hostile if is_hostile else good)(np.random.default_rng(seed), image)
            try:
                return is_hostile, _ask(port, request)
            except (TimeoutError, OSError) as error:
                return is_hostile, -1 if isinstance(error, TimeoutError) else -2

        def ask_all(number: int) -> None:
            chosen = [
                (bool(rng.random() < HOSTILE_SHARE), int(rng.integers(2**32)))
                for _ in range(number)
            ]
            for is_hostile, status in clients.map(lambda pair: ask(*pair), chosen):
                statuses[status] += 1
                if status < 0 or (status >= 500 and status != 503):
                    faults.append(f"{'hostile' if is_hostile else 'good'} request: {status}")
                elif not is_hostile and status not in (200, 503):
                    faults.append(f"a good request was answered with {status}")

        start = time.monotonic()
        ask_all(count // 10)
        before = _resident_bytes(process)
        ask_all(count - count // 10)
        duration_s = time.monotonic() - start
        growth = _resident_bytes(process) - before
        if growth > MOST_GROWTH_BYTES:
            faults.append(f"the server's memory grew by {growth / 2**20:.0f} MiB")
        faults += _faults_afterwards(process, port, image)
    return Report(statuses, faults, growth, duration_s)


def _faults_afterwards(process: subprocess.Popen[str], port: int, image: bytes) -> list[str]:
    faults = []
    for _ in range(5):
        if (status := _ask(port, _post(image, b"image/jpeg"))) != 200:
            faults.append(f"a good request after all others was answered with {status}")
    process.send_signal(signal.SIGTERM)
    if (code := process.wait(60)) != 0:
        faults.append(f"the server ended with {code}")
    assert process.stdout is not None
    if log := process.stdout.read():
        faults.append(f"the server wrote into its log: {log[-500:]}")
    return faults


def main() -> None:
    """Command line; exit code 1 if there is a fault."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--count", type=int, default=20_000)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    report = run(arguments.count, arguments.seed)
    for status, number in sorted(report.statuses.items()):
        print(f"{number:8,}  {status or 'closed without an answer'}")
    print(
        f"{arguments.count:,} requests, {report.duration_s:.0f} s, memory grew by "
        f"{report.growth_bytes / 2**20:.1f} MiB, {len(report.faults)} faults"
    )
    for fault in report.faults[:20]:
        print(fault)
    sys.exit(bool(report.faults))


if __name__ == "__main__":
    main()
