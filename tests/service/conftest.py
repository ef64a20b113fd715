"""An app on the fake engine, one on the shipped model, and real server processes."""

from __future__ import annotations

import asyncio
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Awaitable, Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import cv2
import httpx
import pytest
from starlette.testclient import TestClient, WebSocketTestSession

from fer_edge import Predictor
from fer_edge.backends.fake import write_fake_bundle
from fer_edge.monitor import YuNet
from fer_edge.service.app import create_app
from fer_edge.shipped import FACES

BASE = "http://127.0.0.1"
SHARED = Path(__file__).parents[3] / "shared" / "data"
FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--use-fake-ui-for-media-stream",
    "--use-fake-device-for-media-stream",
)

SERVER = """
import json, sys
from fer_edge import Predictor
from fer_edge.service.app import create_app
from fer_edge.service.limits import ServiceLimits
from fer_edge.service.server import serve
limits = ServiceLimits(**json.loads(sys.argv[2]))
with Predictor(sys.argv[1], threads=1) as predictor:
    app = create_app(predictor, token=sys.argv[3] or None, limits=limits)
    serve(app, "127.0.0.1", 0, limits, ready=lambda address: print(address, flush=True))
"""
GENEROUS = {"rate_hz": 1e6, "burst": 1_000_000}


class Client(TestClient):
    """Talks to an app in this process, as from this machine."""

    def __init__(self, app: Any) -> None:
        super().__init__(app, base_url=BASE)

    def predict(
        self, picture: bytes, *, name: str = "image", filename: str = "face.png", **rest: Any
    ) -> httpx.Response:
        """POST /predict with a form of one picture."""
        return self.post("/predict", files={name: (filename, picture, "image/png")}, **rest)

    def live(self, **options: Any) -> WebSocketTestSession:
        """Opens /live; raises WebSocketDenialResponse if it is refused."""
        return self.websocket_connect("ws://127.0.0.1/live", **options)


@pytest.fixture(scope="session")
def happy() -> bytes:
    """A PNG of a face that the shipped model is sure of."""
    return (FACES / "happiness.png").read_bytes()


@pytest.fixture(scope="session")
def shipped() -> Iterator[Predictor]:
    with Predictor(target="onnxruntime", threads=1) as predictor:
        yield predictor


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Callable[..., Client]]:
    """Clients of an app on the fake engine: ``make(limits=…, token=…, latency_ms=…)``."""
    opened: list[tuple[Client, Predictor]] = []

    def client(*, latency_ms: float = 0, fail_after: int | None = None, **options: Any) -> Client:
        bundle = write_fake_bundle(
            tmp_path / f"{len(opened)}.fer", latency_ms=latency_ms, fail_after=fail_after
        )
        predictor = Predictor(bundle)
        made = Client(create_app(predictor, **options))
        made.__enter__()
        opened.append((made, predictor))
        return made

    yield client
    for made, predictor in opened:
        made.__exit__()
        predictor.close()


@pytest.fixture
def client(make: Callable[..., Client]) -> Client:
    return make()


@pytest.fixture
def real(shipped: Predictor) -> Iterator[Client]:
    """The shipped model, each picture as one face."""
    with Client(create_app(shipped)) as made:
        yield made


@pytest.fixture
def with_yunet(shipped: Predictor, shared: Path) -> Iterator[Client]:
    yunet = YuNet(shared / "data/detectors/face_detection_yunet_2023mar.onnx", width_px=640)
    with Client(create_app(shipped, yunet)) as made:
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


Launch = Callable[..., AbstractContextManager[Server]]


@pytest.fixture(scope="session")
def launch(tmp_path_factory: pytest.TempPathFactory) -> Launch:
    """A context with ``python ARGUMENTS…``, which prints its address first; killed at its end.

    extra: more variables of its environment."""
    root = str(Path(__file__).parents[2])
    paths = os.pathsep.join(filter(None, (root, os.environ.get("PYTHONPATH"))))

    @contextmanager
    def run(arguments: list[str], **extra: str) -> Iterator[Server]:
        process = subprocess.Popen(
            [sys.executable, *arguments],
            cwd=tmp_path_factory.mktemp("server"),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env={**os.environ, "PYTHONPATH": paths, "OMP_NUM_THREADS": "1", **extra},
        )
        try:
            assert process.stdout is not None
            line = process.stdout.readline()
            assert line.startswith("http://"), line + process.stdout.read()
            yield Server(process, line.split()[0])
        finally:
            process.kill()
            process.communicate()

    return run


