"""Access checks, and the headers of every response."""

from __future__ import annotations

import asyncio
import base64
from importlib import resources
from typing import Any

import numpy as np
import pytest
from fastapi import FastAPI
from starlette.testclient import TestClient, WebSocketDenialResponse

from fer_edge.errors import InputError
from fer_edge.predictor import Predictor
from fer_edge.service.app import create_app
from fer_edge.service.limits import ServiceLimits

TOKEN = "s3cret~+/="
BEARER = {"authorization": f"Bearer {TOKEN}"}


def subprotocols(token: str) -> list[str]:
    coded = base64.urlsafe_b64encode(token.encode()).decode().rstrip("=")
    return ["fer-edge", f"fer-edge.bearer.{coded}"]


def live_status(client: Any, **options: Any) -> int:
    """Return the status code of a WebSocket handshake."""
    try:
        with client.live(**options):
            return 101
    except WebSocketDenialResponse as denial:
        return denial.status_code


@pytest.mark.parametrize("wrong", [0, "", "yunet.onnx", np.zeros(3)], ids=repr)
def test_another_thing_is_no_detector(shipped: Predictor, wrong: Any) -> None:
    with pytest.raises(InputError, match="expected a detector"):
        create_app(shipped, wrong)


@pytest.mark.parametrize(
    "wrong",
    [
        {"predictor": "default"},
        {"token": 5},
        {"hosts": "faces.example.org"},
        {"hosts": (5,)},
        {"hosts": None},
        {"origins": "http://localhost:3000"},
        {"origins": None},
        {"limits": {"live": 2}},
    ],
    ids=repr,
)
def test_an_argument_of_another_type_is_refused(shipped: Predictor, wrong: Any) -> None:
    with pytest.raises(InputError, match="expected"):
        create_app(**{"predictor": shipped, **wrong})


# --- token ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "path", ["/info", "/info/", "/metrics", "/predict", "/predict/", "/live", "/nothing"]
)
@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"authorization": "Bearer wrong"},
        {"authorization": "Bearer"},
        {"authorization": f"Basic {TOKEN}"},
        {"authorization": b"Bearer \xff\xfe"},
        {"x-token": TOKEN},
    ],
    ids=str,
)
def test_without_the_token_nothing_works(make: Any, path: str, headers: Any) -> None:
    client = make(token=TOKEN)
    method = "POST" if path.startswith("/predict") else "GET"
    response = client.request(method, path, headers=headers)
    assert response.status_code == 401
    assert response.headers["www-authenticate"] == "Bearer"
    assert TOKEN not in response.text


def test_with_the_token_all_works(make: Any, happy: bytes) -> None:
    client = make(token=TOKEN)
    assert client.predict(happy, headers=BEARER).status_code == 200
    for path in ("/info", "/metrics"):
        assert client.get(path, headers=BEARER).status_code == 200
    assert live_status(client, headers=BEARER) == 101
    assert live_status(client, subprotocols=subprotocols(TOKEN)) == 101


@pytest.mark.parametrize("token", ["", " ", "two words", "s3cret-ß", "line\n"])
def test_a_token_that_headers_cannot_carry_is_refused_at_once(shipped: Any, token: str) -> None:
    with pytest.raises(InputError, match="visible ASCII"):
        create_app(shipped, token=token)


@pytest.mark.parametrize("path", ["/", "/docs", "/healthz", "/openapi.json", "/static/page.js"])
def test_the_page_and_the_health_need_no_token(make: Any, path: str) -> None:
    assert make(token=TOKEN).get(path).status_code == 200


@pytest.mark.parametrize(
    "protocols",
    [[], ["fer-edge"], subprotocols("wrong"), ["fer-edge.bearer.%%%"], ["fer-edge.bearer."]],
)
def test_live_without_the_token_is_refused_in_the_handshake(make: Any, protocols: Any) -> None:
    assert live_status(make(token=TOKEN), subprotocols=protocols) == 401


# --- host and origin -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1",
        "127.0.0.1:8000",
        "localhost:8000",
        "[::1]:8000",
        "192.168.1.20",
        "car.example",
        "CAR.example:80",
    ],
)
def test_addresses_localhost_and_allowed_names_are_answered(make: Any, host: str) -> None:
    client = make(hosts=("car.example",))
    assert client.get("/healthz", headers={"host": host}).status_code == 200


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "127.0.0.1.evil.example",
        "localhost.evil",
        "",
        "[::1",
        "127.0.0.1@evil.example",
        "2130706433",
    ],
)
def test_a_name_that_was_rebound_to_this_machine_is_refused(client: Any, host: str) -> None:
    assert client.get("/info", headers={"host": host}).status_code == 421
    assert live_status(client, headers={"host": host}) == 421


