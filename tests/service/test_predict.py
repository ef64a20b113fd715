"""POST /predict: what it answers to pictures, and what it says to everything else."""

from __future__ import annotations

import base64
import json
import struct
import zlib
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fer_edge import EMOTIONS
from fer_edge.backends.fake import write_fake_bundle
from fer_edge.service.body import picture_of
from fer_edge.service.limits import ServiceLimits
from fer_edge.service.refusals import RefusedError
from fer_edge.shipped import FACES

HAPPY = (FACES / "happiness.png").read_bytes()


def coded(data: bytes) -> str:
    return base64.b64encode(data).decode()


def png_that_claims(width: int, height: int) -> bytes:
    def chunk(kind: bytes, data: bytes) -> bytes:
        sums = zlib.crc32(kind + data)
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", sums)

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    rows = chunk(b"IDAT", zlib.compress(b"\0" * 1000))
    return b"\x89PNG\r\n\x1a\n" + header + rows + chunk(b"IEND", b"")


# --- answers -------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["happiness", "surprise"])
def test_a_face_crop_gets_what_the_predictor_says(real: Any, shipped: Any, name: str) -> None:
    path = FACES / f"{name}.png"
    answer = real.predict(path.read_bytes()).json()
    expected = shipped(path)
    (face,) = answer["faces"]
    assert face["label"] == face["emotion"] == name == expected.label
    assert face["confidence"] == pytest.approx(expected.confidence, abs=1e-6)
    assert face["probabilities"] == pytest.approx(dict(expected.probabilities), abs=1e-6)
    assert face["box"] == [0, 0, 48, 48]
    assert (face["uncertain"], face["reason"]) == (expected.uncertain, expected.reason)
    assert answer["whole_picture"] is True
    assert (answer["width_px"], answer["height_px"]) == (48, 48)


def test_answers_name_the_bundle_that_answered(real: Any, shipped: Any) -> None:
    expected = {"bundle": shipped.bundle.path.name, "bundle_sha256": shipped.bundle.sha256}
    assert len(expected["bundle_sha256"]) == 64
    assert real.get("/healthz").json() == {"status": "ok", **expected}
    assert real.predict(HAPPY).json().items() >= expected.items()
    assert real.get("/info").json()["bundle_sha256"] == expected["bundle_sha256"]
    with real.live() as socket:
        socket.send_bytes(HAPPY)
        assert socket.receive_json().items() >= expected.items()


def test_after_a_swap_the_new_bundle_is_named(make: Any, tmp_path: Path) -> None:
    client = make()
    before = client.get("/healthz").json()
    swapped = write_fake_bundle(tmp_path / "new.fer", latency_ms=1)
    client.app.state.recogniser._predictor.swap(swapped)
    after = client.predict(HAPPY).json()
    assert after["bundle"] == "new.fer"
    assert after["bundle_sha256"] == client.get("/healthz").json()["bundle_sha256"]
    assert after["bundle_sha256"] != before["bundle_sha256"]


def test_json_gets_the_same_answer_as_a_form(real: Any) -> None:
    one = real.predict(HAPPY)
    other = real.post("/predict/", json={"image": coded(HAPPY)})
    assert one.status_code == other.status_code == 200
    assert one.json()["faces"] == other.json()["faces"]


def test_each_face_of_a_picture_is_answered_in_its_box(with_yunet: Any, shared: Path) -> None:
    path = shared / "data/images/multi_face.jpg"
    answer = with_yunet.predict(path.read_bytes()).json()
    assert answer["whole_picture"] is False
    assert len(answer["faces"]) == 5
    for face in answer["faces"]:
        assert set(face["probabilities"]) == set(EMOTIONS)
        assert sum(face["probabilities"].values()) == pytest.approx(1, abs=1e-4)
        assert face["uncertain"] == (face["reason"] is not None)
        x, y, w, h = face["box"]
        assert x >= 0
        assert y >= 0
        assert x + w <= answer["width_px"]
        assert y + h <= answer["height_px"]
    certain = {face["emotion"] for face in answer["faces"] if not face["uncertain"]}
    assert certain == {"happiness"}  # five friends who smile


