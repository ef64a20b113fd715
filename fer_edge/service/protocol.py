"""HTTP connections for uvicorn, with a time limit in every state.

uvicorn times idle connections only after a first answer and until the next byte. A client can hold
its connection without end: it sends half a request head, keeps sending a refused body, or does not
read its answers. uvicorn's refusal of too many connections has no Retry-After. A client that
ignores Retry-After is not read from until that time has passed: thousands of refusals a second
would leave no time for answers.

asyncio reads 256 KiB at a time. That can hold 40,000 chunks of one byte, which take seconds. Here a
connection is read in small parts, with those of others between them, and parser.py refuses what is
too finely divided.

The body of a request is timed where it is read (body.py).
"""

from __future__ import annotations

import asyncio
import logging

import h11
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from uvicorn.protocols.http.h11_impl import H11Protocol

from fer_edge.service.limits import ServiceLimits
from fer_edge.service.parser import CHUNK_BYTES, FREE_CHUNKS, HEAD_BYTES, HEADERS, Parser
from fer_edge.service.refusals import RefusedError, answer_to
from fer_edge.service.websocket import Handshake, WebSocketProtocol
from fer_edge.service.write_clock import WriteClock

log = logging.getLogger("fer_edge.service")
NOT_BEFORE_S = "fer_edge.not_before_s"
"""Key of a scope: seconds until the client may come back."""
_LONGEST_PAUSE_S = 2.0
"""Longest pause of reading, in seconds.

uvicorn closes idle connections after 5 s and would drop what the client has sent.
"""
_READ_BYTES = 8192
"""Bytes read and parsed at a time: 2,000 headers at most, and 1,000 turns for the largest body."""
_LINGER_S, _LINGER_BYTES = 2.0, 256 * 1024
"""Seconds, and bytes that still come, for a client to read why its request is not HTTP."""


