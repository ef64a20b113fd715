"""An app on the fake engine, one on the shipped model, and real server processes."""

from __future__ import annotations

import asyncio
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from starlette.testclient import TestClient

from fer_edge import Predictor
from fer_edge.backends.fake import write_fake_bundle
from fer_edge.monitor import YuNet
from fer_edge.service.app import create_app
from fer_edge.service.limits import Limits
from fer_edge.shipped import FACES

BASE = "http://127.0.0.1"
HAPPY = (FACES / "happiness.png").read_bytes()
Make = Callable[..., TestClient]

SERVER = """
import json, sys
from fer_edge import Predictor
from fer_edge.service.app import create_app
from fer_edge.service.limits import Limits
from fer_edge.service.server import serve
limits = Limits(**json.loads(sys.argv[2]))
with Predictor(sys.argv[1], threads=1) as predictor:
    app = create_app(predictor, token=sys.argv[3] or None, limits=limits)
    serve(app, "127.0.0.1", 0, limits, ready=lambda address: print(address, flush=True))
"""
GENEROUS = {"rate_hz": 1e6, "burst": 1_000_000}


@pytest.fixture(scope="session")
def shipped() -> Iterator[Predictor]:
    with Predictor(target="onnxruntime", threads=1) as predictor:
        yield predictor


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Make]:
    """Clients of an app on the fake engine: ``make(limits=…, token=…, latency_ms=…)``."""
    opened: list[tuple[TestClient, Predictor]] = []

    def client(
        *, latency_ms: float = 0, fail_after: int | None = None, **options: Any
    ) -> TestClient:
        bundle = write_fake_bundle(
            tmp_path / f"{len(opened)}.fer", latency_ms=latency_ms, fail_after=fail_after
        )
        predictor = Predictor(bundle)
        made = TestClient(create_app(predictor, **options), base_url=BASE)
        made.__enter__()
        opened.append((made, predictor))
        return made

    yield client
    for made, predictor in opened:
        made.__exit__()
        predictor.close()


@pytest.fixture
def client(make: Make) -> TestClient:
    return make()


@pytest.fixture
def real(shipped: Predictor) -> Iterator[TestClient]:
    """The shipped model, each picture as one face."""
    with TestClient(create_app(shipped), base_url=BASE) as made:
        yield made


@pytest.fixture
def with_yunet(shipped: Predictor, shared: Path) -> Iterator[TestClient]:
    yunet = YuNet(shared / "data/detectors/face_detection_yunet_2023mar.onnx", width_px=640)
    with TestClient(create_app(shipped, yunet), base_url=BASE) as made:
        yield made


class Server:
    """A server process on a free port of this machine."""

    def __init__(self, process: subprocess.Popen[str], base: str) -> None:
        self.process, self.base = process, base
        self.port = int(base.rsplit(":", 1)[1])

    def metric(self, name: str) -> float:
        text = httpx.get(f"{self.base}/metrics", timeout=30).text
        found = re.search(rf"^{re.escape(name)} (\S+)$", text, re.MULTILINE)
        assert found is not None, f"{name} is not in {text}"
        return float(found.group(1))


@contextmanager
def server(command: list[str]) -> Iterator[Server]:
    """Start it, and kill it if the test has not ended it."""
    root = str(Path(__file__).parents[2])
    paths = os.pathsep.join(filter(None, (root, os.environ.get("PYTHONPATH"))))
    process = subprocess.Popen(
        [sys.executable, *command],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, "PYTHONPATH": paths, "OMP_NUM_THREADS": "1"},
    )
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        assert line.startswith("http://"), line + process.stdout.read()
        yield Server(process, line.split()[0])
    finally:
        process.kill()
        process.communicate()


@contextmanager
def fake_server(
    folder: Path, *, token: str = "", latency_ms: float = 0, **limits: float
) -> Iterator[Server]:
    bundle = write_fake_bundle(folder / "server.fer", latency_ms=latency_ms)
    Limits(**limits)  # type: ignore[arg-type]  # a wrong name fails here, not in the process
    with server(["-c", SERVER, str(bundle), json.dumps(GENEROUS | limits), token]) as started:
        yield started


def form(data: bytes, name: str = "image", filename: str = "face.png") -> dict[str, Any]:
    return {"files": {name: (filename, data, "image/png")}}


async def post(port: int, data: bytes = HAPPY) -> tuple[int, bytes]:
    """One POST /predict on a connection of its own: the status and the whole answer."""
    boundary = b"x" * 24
    body = (
        b"--" + boundary + b'\r\nContent-Disposition: form-data; name="image"; filename="a"\r\n\r\n'
        + data + b"\r\n--" + boundary + b"--\r\n"
    )  # fmt: skip
    head = (
        f"POST /predict HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nConnection: close\r\n"
        f"Content-Type: multipart/form-data; boundary={boundary.decode()}\r\n"
        f"Content-Length: {len(body)}\r\n\r\n"
    )
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(head.encode() + body)
        await writer.drain()
        answer = await reader.read()
    finally:
        writer.close()
    return int(answer.split(b" ", 2)[1]), answer
