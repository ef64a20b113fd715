"""Requests that cost more time than their bytes are worth."""

from __future__ import annotations

import h11
import pytest

from fer_edge.service.parser import Parser

HEAD = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n"


def pieces(data: bytes) -> int:
    """Return how many parts of a body the parser takes, 4096 bytes at a time."""
    parser, count = Parser(), 0
    for start in range(0, len(data), 4096):
        parser.receive_data(data[start : start + 4096])
        while (event := parser.next_event()) not in (h11.NEED_DATA, h11.PAUSED):
            count += isinstance(event, h11.Data)
    return count


def chunk(size: int) -> bytes:
    return f"{size:x}\r\n".encode() + b"x" * size + b"\r\n"


def test_a_few_tiny_chunks_are_taken_and_many_refused() -> None:
    assert pieces(HEAD + b"\r\n" + chunk(1) * 128) == 128
    with pytest.raises(h11.RemoteProtocolError):
        pieces(HEAD + b"\r\n" + chunk(1) * 129)
    assert pieces(HEAD + b"\r\n" + chunk(64) * 10_000) >= 10_000
    assert pieces(HEAD + b"\r\n" + chunk(4000) * 2 + chunk(1) * 120) >= 122


def test_a_body_that_comes_byte_by_byte_is_not_in_chunks() -> None:
    parser = Parser()
    parser.receive_data(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1000\r\n\r\n")
    assert isinstance(parser.next_event(), h11.Request)
    for _ in range(1000):
        parser.receive_data(b"x")
        assert isinstance(parser.next_event(), h11.Data)


@pytest.mark.parametrize("before", [HEAD, HEAD + b"\r\n0\r\n"], ids=["head", "trailer"])
def test_headers_are_counted_before_they_are_complete(before: bytes) -> None:
    for line in (b"a:\r\n", b" b\r\n"):
        assert pieces(before + b"a:\r\n" + line * 90) == 0
        with pytest.raises(h11.RemoteProtocolError):
            pieces(before + b"a:\r\n" + line * 1000)


def test_the_next_request_starts_anew() -> None:
    parser = Parser()
    for _ in range(2):
        parser.receive_data(HEAD + b"\r\n" + chunk(1) * 100 + b"0\r\n\r\n")
        while not isinstance(parser.next_event(), h11.EndOfMessage):
            pass
        parser.send(h11.Response(status_code=204, headers=[]))
        parser.send(h11.EndOfMessage())
        parser.start_next_cycle()