def _refusing(refusal: RefusedError, *, close: bool = False) -> ASGIApp:
    """Return an application that answers every request with ``refusal``."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if refusal.retry_after_s is not None:
            scope[NOT_BEFORE_S] = refusal.retry_after_s
        answer = answer_to(refusal)
        if close:
            answer.headers["Connection"] = "close"
        await answer(scope, receive, send)

    return app


_FULL = _refusing(
    RefusedError(503, "the server has as many connections as it may. Try again", retry_after_s=1)
)
_NOT_HTTP = RefusedError(
    400,
    f"expected an HTTP/1.1 request with a head below {HEAD_BYTES // 1024} KiB and {HEADERS + 1} "
    f"headers, and chunks of at least {CHUNK_BYTES} bytes on average at any point after the "
    f"first {FREE_CHUNKS} chunks. Correct the client",
)


def _answering(app: ASGIApp) -> ASGIApp:
    """Return ``app`` with an answer of our own where uvicorn would send its bare 500."""

    async def answering(scope: Scope, receive: Receive, send: Send) -> None:
        started = False

        async def watched(message: Message) -> None:
            nonlocal started
            started = True
            await send(message)

        try:
            return await app(scope, receive, watched)
        except asyncio.CancelledError:  # uvicorn cancels what is under way after drain_s
            refusal = RefusedError(503, "the service ends. Try again later", retry_after_s=5)
        except Exception:
            if started:
                raise
            log.exception("a request failed")
            refusal = RefusedError(500, "the server could not answer this. Its log says why")
        if not started:
            await answer_to(refusal)(scope, receive, send)

    return answering


class TimedProtocol(H11Protocol, asyncio.BufferedProtocol):
    """Connection of HTTP/1.1 whose every state has a time limit."""

    limits: ServiceLimits
    _timer: asyncio.TimerHandle | None = None
    _write_clock: WriteClock
    _handshake: Handshake
    _linger_bytes: int | None = None  # those that may still come, once the request is refused

    # --- times -----------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self.conn = Parser()
        self._buffer = bytearray(_READ_BYTES)
        self._write_clock = WriteClock(self.limits.write_s)
        WriteClock.watch(transport)
        self._live_app = self.app
        self.app = _answering(self.app)
        if len(self.connections) > self.limits.connections:
            self.app = _FULL
        self._watch()

    def get_buffer(self, sizehint: int) -> bytearray:
        return self._buffer

    def buffer_updated(self, count: int) -> None:
        if self._linger_bytes is None:
            self.data_received(bytes(self._buffer[:count]))
            return
        self._linger_bytes -= count
        if self._linger_bytes < 0:
            self.transport.abort()

    def handle_events(self) -> None:
        super().handle_events()
        self._watch()

    def on_response_complete(self) -> None:
        wait_s: float | None = self.cycle.scope.get(NOT_BEFORE_S)  # type: ignore[assignment]
        super().on_response_complete()
        self._watch()
        if wait_s is not None and not self.transport.is_closing():
            self.transport.pause_reading()
            self.loop.call_later(min(wait_s, _LONGEST_PAUSE_S), self._read_again)

    def _read_again(self) -> None:
        if not (self.transport.is_closing() or self.flow.read_paused or self._is_upgraded()):
            self.transport.resume_reading()

    def pause_writing(self) -> None:
        super().pause_writing()
        self._write_clock.start(self.transport)

    def resume_writing(self) -> None:
        super().resume_writing()
        self._write_clock.stop()

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop()
        self._write_clock.stop()
        super().connection_lost(exc)

    def _watch(self) -> None:
        """Time the client while it is its turn. Single bytes do not set the timer back."""
        if self.transport.is_closing() or self._is_upgraded() or self._linger_bytes is not None:
            return
        if self.cycle is not None and not self.cycle.response_complete:
            self._stop()
        elif self._timer is None:
            self._timer = self.loop.call_later(self.limits.head_s, self.transport.abort)

    def _stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    # --- upgrades --------------------------------------------------------------------------------

    def _is_upgraded(self) -> bool:
        return self.transport.get_protocol() is not self

    def _should_upgrade_to_ws(self) -> bool:
        """Check the handshake before the hand-over; a wrong one gets an ordinary answer."""
        try:
            self._handshake = Handshake(dict(self.scope), self.limits)
        except RefusedError as refusal:
            self.app = _refusing(refusal, close=True)
            return False
        return self.app is not _FULL

    def _unsupported_upgrade_warning(self) -> None:
        """Write nothing into the log: clients decide what they send."""

    def handle_websocket_upgrade(self, event: h11.Request) -> None:
        self._stop()
        self._unset_keepalive_if_required()
        self._write_clock.stop()
        self.connections.discard(self)
        protocol = WebSocketProtocol(
            self._live_app,
            dict(self.scope),
            self._handshake,
            self.transport,
            self.limits,
            self.server_state,
        )
        self.transport.set_protocol(protocol)
        if self.flow.write_paused:
            protocol.pause_writing()
        protocol.start()

    # --- errors ----------------------------------------------------------------------------------

    def send_400_response(self, msg: str) -> None:
        """Answer what is not HTTP, unless an answer is under way already."""
        if self.cycle is not None:
            self.cycle.disconnected = True
            self.cycle.message_event.set()
        if self.conn.our_state in (h11.IDLE, h11.SEND_RESPONSE):
            answer = answer_to(_NOT_HTTP)
            headers = [*answer.raw_headers, (b"connection", b"close")]
            head = h11.Response(status_code=400, headers=headers, reason=b"Bad Request")
            for part in (head, h11.Data(data=bytes(answer.body)), h11.EndOfMessage()):
                self.transport.write(self.conn.send(part) or b"")
        self._linger()

    def _linger(self) -> None:
        """End the connection. A close at once would reset it, and the answer would be lost."""
        self._stop()
        self._linger_bytes = _LINGER_BYTES
        self._timer = self.loop.call_later(_LINGER_S, self.transport.abort)
        self.transport.write_eof()
        self.transport.resume_reading()


def http_protocol(limits: ServiceLimits) -> type[H11Protocol]:
    """Return the protocol class with these limits, for uvicorn's ``http`` setting."""
    return type("LimitedProtocol", (TimedProtocol,), {"limits": limits})
