"""Pages of other sites: refused, or allowed by name; HEAD; headers of every answer."""

from __future__ import annotations

import socket
from typing import Any

import httpx
import pytest
from starlette.testclient import WebSocketDenialResponse

from fer_edge.errors import InputError
from fer_edge.service.app import create_app

APP = "http://localhost:3000"
HOST = {"host": "127.0.0.1:8000"}


def status(client: Any, headers: dict[str, str]) -> int:
    return int(client.get("/info", headers=HOST | headers).status_code)


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({"origin": "http://127.0.0.1:8000"}, 200),
        ({"origin": "HTTP://127.0.0.1:8000"}, 200),
        ({"origin": "https://127.0.0.1:8000"}, 403),
        ({"origin": "ftp://127.0.0.1:8000"}, 403),
        ({"origin": "chrome-extension://127.0.0.1:8000"}, 403),
        ({"origin": "//127.0.0.1:8000"}, 403),
        ({"origin": "http://127.0.0.1:8000/"}, 403),
        ({"origin": "http://a@127.0.0.1:8000"}, 403),
        ({"origin": "http://127.0.0.1"}, 403),
        ({"origin": "http://127.0.0.1:8000", "x-forwarded-proto": "https"}, 403),
        ({"origin": "https://127.0.0.1:8000", "x-forwarded-proto": "https"}, 200),
        ({"origin": "https://127.0.0.1:8000", "x-forwarded-proto": "https,http"}, 200),
        ({"origin": "https://127.0.0.1:8000", "x-forwarded-proto": " https , https"}, 200),
        ({"origin": "https://127.0.0.1:8000", "x-forwarded-proto": "http, https"}, 403),
        ({"origin": "https://127.0.0.1", "host": "127.0.0.1", "x-forwarded-proto": "https"}, 200),
        ({"origin": "http://127.0.0.1", "host": "127.0.0.1:80"}, 200),
        ({"origin": "http://127.0.0.1:x"}, 403),
        ({"origin": "http://[::1"}, 403),
    ],
)
def test_the_origin_is_compared_with_its_scheme_and_port(
    client: Any, headers: dict[str, str], expected: int
) -> None:
    assert status(client, headers) == expected


def test_an_allowed_site_may_read_answers(make: Any, happy: bytes) -> None:
    client = make(origins=(APP,), token="secret")
    ours = {"origin": APP, "authorization": "Bearer secret"}
    answer = client.predict(happy, headers=ours)
    assert answer.status_code == 200
    assert answer.headers["access-control-allow-origin"] == APP
    assert answer.headers["vary"] == "Origin"
    refused = client.get("/info", headers={"origin": APP})
    assert refused.status_code == 401
    assert refused.headers["access-control-allow-origin"] == APP
    with client.live(headers=ours):
        pass
    for other in ("http://localhost:3001", "https://localhost:3000", "null"):
        refused = client.get("/info", headers=ours | {"origin": other})
        assert refused.status_code == 403
        assert "access-control-allow-origin" not in refused.headers
        with pytest.raises(WebSocketDenialResponse):
            client.live(headers=ours | {"origin": other}).__enter__()


def test_an_allowed_site_gets_its_preflight_answered(make: Any) -> None:
    client = make(origins=(APP,), token="secret")
    asked = {"origin": APP, "access-control-request-method": "POST"}
    answer = client.options("/predict", headers=asked)
    assert answer.status_code == 204
    assert "authorization" in answer.headers["access-control-allow-headers"].lower()
    assert client.options("/predict", headers=asked | {"origin": "http://b"}).status_code == 403
    assert client.options("/predict", headers={"origin": APP}).status_code == 401


@pytest.mark.parametrize(
    "origin", ["*", "null", "", "localhost:3000", "http://a/b", "http://", "ftp://a", "http://a?"]
)
def test_an_allowed_origin_is_exactly_one(shipped: Any, origin: str) -> None:
    with pytest.raises(InputError, match=r"https://app\.example\.org"):
        create_app(shipped, origins=(origin,))


@pytest.mark.parametrize("path", ["/", "/healthz", "/docs", "/static/page.js", "/openapi.json"])
def test_head_is_get_without_a_body(client: Any, path: str) -> None:
    head, get = client.head(path), client.get(path)
    assert (head.status_code, head.content) == (200, b"")
    assert head.headers["content-length"] == get.headers["content-length"]
    assert client.head("/nothing").status_code == 404
    assert client.head("/predict").status_code == 405


HARDENED = ("content-security-policy", "x-content-type-options", "cache-control")


@pytest.mark.parametrize(
    ("request_bytes", "expected"),
    [
        (b"nonsense\r\n\r\n", b"400"),
        (b"\x16\x03\x01\x02\0", b""),
        (b"GET / HTTP/1.1\r\n\r\n", b"400"),
        (b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nX: " + b"a" * 70_000, b"400"),
        (
            b"POST /predict HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 9\r\n"
            b"Transfer-Encoding: chunked\r\n\r\nzz\r\n",
            b"4",
        ),
        (
            b"POST /predict HTTP/1.1\r\nHost: 127.0.0.1\r\n"
            b"Transfer-Encoding: chunked\r\n\r\nzz\r\n",
            b"400",
        ),
        (b"HEAD / HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n", b"200"),
        (b"GET /boom HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n", b"500"),
    ],
    ids=["text", "TLS", "no host", "long head", "smuggling", "bad chunk", "HEAD", "failure"],
)
def test_every_answer_of_a_real_server_is_hardened(
    hardened: Any, request_bytes: bytes, expected: bytes
) -> None:
    with socket.create_connection(("127.0.0.1", hardened.port)) as connection:
        connection.settimeout(30)
        connection.sendall(request_bytes)
        answer = b""
        while data := connection.recv(65536):
            answer += data
    if expected:
        head, _, body = answer.partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 " + expected), answer
        for name in HARDENED:
            assert head.lower().count(name.encode()) == 1, answer
        assert not (expected == b"200" and body)
    assert httpx.get(f"{hardened.base}/healthz").status_code == 200


BOOM = """
import fer_edge.service.app as module
create = module.create_app
def create_app(*args, **options):
    app = create(*args, **options)
    @app.get("/boom")
    def boom():
        raise ValueError("boom")
    return app
module.create_app = create_app
"""


@pytest.fixture(scope="module")
def hardened(launch_fake: Any) -> Any:
    with launch_fake(before=BOOM, head_s=2) as server:
        yield server
