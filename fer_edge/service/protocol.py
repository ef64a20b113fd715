"""uvicorn's HTTP protocol with patience that ends.

uvicorn's own time-out for idle connections begins after a first answer and ends with the next byte,
so a client that sends half a request head, or never stops sending a body that was refused, would
hold its connection for ever. Its own answer to too many connections does not say when to come back.
And who is told when to come back, and comes at once, is not listened to before: thousands of
refusals a second would leave no time for answers.
The body of a request is timed where it is read (body.py).
"""

from __future__ import annotations

import asyncio

import h11
from starlette.types import Receive, Scope, Send
from uvicorn.protocols.http.h11_impl import H11Protocol

from fer_edge.service.limits import ServiceLimits
from fer_edge.service.refusals import RefusedError, answer_to

NOT_BEFORE_S = "fer_edge.not_before_s"
"""In a scope: how long the client was told to wait."""
_MOST_S = 2.0
"""Shorter than uvicorn's patience with an idle connection (5 s), which would drop what was sent."""


async def _full(scope: Scope, receive: Receive, send: Send) -> None:
    scope[NOT_BEFORE_S] = 1.0
    refusal = RefusedError(503, "the server has as many connections as it may", retry_after_s=1)
    await answer_to(refusal)(scope, receive, send)


def impatient(limits: ServiceLimits) -> type[H11Protocol]:
    """The protocol class that closes connections that send no whole head within ``head_s``."""

    class Impatient(H11Protocol):
        _timer: asyncio.TimerHandle | None = None

        def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
            super().connection_made(transport)
            if len(self.connections) > limits.connections:
                self.app = _full
            self._watch()

        def handle_events(self) -> None:
            super().handle_events()
            self._watch()

        def on_response_complete(self) -> None:
            wait_s: float | None = self.cycle.scope.get(NOT_BEFORE_S)  # type: ignore[assignment]
            super().on_response_complete()
            self._watch()
            if wait_s is not None and not self.transport.is_closing():
                self.transport.pause_reading()
                self.loop.call_later(min(wait_s, _MOST_S), self._listen_again)

        def _listen_again(self) -> None:
            if not (self.transport.is_closing() or self.flow.read_paused):
                self.transport.resume_reading()

        def handle_websocket_upgrade(self, event: h11.Request) -> None:
            self._stop()
            super().handle_websocket_upgrade(event)

        def connection_lost(self, exc: Exception | None) -> None:
            self._stop()
            super().connection_lost(exc)

        def _watch(self) -> None:
            """The timer runs while it is the client's turn, and is not set back by single bytes."""
            upgraded = self.transport.get_protocol() is not self
            if self.transport.is_closing() or upgraded:
                return
            if self.cycle is not None and not self.cycle.response_complete:
                self._stop()
            elif self._timer is None:
                self._timer = self.loop.call_later(limits.head_s, self.transport.abort)

        def _stop(self) -> None:
            if self._timer is not None:
                self._timer.cancel()
                self._timer = None

    return Impatient