def test_a_picture_without_a_face_has_no_answers(with_yunet: Any, shared: Path) -> None:
    path = shared / "data/images/coral_cat_720p.jpg"
    answer = with_yunet.predict(path.read_bytes())
    assert answer.status_code == 200
    assert answer.json()["faces"] == []


def test_a_picture_without_contrast_is_uncertain_and_says_why(client: Any) -> None:
    grey = cv2.imencode(".png", np.full((64, 64, 3), 90, np.uint8))[1].tobytes()
    (face,) = client.predict(grey).json()["faces"]
    assert face["uncertain"] is True
    assert "no contrast" in face["reason"]


# --- refusals ------------------------------------------------------------------------------------


def refused(response: Any, status: int) -> str:
    assert response.status_code == status, response.text
    assert set(response.json()) == {"error"}
    sentence = response.json()["error"]
    assert len(sentence) > 15
    assert "Traceback" not in sentence
    return str(sentence)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"not a picture",
        HAPPY[: len(HAPPY) // 2],
        HAPPY[:24],
        b"\x89PNG\r\n\x1a\n" + b"\0" * 40,
        b"\xff\xd8\xff\xd9",
        b"GIF89a" + b"\0" * 40,
        b"<svg xmlns='http://www.w3.org/2000/svg'/>",
        b"BM" + b"\xff" * 60,
        b"RIFF\0\0\0\0WEBPVP8 " + b"\0" * 40,
    ],
    ids=[
        "empty",
        "text",
        "half",
        "header",
        "no IHDR",
        "JPEG of nothing",
        "GIF",
        "SVG",
        "BMP",
        "WebP",
    ],
)
def test_what_is_no_whole_picture_is_a_422_and_a_sentence(client: Any, data: bytes) -> None:
    refused(client.predict(data), 422)
    assert client.predict(HAPPY).status_code == 200


@pytest.mark.parametrize(("width", "height"), [(50_000, 50_000), (16_000, 1_600), (2**31, 1)])
def test_a_picture_that_unfolds_is_refused_by_its_header(
    client: Any, monkeypatch: pytest.MonkeyPatch, width: int, height: int
) -> None:
    monkeypatch.setattr(cv2, "imdecode", None)  # whoever decodes it fails
    bomb = png_that_claims(width, height)
    assert len(bomb) < 200
    assert f"{width}x{height}" in refused(client.predict(bomb), 422)


def test_the_pixel_limit_is_the_one_that_was_set(make: Any) -> None:
    client = make(limits=ServiceLimits(pixels=48 * 48 - 1))
    assert "2,303" in refused(client.predict(HAPPY), 422)


@pytest.mark.parametrize(
    ("content_type", "status"),
    [
        ("video/mp4", 415),
        ("text/plain", 415),
        ("application/x-www-form-urlencoded", 415),
        ("multipart/form-data", 400),
        ("application/json", 400),
        ("", 415),
    ],
)
def test_another_kind_of_request_is_refused(client: Any, content_type: str, status: int) -> None:
    headers = {"content-type": content_type}
    refused(client.post("/predict", content=HAPPY, headers=headers), status)


@pytest.mark.parametrize(
    "body",
    [
        {"path": "/etc/passwd"},
        {"image": coded(HAPPY), "path": "/etc/passwd"},
        {"image": "/etc/passwd"},
        {"image": "file:///etc/passwd"},
        {"image": "http://169.254.169.254/latest/meta-data"},
        {"image": "data:image/png," + coded(HAPPY)},
        {"image": {"path": "/etc/passwd"}},
        {"image": None},
        [coded(HAPPY)],
        "file:///etc/passwd",
    ],
    ids=lambda body: json.dumps(body)[:40],
)
def test_paths_and_addresses_in_json_are_refused(client: Any, body: Any) -> None:
    refused(client.post("/predict", json=body), 400)


def test_base64_of_a_path_is_a_damaged_picture(client: Any) -> None:
    sentence = refused(client.post("/predict", json={"image": coded(b"/etc/passwd")}), 422)
    assert "root:" not in sentence