def ask(app: Any, version: str, path: str, *headers: tuple[bytes, bytes]) -> dict[str, Any]:
    """Return status and body of a request as a server passes it on, without a header Host."""
    answer: dict[str, Any] = {"body": b""}
    scope = {"type": "http", "http_version": version, "method": "GET", "path": path}
    scope |= {"query_string": b"", "headers": list(headers), "client": ("127.0.0.1", 1)}

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": b""}

    async def send(message: dict[str, Any]) -> None:
        answer["status"] = message.get("status", answer.get("status"))
        answer["body"] += message.get("body", b"")

    asyncio.run(app({**scope, "scheme": "http"}, receive, send))
    return answer


def test_a_health_check_in_http_1_0_needs_no_host(client: Any) -> None:
    for path in ("/healthz", "/"):
        assert ask(client.app, "1.0", path)["status"] == 200
        assert ask(client.app, "1.0", path, (b"host", b"evil.example"))["status"] == 421
    for version, path in (("1.1", "/healthz"), ("1.0", "/info"), ("1.0", "/predict")):
        answer = ask(client.app, version, path)
        assert answer["status"] == 421
        assert b"expected the header Host" in answer["body"]


@pytest.mark.parametrize(
    ("host", "advice"),
    [
        ("faces.example.org:8443", "Start it with --allow-host faces.example.org"),
        ("FACES.example.org", "Start it with --allow-host faces.example.org"),
        ("[::1", "Start it with --allow-host NAME"),
        ("a b;c", "Start it with --allow-host NAME"),
    ],
)
def test_the_refusal_names_the_option_that_helps(
    client: Any, make: Any, host: str, advice: str
) -> None:
    assert client.get("/info", headers={"host": host}).json()["error"].endswith(advice)
    if (name := advice.split()[-1]) != "NAME":
        allowed = make(hosts=(name,))
        assert allowed.get("/info", headers={"host": host}).status_code == 200


@pytest.mark.parametrize(
    "host",
    ["faces.example.org:8443", "https://faces.example.org", "a/b", "", "ä.example", "*.example"],
)
def test_a_host_that_no_request_can_name_is_refused_at_once(shipped: Any, host: str) -> None:
    with pytest.raises(InputError, match="Leave out scheme, port and path"):
        create_app(shipped, hosts=("faces.example.org", host))


@pytest.mark.parametrize("host", ["::1", "[::1]", "192.168.1.20", "my_car-2.local."])
def test_addresses_and_names_of_a_network_may_be_allowed(shipped: Any, host: str) -> None:
    create_app(shipped, hosts=(host,))


@pytest.mark.parametrize(
    "origin",
    [
        "http://evil.example",
        "null",
        "http://127.0.0.1:9",
        "http://127.0.0.1.evil.example",
        "file://",
        "",
    ],
)
def test_pages_of_other_sites_are_refused(client: Any, happy: bytes, origin: str) -> None:
    assert client.predict(happy, headers={"origin": origin}).status_code == 403
    assert live_status(client, headers={"origin": origin}) == 403


def test_our_own_page_and_programs_are_not(client: Any, happy: bytes) -> None:
    ours = {"origin": "http://127.0.0.1:8000", "host": "127.0.0.1:8000"}
    assert client.predict(happy, headers=ours).status_code == 200
    assert live_status(client, headers=ours) == 101
    assert live_status(client) == 101


# --- rate ----------------------------------------------------------------------------------------


def test_too_many_requests_are_told_when_to_come_back(make: Any, happy: bytes) -> None:
    client = make(limits=ServiceLimits(rate_hz=0.1, burst=3))
    for _ in range(3):
        assert client.predict(happy).status_code == 200
    refused = client.predict(happy)
    assert refused.status_code == 429
    assert 1 <= int(refused.headers["retry-after"]) <= 10
    assert live_status(client) == 429
    assert client.get("/healthz").status_code == 200


def test_guessing_tokens_is_slowed_down(make: Any, happy: bytes) -> None:
    client = make(token=TOKEN, limits=ServiceLimits(rate_hz=0.1, burst=3))
    wrong = {"authorization": "Bearer wrong"}
    tries = [client.get("/info", headers=wrong).status_code for _ in range(2)]
    tries += [client.predict(happy, headers=wrong).status_code for _ in range(3)]
    assert tries == [401] * 3 + [429] * 2


