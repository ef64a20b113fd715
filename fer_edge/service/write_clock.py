"""Time limit for every write to a client."""

from __future__ import annotations

import asyncio
import socket
import struct


class WriteClock:
    """Abort a connection whose client does not read what it is sent.

    Call ``start`` when bytes wait to be sent and ``stop`` once all are sent.
    """

    def __init__(self, limit_s: float) -> None:
        self._limit_s = limit_s
        self._timer: asyncio.TimerHandle | None = None

    @staticmethod
    def watch(transport: asyncio.Transport) -> None:
        """Report every write that the client does not take at once.

        With a high-water mark of 0, ``pause_writing`` means "bytes wait" and ``resume_writing``
        means "none do". Single bytes that a client reads therefore buy it no time.
        """
        transport.set_write_buffer_limits(high=0)

    def start(self, transport: asyncio.Transport) -> None:
        """Start the clock, if it does not run yet."""
        if self._timer is None:
            # close() would wait for the same bytes without end.
            loop = asyncio.get_running_loop()
            self._timer = loop.call_later(self._limit_s, _reset, transport)

    def stop(self) -> None:
        """Stop the clock."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


def _reset(transport: asyncio.Transport) -> None:
    """Close with RST. A FIN would queue behind the bytes that the client does not read."""
    connection = transport.get_extra_info("socket")
    if connection is not None:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    transport.abort()
