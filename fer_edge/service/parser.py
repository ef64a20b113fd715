"""HTTP parser with bounds on the pieces of a request."""

from __future__ import annotations

import h11

HEAD_BYTES = 64 * 1024
"""Bytes of a request's head, and of the trailer behind chunks."""
HEADERS = 100
"""Headers of a request, and of its trailer."""
CHUNK_BYTES = 64
"""Least mean size of a body's chunks so far, at any point after the first ``FREE_CHUNKS``."""
FREE_CHUNKS = 128


class Parser(h11.Connection):
    """h11's parser that refuses many tiny headers and chunks: each costs time, however short.

    It sees a head before it is complete only if it gets it in parts: give it a few KiB at a time.
    """

    def __init__(self) -> None:
        super().__init__(h11.SERVER, max_incomplete_event_size=HEAD_BYTES)
        self._chunks = self._body_bytes = 0

    def next_event(self) -> h11.Event | type[h11.NEED_DATA] | type[h11.PAUSED]:
        """Return h11's next event.

        Raises:
            h11.RemoteProtocolError: It is not HTTP, or too finely divided.
        """
        event = super().next_event()
        if isinstance(event, h11.Request):
            self._chunks = self._body_bytes = 0
        if isinstance(event, h11.Data):
            self._chunks += event.chunk_end
            self._body_bytes += len(event.data)
            too_fine = self._chunks > FREE_CHUNKS and (
                self._body_bytes < CHUNK_BYTES * self._chunks
            )
        elif isinstance(event, h11.Request | h11.EndOfMessage):
            too_fine = len(event.headers) > HEADERS
        else:  # what is left is the start of a head or of a trailer
            too_fine = event is h11.NEED_DATA and self.trailing_data[0].count(b"\n") > HEADERS + 1
        if too_fine:
            raise h11.RemoteProtocolError("too many headers or chunks")
        return event
