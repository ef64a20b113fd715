"""Forms of a request that carry an image, and bodies made to cost time."""

from __future__ import annotations

import base64
import gzip
import json
from typing import Any

import cv2
import numpy as np
import pytest

from fer_edge.service.body import picture_of
from fer_edge.service.limits import ServiceLimits
from fer_edge.service.refusals import RefusedError
from fer_edge.shipped import FACES

HAPPY = (FACES / "happiness.png").read_bytes()
BASE64 = base64.b64encode(HAPPY).decode()
SAD = base64.b64encode((FACES / "sadness.png").read_bytes()).decode()
assert SAD.endswith("=")
MIB_8 = 8 * 1024 * 1024


def encoded(suffix: str) -> bytes:
    return cv2.imencode(suffix, cv2.imdecode(np.frombuffer(HAPPY, np.uint8), 1))[1].tobytes()


@pytest.mark.parametrize(
    ("content_type", "suffix"),
    [
        ("image/jpeg", ".jpg"),
        ("image/jpg", ".jpg"),
        ("image/png", ".png"),
        ("image/webp", ".webp"),
        ("image/bmp", ".bmp"),
        ("IMAGE/PNG; x=y", ".png"),
        ("application/octet-stream", ".png"),
    ],
)
def test_the_image_may_be_the_body(client: Any, content_type: str, suffix: str) -> None:
    headers = {"content-type": content_type}
    answer = client.post("/predict", content=encoded(suffix), headers=headers)
    assert answer.status_code == 200, answer.text
    assert answer.json()["width_px"] == 48


@pytest.mark.parametrize(
    "content_type", ["image/jpeg", "image/svg+xml", "application/octet-stream"]
)
def test_a_body_that_is_no_image_is_a_422(client: Any, content_type: str) -> None:
    headers = {"content-type": content_type}
    assert client.post("/predict", content=b"<svg/>", headers=headers).status_code == 422


@pytest.mark.parametrize(
    "text",
    [
        BASE64,
        "data:image/png;base64," + BASE64,
        "DATA:image/png;charset=utf-8;BASE64," + BASE64,
        "data:;base64," + BASE64,
        "\n".join(BASE64[start : start + 76] for start in range(0, len(BASE64), 76)) + "\n",
        "\r\n".join(BASE64[start : start + 64] for start in range(0, len(BASE64), 64)),
        base64.urlsafe_b64encode(HAPPY).decode(),
        SAD.rstrip("="),
        "data:image/x-png;base64," + SAD.rstrip("=").translate(str.maketrans("+/", "-_")),
    ],
    ids=[
        *("plain", "data URI", "capitals", "no type", "lines of 76", "CRLF"),
        *("base64url", "without padding", "both"),
    ],
)
def test_base64_as_programs_write_it(client: Any, text: str) -> None:
    assert client.post("/predict", json={"image": text}).status_code == 200
    headers = {"content-type": "application/json"}
    for body in (
        f'{{"image": "{text}"}}',  # line breaks as they are, from a shell
        f'\ufeff{{"image": "{text}"}}',
        f' \n{{\t"image"\n:"{text}"\r\n}}\n',
        '{"image":"' + text.replace("/", "\\/").replace("\n", "\\n").replace("\r", "\\r") + '"}',
        '{"image":"' + text.replace("+", "\\u002B").replace("\n", "\\n").replace("\r", "") + '"}',
    ):
        assert client.post("/predict", content=body, headers=headers).status_code == 200, body[:40]


@pytest.mark.parametrize(
    "text",
    [
        "data:image/png," + BASE64,
        "data:image/png;base64",
        "data:text/html;base64,%3C",
        "é" + BASE64,
        BASE64 + "!",
        "\ufffd",
        "data:image/png;base64,data:image/png;base64," + BASE64,
        "\x00",
        "A",
    ],
    ids=range(9),
)
def test_text_that_is_not_base64_is_a_sentence(client: Any, text: str) -> None:
    answer = client.post("/predict", json={"image": text})
    assert answer.status_code == 400
    assert "base64" in answer.json()["error"]


