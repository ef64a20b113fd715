"""Limits of one server, and counters that enforce them."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

from fer_edge.errors import InputError
from fer_edge.monitor.typed_fields import normalise_fields
from fer_edge.service.refusals import RefusedError


@dataclass(frozen=True)
class ServiceLimits:
    """Limits of one server.

    The defaults suit one small computer with a handful of clients.

    Attributes:
        body_bytes: largest request or live frame.
        buffered_bytes: all bodies in memory together.
        pixels: largest image, by its header.
        pending: images between arrival and answer; more are refused with 503.
        batch_faces: faces in one run of the engine.
        rate_hz: requests of one client per second.
        burst: requests that one client may save up.
        connections: open connections.
        live: live connections among them.
        frames_hz: WebSocket frames of one connection per second, control frames included.
        fragments: WebSocket frames in one message.
        head_s: seconds for a request's head, and for the answer to a WebSocket upgrade.
        body_s: seconds for a request's body.
        write_s: seconds for a client to read what it is sent.
        decode_s: seconds for decoding one image and finding its faces.
        answer_s: seconds from a complete request to its answer.
        live_idle_s: seconds without a frame until a live connection is closed.
        drain_s: seconds for requests under way when the service ends.

    Raises:
        InputError: a limit is not a finite number above 0, or a count is not whole.
    """

    body_bytes: int = 8 * 1024 * 1024
    buffered_bytes: int = 128 * 1024 * 1024
    pixels: int = 25_000_000
    pending: int = 64
    batch_faces: int = 32
    rate_hz: float = 30.0
    burst: int = 60
    connections: int = 768
    live: int = 8
    frames_hz: float = 500.0
    fragments: int = 1024
    head_s: float = 10.0
    body_s: float = 15.0
    write_s: float = 10.0
    decode_s: float = 10.0
    answer_s: float = 30.0
    live_idle_s: float = 60.0
    drain_s: float = 20.0

    def __post_init__(self) -> None:
        normalise_fields(self)
        for name, value in vars(self).items():
            if not value > 0:
                raise InputError(f"expected the limit {name} above 0, got {value}")


class Buffer:
    """Bytes of requests in memory.

    A slow client counts only the bytes that it has sent.

    Args:
        limit_bytes: Most bytes of all requests together.
    """

    def __init__(self, limit_bytes: int) -> None:
        self._left = limit_bytes

    def take(self, count: int) -> None:
        """Count bytes of a request.

        Raises RefusedError (503) if the buffer is full.
        """
        if count > self._left:
            raise RefusedError(
                503, "the server's memory for requests is full. Try again", retry_after_s=1
            )
        self._left -= count

    def give_back(self, count: int) -> None:
        """Release bytes of a request."""
        self._left += count


class RateLimit:
    """Token bucket for each client.

    Args:
        rate_hz: Requests per second of one client.
        burst: Requests that a client may save up.
        clients: Most clients remembered, so that invented addresses cannot fill the memory.
        clock: Returns seconds that never run back.
    """

    def __init__(
        self,
        rate_hz: float,
        burst: int,
        *,
        clients: int = 4096,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._rate_hz, self._burst = rate_hz, burst
        self._clients, self._clock = clients, clock
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def take(self, client: str) -> None:
        """Count one request. Raises RefusedError (429) if the client sends too many."""
        now = self._clock()
        saved, then = self._buckets.pop(client, (float(self._burst), now))
        saved = min(saved + (now - then) * self._rate_hz, self._burst)
        allowed = saved >= 1
        self._buckets[client] = (saved - 1 if allowed else saved, now)
        if len(self._buckets) > self._clients:
            self._buckets.popitem(last=False)
        if not allowed:
            raise RefusedError(
                429,
                f"expected at most {self._rate_hz:g} requests a second from one client. Slow down, "
                "or start the server with a higher --rate",
                retry_after_s=(1 - saved) / self._rate_hz,
            )


class FrameRate:
    """Token bucket for the WebSocket frames of one connection.

    It saves up two seconds' worth.
    """

    def __init__(self, rate_hz: float, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._rate_hz, self._clock = rate_hz, clock
        self._saved = self._burst = max(2 * rate_hz, 1.0)
        self._then = clock()

    def take(self) -> bool:
        """Count one frame. Return False if it is one too many."""
        now = self._clock()
        self._saved = min(self._saved + (now - self._then) * self._rate_hz, self._burst)
        self._then = now
        if self._saved < 1:
            return False
        self._saved -= 1
        return True
