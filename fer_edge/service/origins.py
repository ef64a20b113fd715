"""Origins of web pages whose requests are answered."""

from __future__ import annotations

from urllib.parse import urlsplit

from starlette.datastructures import Headers

from fer_edge.errors import InputError
from fer_edge.shown import shown

_PORTS = {"http": 80, "https": 443}
_Origin = tuple[str, str, int]
"""Scheme, host and port."""


class Origins:
    """Check of the header Origin, and CORS headers for allowed sites."""

    def __init__(self, allowed: tuple[str, ...]) -> None:
        """Parse the allowed origins.

        Raises:
            InputError: one is not a scheme, a host and maybe a port.
        """
        self._allowed: set[_Origin] = set()
        for text in allowed:
            origin = _parse(text)
            if origin is None:
                raise InputError(
                    "expected an origin such as https://app.example.org or http://localhost:3000, "
                    f"got {shown(text)}. Leave out the path"
                )
            self._allowed.add(origin)

    def accepts(self, headers: Headers, scheme: str) -> bool:
        """Return True for programs, the server's own page and allowed sites.

        Args:
            headers: request headers. A page cannot set X-Forwarded-Proto without a preflight.
            scheme: scheme of the connection.
        """
        text = headers.get("origin")
        if text is None:
            return True
        origin = _parse(text)
        if origin is None:
            return False
        # Each proxy of a chain may add what it was asked with; the browser asked the first.
        scheme = headers.get("x-forwarded-proto", scheme).split(",")[0].strip().lower()
        own = _parse(f"{scheme.replace('ws', 'http')}://{headers.get('host', '')}")
        return origin == own or origin in self._allowed

    def cors(self, headers: Headers) -> dict[str, str]:
        """Return the headers that let an allowed site read the answer."""
        text = headers.get("origin")
        if text is None or _parse(text) not in self._allowed:
            return {}
        return {
            "Access-Control-Allow-Origin": text,
            "Access-Control-Expose-Headers": "Retry-After",
            "Vary": "Origin",
        }

    def preflight(self, method: str, headers: Headers) -> dict[str, str] | None:
        """Return the answer's headers to an allowed site's preflight, or None."""
        cors = self.cors(headers)
        if method != "OPTIONS" or not cors or "access-control-request-method" not in headers:
            return None
        return cors | {
            "Access-Control-Allow-Methods": "GET, POST",
            "Access-Control-Allow-Headers": "Authorization, Content-Type",
            "Access-Control-Max-Age": "600",
        }


def _parse(text: str) -> _Origin | None:
    """Return scheme, host and port, or None if ``text`` is not exactly an origin."""
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError:
        return None
    if parts.scheme not in _PORTS or not parts.hostname or "@" in parts.netloc:
        return None
    if parts.path or text.endswith(("?", "#")) or parts.query or parts.fragment:
        return None
    return parts.scheme, parts.hostname, _PORTS[parts.scheme] if port is None else port
