"""Checks of every request, and the security headers of every answer."""

from __future__ import annotations

import base64
import ipaddress
import re
import secrets
import time
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from starlette.websockets import WebSocket

from fer_edge.errors import InputError
from fer_edge.service.headers import SECURITY_HEADERS
from fer_edge.service.limits import RateLimit, ServiceLimits
from fer_edge.service.metrics import Metrics
from fer_edge.service.origins import Origins
from fer_edge.service.protocol import NOT_BEFORE_S
from fer_edge.service.refusals import RefusedError, answer_to
from fer_edge.shown import shown

SUBPROTOCOL = "fer-edge"
_BEARER = "fer-edge.bearer."
"""Prefix of the subprotocol with the token in base64url: browsers set no WebSocket headers."""

_NAME = re.compile(r"[A-Za-z0-9._-]{1,253}")
"""Host name, also one of a local network. Browsers send other letters in Punycode."""


def check_names(names: object, name: str) -> None:
    """Raise InputError unless an argument is a list of strings.

    A string alone is refused: it would be read letter by letter.
    """
    if not isinstance(names, list | tuple | set | frozenset) or not all(
        isinstance(each, str) for each in names
    ):
        raise InputError(
            f"expected {name} as a list of strings, got {shown(names)}. Put it into a list"
        )


def check_hosts(hosts: tuple[str, ...]) -> None:
    """Raise InputError unless each is a host name, as requests give it without its port."""
    for host in hosts:
        if not (_NAME.fullmatch(host) or _is_address(host.strip("[]"))):
            raise InputError(
                f"expected a host name such as faces.example.org, got {shown(host)}. "
                "Leave out scheme, port and path"
            )


class SecurityMiddleware:
    """ASGI middleware: host, origin, rate and token; security headers; request metrics.

    Args:
        app: The application.
        token: Bearer token that requests must carry. None admits everybody.
        origins: Other sites whose pages may use the service.
        hosts: Names of the server besides IP addresses and localhost. Any other name in Host is
            refused, so that a web page cannot rebind its name to this machine.
        paths: All paths of the application, for the metrics.
        open_paths: Paths without rate limit and token. All others need both.
        limits: Rate and burst.
        metrics: Gets status and duration of each request.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        token: str | None,
        hosts: tuple[str, ...],
        origins: Origins,
        paths: frozenset[str],
        open_paths: frozenset[str],
        limits: ServiceLimits,
        metrics: Metrics,
    ) -> None:
        self._app, self._token, self._metrics = app, token, metrics
        self._paths, self._open = paths, open_paths
        self._hosts = {"localhost", *(host.lower() for host in hosts)}
        self._origins = origins
        self._rate = RateLimit(limits.rate_hz, limits.burst)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            return await self._app(scope, receive, send)
        start = time.perf_counter()
        request = Headers(scope=scope)
        # Unknown paths share one name: clients could fill the registry with invented ones.
        place = _path_of(scope)
        path = place if place in self._paths else "other"

        async def counted(message: Message) -> None:
            if message["type"].endswith(("http.response.start", "websocket.accept")):
                status = message.get("status", 101)
                self._metrics.requests.labels(path, str(status)).inc()
                message.setdefault("headers", [])  # accept() may leave them out
                headers = MutableHeaders(scope=message)
                headers.update(SECURITY_HEADERS)
                if "status" in message:
                    headers.update(self._origins.cors(request))
                    if "retry-after" in headers:
                        scope[NOT_BEFORE_S] = float(headers["retry-after"])
            await send(message)
            if message["type"] == "http.response.body" and not message.get("more_body"):
                self._metrics.request_s.labels(path).observe(time.perf_counter() - start)

        try:
            self._check(scope, request)
        except RefusedError as refusal:
            return await _deny(refusal, scope, receive, counted)
        method = scope.get("method", "")
        preflight = self._origins.preflight(method, request)
        if preflight is not None:
            return await Response(status_code=204, headers=preflight)(scope, receive, counted)
        if method == "HEAD":  # the server leaves out the body of the same answer
            scope = {**scope, "method": "GET"}
        return await self._app(scope, receive, counted)

    def _check(self, scope: Scope, headers: Headers) -> None:
        """Raise RefusedError for host (421), origin (403), rate (429) or token (401)."""
        self._check_host(scope, headers.get("host"))
        if not self._origins.accepts(headers, scope["scheme"]):
            raise RefusedError(
                403,
                "requests from pages of other sites are refused. Start the server with "
                "--allow-origin, and pass X-Forwarded-Proto on if a proxy speaks TLS",
            )
        if _path_of(scope) in self._open or self._origins.preflight(
            scope.get("method", ""), headers
        ):
            return
        client = scope.get("client")
        self._rate.take(client[0] if client else "")
        if self._token is not None:
            token = _token_of(headers)
            if token is None or not secrets.compare_digest(token, self._token.encode()):
                raise RefusedError(401, "expected the token, as 'Authorization: Bearer TOKEN'")

    def _check_host(self, scope: Scope, host: str | None) -> None:
        if host is None:
            # Health checks of load balancers. Browsers, which could be rebound, speak HTTP/1.1.
            if scope.get("http_version") == "1.0" and _path_of(scope) in self._open:
                return
            raise RefusedError(
                421, "expected the header Host, such as 'Host: localhost'. Send it with the request"
            )
        name = _name_of(host)
        if name not in self._hosts and not _is_address(name):
            raise RefusedError(
                421,
                f"this server does not serve the host {host[:80]!r}. "
                f"Start it with --allow-host {name if _NAME.fullmatch(name) else 'NAME'}",
            )


def _name_of(host: str) -> str:
    """Return the name or address in a header Host, in lower case; empty if there is none."""
    try:
        return urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return ""


def _path_of(scope: Scope) -> str:
    """Return the path below the place where the application is mounted."""
    path, root = str(scope["path"]), str(scope.get("root_path", ""))
    return path[len(root) :] if root and path.startswith(f"{root}/") else path


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def _token_of(headers: Headers) -> bytes | None:
    scheme, _, token = headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer":
        return token.strip().encode()
    for protocol in headers.get("sec-websocket-protocol", "").split(","):
        if protocol.strip().startswith(_BEARER):
            coded = protocol.strip().removeprefix(_BEARER)
            try:
                return base64.urlsafe_b64decode(coded + "=" * (-len(coded) % 4))
            except ValueError:
                return None
    return None


async def _deny(refusal: RefusedError, scope: Scope, receive: Receive, send: Send) -> None:
    if scope["type"] == "http":
        await answer_to(refusal)(scope, receive, send)
    else:
        await WebSocket(scope, receive, send).send_denial_response(answer_to(refusal))