@pytest.fixture(scope="session")
def launch_fake(launch: Launch, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A context with a server on the fake engine: ``launch_fake(latency_ms=…, LIMIT=…)``.

    before: code that runs in the server first."""

    def run(
        *, token: str = "", latency_ms: float = 0, before: str = "", **limits: float
    ) -> AbstractContextManager[Server]:
        folder = tmp_path_factory.mktemp("fake") / "server.fer"
        bundle = write_fake_bundle(folder, latency_ms=latency_ms)
        return launch(["-c", before + SERVER, str(bundle), json.dumps(GENEROUS | limits), token])

    return run


@pytest.fixture(scope="session")
def post(happy: bytes) -> Callable[[int], Awaitable[tuple[int, bytes]]]:
    """One POST /predict on a connection of its own to a port: the status and the whole answer."""
    mark = b"x" * 24
    body = (
        b"--"
        + mark
        + b'\r\nContent-Disposition: form-data; name="image"; filename="a"\r\n\r\n'
        + happy
        + b"\r\n--"
        + mark
        + b"--\r\n"
    )

    async def send(port: int) -> tuple[int, bytes]:
        head = (
            f"POST /predict HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nConnection: close\r\n"
            f"Content-Type: multipart/form-data; boundary={mark.decode()}\r\n"
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

    return send


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """Chromium. For one module: while Playwright runs, asyncio.run() is refused."""
    playwright = pytest.importorskip("playwright.sync_api")
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    if chromium is None:
        pytest.skip("chromium is not installed")
    playwright.expect.set_options(timeout=30_000)
    flags = list(FLAGS)
    clip = SHARED / "video" / "single_face.mp4"
    if clip.is_file():
        camera = tmp_path_factory.mktemp("camera") / "camera.mjpeg"
        capture = cv2.VideoCapture(str(clip))
        with camera.open("wb") as file:
            while (read := capture.read())[0]:
                file.write(cv2.imencode(".jpg", cv2.resize(read[1], (640, 360)))[1].tobytes())
        flags.append(f"--use-file-for-fake-video-capture={camera}")
    with playwright.sync_playwright() as running:
        opened = running.chromium.launch(executable_path=chromium, args=flags)
        yield opened
        opened.close()


@pytest.fixture(scope="module")
def plain(launch: Any) -> Iterator[str]:
    """The address of a server without a detector."""
    with launch(
        ["-m", "fer_edge.cli", "serve", "--port", "0", "--threads", "1", "--crop"]
    ) as server:
        yield server.base


@pytest.fixture(scope="module")
def detecting(launch: Any) -> Iterator[str]:
    """The address of a server with YuNet."""
    yunet = SHARED / "detectors" / "face_detection_yunet_2023mar.onnx"
    if not yunet.is_file():
        pytest.skip("no test data: the folder ../shared/data beside the checkout is missing")
    options = ["--port", "0", "--threads", "1", "--detector", str(yunet)]
    with launch(["-m", "fer_edge.cli", "serve", *options]) as server:
        yield server.base


@pytest.fixture
def visit(browser: Any) -> Iterator[Callable[..., Any]]:
    """Opens a page.

    At the end it must have asked no other host. It must have reported no error but those with a
    word in ``visit.expected``.
    """
    troubles: list[str] = []
    contexts = []

    def open_page(base: str, path: str = "/", width: int = 1280, **options: Any) -> Any:
        context = browser.new_context(viewport={"width": width, "height": 800}, **options)
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(30_000)
        page.on("pageerror", lambda error: troubles.append(str(error)))
        page.on(
            "console",
            lambda message: (
                troubles.append(message.text) if message.type in ("error", "warning") else None
            ),
        )
        page.on(
            "request",
            lambda request: (
                troubles.append(f"asked {request.url}")
                if not request.url.startswith((base + "/", f"blob:{base}/"))
                else None
            ),
        )
        page.goto(base + path)
        return page

    open_page.expected = expected = []  # type: ignore[attr-defined]
    yield open_page
    for context in contexts:
        context.close()
    assert [text for text in troubles if not any(word in text for word in expected)] == []
