"""Live frames over a WebSocket: the newest wins, older ones are dropped."""

from __future__ import annotations

import asyncio
import time
from typing import Any

from starlette.websockets import WebSocket, WebSocketDisconnect

from fer_edge.errors import FerEdgeError
from fer_edge.service.follower import Follower, LiveFrame
from fer_edge.service.limits import ServiceLimits
from fer_edge.service.metrics import Metrics
from fer_edge.service.recogniser import Recogniser
from fer_edge.service.refusals import RefusedError, answer_to, refusal_for
from fer_edge.service.security import SUBPROTOCOL

_UNSUPPORTED_DATA = 1003
"""Close code for text: frames are binary."""
_TEXT = "expected a binary message with the bytes of an encoded image, got text"


class _Latest:
    """Newest frame of a connection. ``ended`` is the close code after its end."""

    def __init__(self, metrics: Metrics) -> None:
        self.received = self.dropped = 0
        self.ended: int | None = None
        self._metrics = metrics
        self._frame: LiveFrame | None = None
        self._news = asyncio.Event()

    def put(self, data: bytes) -> None:
        if self._frame is not None:
            self.dropped += 1
            self._metrics.frames.labels("dropped").inc()
        self.received += 1
        self._frame = LiveFrame(self.received, self.dropped, time.monotonic(), data)
        self._news.set()

    def end(self, code: int) -> None:
        self.ended = code
        self._news.set()

    async def take(self) -> LiveFrame | None:
        """Wait for the newest frame; None after the end of the connection."""
        while self.ended is None and self._frame is None:
            self._news.clear()
            await self._news.wait()
        frame, self._frame = self._frame, None
        return frame if self.ended is None else None


class Live:
    """Serves live connections, at most ``limits.live`` at once."""

    def __init__(self, recogniser: Recogniser, limits: ServiceLimits, metrics: Metrics) -> None:
        self._recogniser, self._limits, self._metrics = recogniser, limits, metrics
        self._open = 0

    async def serve(self, socket: WebSocket) -> None:
        """Serve one connection from the handshake to its end."""
        if self._open >= self._limits.live:
            refusal = RefusedError(
                503, "no live connection is free. Try again later", retry_after_s=5
            )
            return await socket.send_denial_response(answer_to(refusal))
        self._open += 1
        self._metrics.live.set(self._open)
        try:
            await self._converse(socket)
        finally:
            self._open -= 1
            self._metrics.live.set(self._open)

    async def _converse(self, socket: WebSocket) -> None:
        offered = socket.scope.get("subprotocols", [])
        await socket.accept(SUBPROTOCOL if SUBPROTOCOL in offered else None)
        latest = _Latest(self._metrics)
        reader = asyncio.create_task(_read(socket, latest))
        follower = self._recogniser.follower()
        try:
            while True:
                async with asyncio.timeout(self._limits.live_idle_s):
                    frame = await latest.take()
                if frame is None:
                    break
                await socket.send_json(await self._answer(follower, frame))
            if latest.ended == _UNSUPPORTED_DATA:
                await socket.send_json({"frame": latest.received + 1, "error": _TEXT})
                await socket.close(latest.ended, _TEXT)
        except TimeoutError:
            await socket.close(1000, f"no frame came for {self._limits.live_idle_s:g} seconds")
        except WebSocketDisconnect:
            pass
        finally:
            reader.cancel()

    async def _answer(self, follower: Follower, frame: LiveFrame) -> dict[str, Any]:
        try:
            answer = await self._recogniser.follow(follower, frame)
        except FerEdgeError as error:
            self._metrics.frames.labels("refused").inc()
            return {"frame": frame.number, "error": str(refusal_for(error))}
        self._metrics.frames.labels("answered").inc()
        return answer.model_dump()


async def _read(socket: WebSocket, latest: _Latest) -> None:
    """Read without waiting for answers, so that ``latest`` holds the newest frame."""
    while latest.ended is None:
        message = await socket.receive()
        if message["type"] == "websocket.disconnect":
            latest.end(0)
        elif (data := message.get("bytes")) is not None:
            latest.put(data)
        else:
            latest.end(_UNSUPPORTED_DATA)