# --- answers -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "path",
    ["/", "/docs", "/static/page.js", "/static/style.css", "/healthz", "/predict", "/nothing"],
)
def test_every_answer_forbids_other_hosts_and_storing(client: Any, path: str) -> None:
    headers = client.get(path).headers
    policy = headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "frame-ancestors 'none'" in policy
    assert "http" not in policy
    assert "unsafe" not in policy
    assert "*" not in policy
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["referrer-policy"] == "no-referrer"
    assert headers["cache-control"] == "no-store"
    assert "server" not in headers


@pytest.mark.parametrize("path", ["/", "/docs", "/static/client.js", "/static/docs.js"])
def test_the_page_works_below_a_path_of_a_proxy(client: Any, path: str) -> None:
    """Addresses are relative: a proxy may serve /faces/ from here."""
    text = client.get(path).text
    for absolute in ('href="/', 'src="/', '"/predict', '"/info', '"/openapi', "}/live"):
        assert absolute not in text


def test_every_file_of_the_page_is_served_and_names_no_other_host(client: Any) -> None:
    names = {file.name for file in resources.files("fer_edge.service").joinpath("static").iterdir()}
    pages = {"index.html": "/", "docs.html": "/docs"}
    for name in names:
        response = client.get(pages.get(name, f"/static/{name}"))
        assert response.status_code == 200, name
        text = response.text.replace("http://www.w3.org/2000/svg", "")
        assert "http://" not in text, name
        assert "https://" not in text, name


@pytest.mark.parametrize(
    "path",
    [
        "/static/",
        "/static/../app.py",
        "/static/..%2fapp.py",
        "/static/%2e%2e/app.py",
        "/static//etc/passwd",
        "/../../etc/passwd",
        "/static/page.js%00",
        "/redoc",
        "/docs/oauth2-redirect",
        "/info/",
    ],
)
def test_no_other_file_is_served(client: Any, path: str) -> None:
    response = client.get(path, follow_redirects=False)
    assert response.status_code == 404
    assert response.json() == {"error": "there is nothing at this path. See /docs"}


def test_a_wrong_method_is_told_so(client: Any) -> None:
    for path, allowed in (("/predict", "POST"), ("/healthz", "GET")):
        response = client.put(path)
        assert response.status_code == 405
        assert response.headers["allow"] == allowed
        assert response.json() == {"error": f"expected the method {allowed} here. See /docs"}


def test_the_api_describes_what_it_does(client: Any, happy: bytes) -> None:
    api = client.get("/openapi.json").json()
    assert set(api["paths"]) == {"/predict", "/live", "/info", "/healthz", "/metrics"}
    request = api["paths"]["/predict"]["post"]["requestBody"]["content"]
    assert set(request) == {"multipart/form-data", "application/json", "image/*"}
    face = api["components"]["schemas"]["FaceAnswer"]["properties"]
    assert set(face) == set(client.predict(happy).json()["faces"][0])


def test_info_says_what_runs(client: Any) -> None:
    info = client.get("/info").json()
    assert info["variant"] == "fake/fp32"
    assert info["detector"] is None
    assert info["labels"][0] == "anger"


def test_metrics_count_requests_and_say_nothing_of_answers(client: Any, happy: bytes) -> None:
    client.predict(happy)
    client.predict(b"nonsense")
    client.get("/made-up-by-a-stranger")
    text = client.get("/metrics").text
    assert 'fer_edge_requests_total{path="/predict",status="200"} 1.0' in text
    assert 'fer_edge_requests_total{path="/predict",status="422"} 1.0' in text
    assert 'fer_edge_requests_total{path="other",status="404"} 1.0' in text
    assert "fer_edge_batch_faces_sum 1.0" in text
    assert "stranger" not in text
    assert "neutral" not in text


def test_below_another_application_paths_keep_their_names_and_rules(make: Any) -> None:
    outer = FastAPI()
    outer.mount("/faces", make(token=TOKEN).app)
    client = TestClient(outer, base_url="http://127.0.0.1")
    assert client.get("/faces/healthz").status_code == 200
    assert "<html" in client.get("/faces/").text
    assert client.get("/faces/info").status_code == 401
    assert client.get("/faces/info", headers=BEARER).status_code == 200
    text = client.get("/faces/metrics", headers=BEARER).text
    assert 'path="/healthz"' in text
    assert 'path="other"' not in text
