"""Request bodies: the bytes of one image, from a form or JSON.

Paths and file names in a request are ignored.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header
from starlette.requests import ClientDisconnect, Request

from fer_edge.service.limits import Buffer, ServiceLimits
from fer_edge.service.refusals import RefusedError

FIELD = "image"
"""Name of the image, in forms and in JSON."""


@asynccontextmanager
async def whole_body(
    request: Request, limits: ServiceLimits, buffer: Buffer
) -> AsyncIterator[bytes]:
    """Read a request's body; ``buffer`` counts it until the context ends.

    Raises:
        RefusedError: 413 the body is too large, announced or actual; 408 it is too slow; 503 the
            buffer is full; 400 the body is cut off.
    """
    announced = request.headers.get("content-length", "")
    if announced.isdecimal() and int(announced) > limits.body_bytes:
        raise _too_large(limits)
    chunks: list[bytes] = []
    try:
        await _read(request, limits, buffer, chunks)
        yield b"".join(chunks)
    finally:
        buffer.give_back(sum(map(len, chunks)))


async def _read(
    request: Request, limits: ServiceLimits, buffer: Buffer, chunks: list[bytes]
) -> None:
    count = 0
    try:
        async with asyncio.timeout(limits.body_s):
            async for chunk in request.stream():
                count += len(chunk)
                if count > limits.body_bytes:
                    raise _too_large(limits)
                buffer.take(len(chunk))
                chunks.append(chunk)
    except TimeoutError as error:
        raise RefusedError(
            408, f"expected the whole request within {limits.body_s:g} seconds. Send it faster"
        ) from error
    except ClientDisconnect as error:
        raise RefusedError(400, "the client left before its request was complete") from error


def _too_large(limits: ServiceLimits) -> RefusedError:
    return RefusedError(
        413, f"expected a request of at most {limits.body_bytes:,} bytes. Shrink the picture first"
    )


def picture_of(body: bytes, content_type: str) -> bytes:
    """Return the encoded image of a request.

    Call it in a worker thread: a hostile body can keep Python busy.

    Args:
        body: A form with one file ``image``, or JSON ``{"image": BASE64}``.
        content_type: The header Content-Type.

    Raises:
        RefusedError: 415 another type of content; 400 another form or JSON.
    """
    kind, options = parse_options_header(content_type)
    if kind == b"multipart/form-data":
        return _of_form(body, options.get(b"boundary", b""))
    if kind == b"application/json":
        return _of_json(body)
    raise RefusedError(
        415,
        f'expected multipart/form-data with a file "{FIELD}", or application/json, got the '
        f"Content-Type {content_type[:80]!r}",
    )


def _of_json(body: bytes) -> bytes:
    try:
        content: Any = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise RefusedError(400, f'the body is not JSON. Send {{"{FIELD}": "…"}}') from error
    if not (
        isinstance(content, dict) and set(content) == {FIELD} and isinstance(content[FIELD], str)
    ):
        raise RefusedError(
            400,
            f'expected {{"{FIELD}": "…"}} with the image in base64 and nothing else. Paths and '
            "addresses are not accepted: send the image itself",
        )
    try:
        return base64.b64decode(content[FIELD], validate=True)
    except (ValueError, binascii.Error) as error:
        raise RefusedError(
            400, f'"{FIELD}" is not base64. Send the bytes of the image, not a path or address'
        ) from error


def _of_form(body: bytes, boundary: bytes) -> bytes:
    form = _Form()
    try:
        parser = MultipartParser(boundary, form.callbacks())
        parser.write(body)
        parser.finalize()
    except (FormParserError, ValueError) as error:
        raise RefusedError(400, "the form is damaged or was cut off") from error
    if not form.whole:
        raise RefusedError(400, "the form is damaged or was cut off")
    if form.picture is None:
        raise _wrong_form()
    return bytes(form.picture)


def _wrong_form() -> RefusedError:
    return RefusedError(400, f'expected a form with one file called "{FIELD}" and nothing else')


class _Form:
    """The one part of a form, in memory: frameworks use the disk."""

    def __init__(self) -> None:
        self.picture: bytearray | None = None
        self.whole = False
        self._name, self._value = b"", b""
        self._is_picture = False

    def callbacks(self) -> Any:
        names = (
            *("part_begin", "part_data", "header_field", "header_value", "header_end"),
            *("headers_finished", "end"),
        )
        return {f"on_{name}": getattr(self, name) for name in names}

    def part_begin(self) -> None:
        if self.picture is not None:
            raise _wrong_form()
        self.picture = bytearray()

    def header_field(self, data: bytes, start: int, end: int) -> None:
        self._name += data[start:end]

    def header_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def header_end(self) -> None:
        if self._name.lower() == b"content-disposition":
            _, options = parse_options_header(self._value)
            self._is_picture = options.get(b"name") == FIELD.encode() and b"filename" in options
        self._name, self._value = b"", b""

    def headers_finished(self) -> None:
        if not self._is_picture:
            raise _wrong_form()

    def part_data(self, data: bytes, start: int, end: int) -> None:
        assert self.picture is not None
        self.picture += data[start:end]

    def end(self) -> None:
        self.whole = True