BOMBS = {
    "objects": b"[" + b"{}," * (MIB_8 // 3 - 1),
    "open": b"[" * MIB_8,
    "keys": b'{"image":' * (MIB_8 // 9),
    "numbers": b'{"image": [' + b"1," * (MIB_8 // 2 - 10),
    "string": b'{"image": "' + b"a" * MIB_8,
    "quotes": b'"' * MIB_8,
    "spaces": b" " * MIB_8,
    "spaces inside": b'{"image"' + b" " * (MIB_8 - 20),
    "commas": b'{"image": "data:' + b";a" * (MIB_8 // 2 - 20) + b'"}',
}


@pytest.mark.parametrize("kind", BOMBS)
def test_json_made_to_cost_time_is_not_parsed(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The parser would hold Python's lock for seconds."""
    monkeypatch.setattr(json, "loads", None)
    with pytest.raises(RefusedError) as refusal:
        picture_of(BOMBS[kind], "application/json")
    assert refusal.value.status == 400


def test_json_of_escapes_is_base64() -> None:
    body = b'{"image": "' + b"\\u0041" * (MIB_8 // 6 - 5) + b'"}'
    assert not any(picture_of(body, "application/json"))


HEAD = b'--B\r\nContent-Disposition: form-data; name="image"; filename="a"\r\n'
FORMS = {
    "headers": HEAD + b"a:b\r\n" * (MIB_8 // 5),
    "one header": HEAD + b"a" * MIB_8,
    "line breaks": b"\r\n" * (MIB_8 // 2),
    "parts": b'--B\r\nContent-Disposition: form-data; name="a"\r\n\r\n\r\n' * (MIB_8 // 55),
    "nearly boundaries": HEAD + b"\r\n" + b"\r\n--" * (MIB_8 // 4),
    "carriage returns": HEAD + b"\r\n" + b"\r" * MIB_8,
}


@pytest.mark.parametrize("kind", FORMS)
def test_forms_made_to_cost_time_are_refused(kind: str) -> None:
    with pytest.raises(RefusedError) as refusal:
        picture_of(FORMS[kind], "multipart/form-data; boundary=B")
    assert refusal.value.status == 400


@pytest.mark.parametrize("content_type", ["a" * 60_000, "multipart/form-data" + ";" * 60_000])
def test_a_long_content_type_is_refused_and_not_repeated(content_type: str) -> None:
    with pytest.raises(RefusedError) as refusal:
        picture_of(b"", content_type)
    assert len(str(refusal.value)) < 300


def test_a_form_is_read_as_browsers_and_curl_write_it() -> None:
    data = b"\r\n--b\r\n\r\n--" + HAPPY + b"\r\n"
    for boundary, before, after in (
        (b"B", b"", b"\r\n"),
        (b"----WebKitFormBoundary7MA4YWxkTrZu0gW", b"\r\n", b""),
        (b"-" * 24 + b"0123", b"", b"\r\nepilogue"),
    ):
        head = (
            b"Content-Type: image/png\r\n"
            b'content-disposition: form-data; filename="x.png"; name="image"\r\n\r\n'
        )
        start, end = before + b"--" + boundary + b"\r\n", b"\r\n--" + boundary + b"--" + after
        body = start + head + data + end
        assert picture_of(body, f'multipart/form-data; boundary="{boundary.decode()}"') == data
    empty = HEAD + b"\r\n\r\n--B--\r\n"
    assert picture_of(empty, "multipart/form-data; boundary=B") == b""


@pytest.mark.parametrize("name", [b"filename*=UTF-8''na%C3%AFve.png", b"FileName* = utf-8''a"])
def test_a_form_may_state_an_extended_name_alone(name: bytes) -> None:
    head = b'--B\r\nContent-Disposition: form-data; name="image"; ' + name + b"\r\n\r\n"
    body = head + HAPPY + b"\r\n--B--\r\n"
    assert picture_of(body, "multipart/form-data; boundary=B") == HAPPY


@pytest.mark.parametrize("encoding", ["gzip", "br", "gzip, identity", "x" * 500])
def test_a_compressed_body_is_refused_by_its_encoding(client: Any, encoding: str) -> None:
    headers = {"content-type": "image/png", "content-encoding": encoding}
    answer = client.post("/predict", content=gzip.compress(HAPPY), headers=headers)
    assert answer.status_code == 415
    assert "got the Content-Encoding" in answer.json()["error"]
    headers["content-encoding"] = "Identity"
    assert client.post("/predict", content=HAPPY, headers=headers).status_code == 200


def test_data_may_not_be_larger_than_the_limit(make: Any) -> None:
    client = make(limits=ServiceLimits(body_bytes=1000))
    headers = {"content-type": "image/png"}
    assert client.post("/predict", content=HAPPY, headers=headers).status_code == 413