@pytest.mark.parametrize(
    "name", ["../../../etc/passwd", "/etc/passwd", "..\\..\\boot.ini", "a\0b", "x" * 200, ""]
)
def test_a_file_name_means_nothing(client: Any, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    opened: list[object] = []
    monkeypatch.setattr(Path, "read_bytes", lambda path: opened.append(path))
    response = client.predict(HAPPY, filename=name)
    assert response.status_code in (200, 400)  # httpx sends an empty name as a plain field
    assert response.status_code == 200 or name == ""
    assert opened == []


@pytest.mark.parametrize(
    "request_of",
    [
        {"data": {"image": "file:///etc/passwd"}, "files": {"other": b"x"}},
        {"files": {"picture": HAPPY}},
        {"files": [("image", HAPPY), ("image", HAPPY)]},
        {"files": {"image": HAPPY}, "data": {"path": "/etc/passwd"}},
    ],
    ids=["path as a field", "wrong name", "two", "a path beside it"],
)
def test_a_form_is_one_picture_and_nothing_else(client: Any, request_of: Any) -> None:
    refused(client.post("/predict", **request_of), 400)


def test_a_form_that_ends_too_soon_is_refused() -> None:
    head = b'--B\r\nContent-Disposition: form-data; name="image"; filename="a"\r\n\r\n'
    for body in (b"", b"--B\r\n", head, head + HAPPY, head + HAPPY + b"\r\n--B\r\n"):
        with pytest.raises(RefusedError) as refusal:
            picture_of(body, "multipart/form-data; boundary=B")
        assert refusal.value.status == 400
    assert picture_of(head + HAPPY + b"\r\n--B--\r\n", "multipart/form-data; boundary=B") == HAPPY


KINDS = [
    "multipart/form-data; boundary=B",
    'multipart/form-data; boundary="B',
    "x/y",
    "multipart/form-data;;=",
    "application/json",
]


@given(st.binary(max_size=300), st.sampled_from(KINDS))
@settings(max_examples=200)
def test_any_body_is_a_picture_or_a_refusal(body: bytes, content_type: str) -> None:
    try:
        status = 200 if picture_of(body, content_type) is not None else 0
    except RefusedError as refusal:
        status = refusal.status
    assert status in (200, 400, 415)


def test_too_many_bytes_are_refused_before_they_are_read(make: Any) -> None:
    client = make(limits=ServiceLimits(body_bytes=1000))

    def never() -> Any:
        raise AssertionError("the body was read")
        yield b""

    headers = {"content-length": "1001", "content-type": "application/json"}
    assert "1,000" in refused(client.post("/predict", content=never(), headers=headers), 413)


def test_too_many_bytes_without_a_length_are_refused_when_they_come(make: Any) -> None:
    client = make(limits=ServiceLimits(body_bytes=1000))
    headers = {"content-type": "application/json"}
    chunks = iter([b"[" * 400] * 5)
    refused(client.post("/predict", content=chunks, headers=headers), 413)
    refused(client.predict(HAPPY), 413)


def test_when_the_memory_for_requests_is_used_up_more_are_refused(make: Any) -> None:
    client = make(limits=ServiceLimits(buffered_bytes=1000))
    response = client.predict(HAPPY)
    refused(response, 503)
    assert int(response.headers["retry-after"]) >= 1
    # What was taken was given back, so a small one still fits.
    refused(client.post("/predict", json={"image": "AAAA"}), 422)


def test_an_engine_that_fails_is_a_500_that_tells_nothing_of_the_inside(
    make: Any, caplog: pytest.LogCaptureFixture
) -> None:
    client = make(fail_after=1)
    assert client.predict(HAPPY).status_code == 200
    sentence = refused(client.predict(HAPPY), 500)
    assert "fake engine" not in sentence
    assert "the fake engine was told to fail by now" in caplog.text


def test_an_application_may_be_started_again(make: Any, happy: bytes) -> None:
    client = make(limits=ServiceLimits(answer_s=10.0))
    for _ in range(2):
        client.__exit__()
        client.__enter__()
        assert client.predict(happy).status_code == 200


def test_an_answer_that_takes_too_long_is_given_up(make: Any) -> None:
    client = make(latency_ms=400, limits=ServiceLimits(answer_s=0.05))
    refused(client.predict(HAPPY), 504)
