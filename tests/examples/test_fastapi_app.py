"""The FastAPI example: its own route, the mounted service, and headers of the proxy."""

from __future__ import annotations

import re
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import pytest
from starlette.testclient import TestClient

from fer_edge import Predictor
from fer_edge.backends.fake import write_fake_bundle
from fer_edge.monitor import WholeFrame
from fer_edge.shipped import FACES

SCRIPT = Path(__file__).parents[2] / "examples/fastapi_app.py"
FACE = (FACES / "happiness.png").read_bytes()


@pytest.fixture
def client(example: Callable[[str], ModuleType], tmp_path: Path) -> Iterator[TestClient]:
    bundle = write_fake_bundle(tmp_path / "fake.fer", {"happiness": 0.9})
    with Predictor(bundle) as predictor:
        app = example("fastapi_app").application(predictor, WholeFrame(), ("faces.example.org",))
        with TestClient(app, base_url="https://faces.example.org") as client:
            yield client


def test_own_route_answers(client: TestClient) -> None:
    answer = client.post("/mood", content=FACE)
    assert (answer.status_code, answer.json()) == (200, {"faces": 1, "moods": ["happiness"]})


def test_own_route_refuses_what_is_no_picture_or_too_large(client: TestClient) -> None:
    assert client.post("/mood", content=b"no picture").status_code == 422
    assert client.post("/mood", content=b"0" * (8 * 1024 * 1024 + 1)).status_code == 413


def test_service_is_mounted_with_its_page(client: TestClient) -> None:
    assert client.get("/faces/healthz").status_code == 200
    assert "<html" in client.get("/faces/").text
    assert client.get("/faces/static/page.js").status_code == 200
    answer = client.post("/faces/predict", files={"image": ("a.png", FACE, "image/png")})
    assert answer.json()["faces"][0]["emotion"] == "happiness"


def test_service_refuses_other_hosts(client: TestClient) -> None:
    assert client.get("/faces/healthz", headers={"Host": "evil.example"}).status_code == 421


def test_a_proxy_with_tls_passes_its_scheme_on() -> None:
    command = [sys.executable, str(SCRIPT), "--port", "0", "--host-name", "faces.example.org"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as server:
        try:
            assert server.stderr is not None
            address = next(match[0] for line in server.stderr if (match := _ADDRESS.search(line)))
            headers = {
                "Host": "faces.example.org",
                "Origin": "https://faces.example.org",
                "Content-Type": "image/png",
            }
            url = f"{address}/faces/predict"
            with pytest.raises(urllib.error.HTTPError) as refused:
                urllib.request.urlopen(urllib.request.Request(url, FACE, headers), timeout=30)
            assert refused.value.code == 403  # http is not the page's https
            headers["X-Forwarded-Proto"] = "https"
            with urllib.request.urlopen(
                urllib.request.Request(url, FACE, headers), timeout=30
            ) as a:
                assert a.status == 200
            server.terminate()
            server.communicate(timeout=30)
        finally:
            server.kill()


_ADDRESS = re.compile(r"http://127\.0\.0\.1:\d+")
