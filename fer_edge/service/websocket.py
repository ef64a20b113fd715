"""WebSocket connections for uvicorn, on the frame parser of the ``websockets`` library.

uvicorn's own protocol never closes a connection whose handshake fails, answers PINGs of a client
that does not read, and takes any number of empty frames. Each connection has limits here: a time
for the handshake and for every write, a rate of frames, and a number of fragments per message.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import MutableMapping
from typing import Any

from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Scope
from starlette.websockets import WebSocketDisconnect
from websockets.datastructures import Headers
from websockets.exceptions import InvalidState
from websockets.frames import Frame, Opcode
from websockets.http11 import Request, Response
from websockets.server import ServerProtocol

from fer_edge.service.limits import FrameRate, ServiceLimits
from fer_edge.service.refusals import RefusedError, answer_to
from fer_edge.service.write_clock import WriteClock

log = logging.getLogger("fer_edge.service")
_SLICE_BYTES = 4096
"""Bytes parsed at a time. A read of 256 KiB can hold 40,000 empty frames."""
_CLOSE_S = 5.0
"""Seconds that a client has to answer a close frame."""


class Handshake:
    """WebSocket upgrade that the library accepts.

    Attributes:
        parser: frame parser, past the handshake request.
        response: answer 101 to the upgrade.
        subprotocols: what the client offers.
    """

    def __init__(self, scope: Scope, limits: ServiceLimits) -> None:
        """Check the upgrade in an HTTP ``scope``.

        Raises:
            RefusedError: the request has a body, an over-long head, or a wrong key or version.
        """
        self.parser = ServerProtocol(max_size=limits.body_bytes, logger=_quiet_logger())
        self.parser.receive_data(_head(scope))
        events = self.parser.events_received()
        if not (events and isinstance(events[0], Request)):
            raise _bad_handshake("the head is too long or announces a body")
        self.response = self.parser.accept(events[0])
        if self.response.status_code != 101:
            raise _bad_handshake(
                "expected GET, HTTP/1.1, a Sec-WebSocket-Key and Sec-WebSocket-Version: 13"
            )
        offered = events[0].headers.get_all("Sec-WebSocket-Protocol")
        self.subprotocols = [name.strip() for line in offered for name in line.split(",")]


def _head(scope: Scope) -> bytes:
    query = scope["query_string"]
    target = scope["raw_path"] + (b"?" + query if query else b"")
    version = b"HTTP/" + scope["http_version"].encode()
    lines = [b" ".join((scope["method"].encode(), target, version))]
    lines += [name + b": " + value for name, value in scope["headers"]]
    return b"\r\n".join(lines) + b"\r\n\r\n"


def _bad_handshake(reason: str) -> RefusedError:
    return RefusedError(400, f"cannot open a WebSocket: {reason}. See /docs")


def _quiet_logger() -> logging.Logger:
    """Return the logger for what clients do wrong, which belongs into no log."""
    logger = logging.getLogger("fer_edge.service.websockets")
    logger.setLevel(logging.CRITICAL)
    return logger


class WebSocketProtocol(asyncio.Protocol):
    """One WebSocket connection, from upgrade to end, as ASGI sees it."""

    def __init__(
        self,
        app: ASGIApp,
        scope: Scope,
        handshake: Handshake,
        transport: asyncio.Transport,
        limits: ServiceLimits,
        state: Any,
    ) -> None:
        """Prepare the connection.

        Args:
            app: ASGI application.
            scope: HTTP scope of the upgrade request.
            handshake: the upgrade that was accepted.
            transport: connection to the client.
            limits: times, rates and sizes.
            state: uvicorn's ServerState, which lists connections and tasks.
        """
        self._app, self._transport, self._limits, self._state = app, transport, limits, state
        self._parser, self._response = handshake.parser, handshake.response
        self._scope = {
            **scope,
            "type": "websocket",
            "scheme": "wss" if scope["scheme"] == "https" else "ws",
            "subprotocols": handshake.subprotocols,
            "extensions": {"websocket.http.response": {}},
        }
        self._messages: asyncio.Queue[Message] = asyncio.Queue()
        self._fragments: list[bytes] = []
        self._is_text = False
        self._frame_rate = FrameRate(limits.frames_hz)
        self._denial: MutableMapping[str, Any] | None = None
        self._answered = False  # the handshake
        self._ended = False  # a close frame or a denial was sent, or the connection is lost
        self._writable = asyncio.Event()
        self._writable.set()
        self._write_clock = WriteClock(limits.write_s)
        self._timer: asyncio.TimerHandle | None = None

    def start(self) -> None:
        """Hand the connection to the application, which answers the handshake."""
        loop = asyncio.get_running_loop()
        self._timer = loop.call_later(self._limits.head_s, self._transport.abort)
        self._state.connections.add(self)
        self._messages.put_nowait({"type": "websocket.connect"})
        task = loop.create_task(self._run())
        self._state.tasks.add(task)
        task.add_done_callback(self._state.tasks.discard)

    async def _run(self) -> None:
        try:
            await self._app(self._scope, self._receive, self._send)
        except (OSError, WebSocketDisconnect):  # the client is gone
            self._transport.close()
        except Exception:
            log.exception("a live connection failed")
            self._end_after_fault()
        except BaseException:  # cancelled: the time to end the service is over
            self._transport.abort()
            raise
        else:
            self._end_after_fault()

    def _end_after_fault(self) -> None:
        """End a connection that the application left open."""
        if not self._answered:
            self._deny(answer_to(RefusedError(500, "the server cannot answer this. See its log")))
        elif not self._ended:
            self._close(1011, "the server failed. See its log")

    # --- asyncio's calls --------------------------------------------------------------------------

    def data_received(self, data: bytes) -> None:
        for start in range(0, len(data), _SLICE_BYTES):
            if self._transport.is_closing():
                return
            self._parser.receive_data(data[start : start + _SLICE_BYTES])
            for event in self._parser.events_received():
                if isinstance(event, Frame):
                    self._handle(event)
            self._flush()
            if self._parser.parser_exc is not None:
                close = self._parser.close_sent
                self._disconnect(1006 if close is None else close.code)
                self._transport.close()
        self._update_reading()

    def pause_writing(self) -> None:
        self._writable.clear()
        self._write_clock.start(self._transport)
        self._update_reading()

    def resume_writing(self) -> None:
        self._writable.set()
        self._write_clock.stop()
        self._update_reading()

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_timer()
        self._write_clock.stop()
        self._state.connections.discard(self)
        self._disconnect(1006)
        self._writable.set()  # asyncio does not call resume_writing for a lost connection

    def shutdown(self) -> None:
        """End the connection because the service ends. uvicorn calls this."""
        if not self._answered:
            refusal = RefusedError(503, "the service ends. Try again later", retry_after_s=5)
            self._deny(answer_to(refusal))
        elif not self._ended:
            self._close(1012, "the service ends")

    # --- frames -----------------------------------------------------------------------------------

    def _handle(self, frame: Frame) -> None:
        if not self._frame_rate.take():
            self._close(1008, f"expected at most {self._limits.frames_hz:g} frames a second")
            self._transport.close()
        elif frame.opcode is Opcode.CLOSE:
            close = self._parser.close_rcvd
            self._disconnect(1005 if close is None else close.code)
            self._flush()
            self._transport.close()
        elif self._ended:
            return
        elif frame.opcode in (Opcode.TEXT, Opcode.BINARY):
            self._is_text = frame.opcode is Opcode.TEXT
            self._add(frame)
        elif frame.opcode is Opcode.CONT:
            self._add(frame)

    def _add(self, frame: Frame) -> None:
        self._fragments.append(bytes(frame.data))
        if len(self._fragments) > self._limits.fragments:
            self._fragments = []
            self._close(1008, f"expected at most {self._limits.fragments} fragments in a message")
        elif frame.fin:
            data = b"".join(self._fragments)
            self._fragments = []
            content = {"text": data.decode(errors="replace")} if self._is_text else {"bytes": data}
            self._messages.put_nowait({"type": "websocket.receive", **content})

    def _update_reading(self) -> None:
        """Read only while the application has no message to take and the client takes answers."""
        if self._transport.is_closing():
            return
        if self._ended or (self._messages.empty() and self._writable.is_set()):
            self._transport.resume_reading()
        else:
            self._transport.pause_reading()

    # --- the application's calls ------------------------------------------------------------------

    async def _receive(self) -> Message:
        message = await self._messages.get()
        self._update_reading()
        return message

    async def _send(self, message: Message) -> None:
        await self._writable.wait()
        if self._ended or self._transport.is_closing():
            raise ConnectionResetError("the client is gone")  # starlette makes it a disconnect
        kind = message["type"]
        if kind == "websocket.accept":
            self._accept(message)
        elif kind == "websocket.http.response.start":
            self._denial = {**message, "body": b""}
        elif kind == "websocket.http.response.body":
            assert self._denial is not None
            self._denial["body"] += message.get("body", b"")
            if not message.get("more_body"):
                head = self._denial
                self._respond(head["status"], head["headers"], head["body"])
        elif kind == "websocket.close" and not self._answered:
            self._deny(
                answer_to(RefusedError(404, "there is no WebSocket at this path. See /docs"))
            )
        elif kind == "websocket.close":
            self._close(message.get("code", 1000), message.get("reason") or "")
        else:
            self._send_data(message)

    def _accept(self, message: Message) -> None:
        for name, value in message.get("headers", []):
            self._response.headers[name.decode("latin-1")] = value.decode("latin-1")
        if subprotocol := message.get("subprotocol"):
            self._response.headers["Sec-WebSocket-Protocol"] = subprotocol
        self._answered = True
        self._stop_timer()
        self._parser.send_response(self._response)
        self._flush()

    def _send_data(self, message: Message) -> None:
        try:
            if (text := message.get("text")) is not None:
                self._parser.send_text(text.encode())
            else:
                self._parser.send_binary(message["bytes"])
        except InvalidState as error:
            raise ConnectionResetError("the client is gone") from error
        self._flush()

    # --- ends -------------------------------------------------------------------------------------

    def _deny(self, answer: JSONResponse) -> None:
        self._respond(answer.status_code, answer.raw_headers, bytes(answer.body))

    def _respond(self, status: int, headers: list[tuple[bytes, bytes]], body: bytes) -> None:
        """Answer the handshake with an HTTP response, and close."""
        if self._answered or self._transport.is_closing():
            return
        answer = self._parser.reject(status, "")
        del answer.headers["Content-Type"], answer.headers["Content-Length"]
        named = Headers([(name.decode(), value.decode("latin-1")) for name, value in headers])
        answer.headers.update(named)
        response = Response(status, answer.reason_phrase, answer.headers, body)
        self._answered = True
        self._disconnect(1006)
        self._parser.send_response(response)
        self._flush()
        self._transport.close()

    def _close(self, code: int, reason: str) -> None:
        """Send a close frame; the client has ``_CLOSE_S`` to answer it."""
        if self._ended or self._transport.is_closing():
            return
        try:
            self._parser.send_close(code, reason)
        except InvalidState:
            self._transport.close()
        self._flush()
        self._disconnect(code)
        self._stop_timer()
        loop = asyncio.get_running_loop()
        self._timer = loop.call_later(_CLOSE_S, self._transport.abort)
        self._update_reading()

    def _disconnect(self, code: int) -> None:
        """Tell the application, once, that the connection ends."""
        if not self._ended:
            self._ended = True
            self._messages.put_nowait({"type": "websocket.disconnect", "code": code})

    def _flush(self) -> None:
        data = b"".join(self._parser.data_to_send())
        if data and not self._transport.is_closing():
            self._transport.write(data)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
