"""Request bodies: one image as raw bytes, in a form, or in JSON.

Paths and file names in a request are ignored.
"""

from __future__ import annotations

import asyncio
import base64
import json
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from python_multipart.multipart import parse_options_header
from starlette.requests import ClientDisconnect, Request

from fer_edge.service.limits import Buffer, ServiceLimits
from fer_edge.service.refusals import RefusedError
from fer_edge.shown import shown

FIELD = "image"
"""Name of the image, in forms and in JSON."""

_LONGEST_HEADER = 8192
"""Bytes of a Content-Type, and of the head of a form's part."""
_JSON = re.compile(rb'(?:\xef\xbb\xbf)?\s*\{\s*"image"\s*:\s*"([^"]*)"\s*\}\s*')
_STANDARD = bytes.maketrans(b"-_", b"+/")
"""Letters of base64url as those of base64."""
_LONGEST_PATH = 80
"""Letters up to which text without padding is no base64: a path such as /etc/passwd is not."""
_EXTENDED_NAME = re.compile(rb";\s*filename\*\s*=", re.I)
"""Name of a file in RFC 5987's form, which the parser of headers leaves out."""
_DATA_URI = re.compile(rb"data:[\w.+-]{0,40}(/[\w.+-]{0,80})?(;[\w.+=-]{0,80}){0,4};base64,", re.I)


@asynccontextmanager
async def whole_body(
    request: Request, limits: ServiceLimits, buffer: Buffer
) -> AsyncIterator[bytes]:
    """Read a request's body; ``buffer`` counts it until the context ends.

    Raises:
        RefusedError: 415 the body is compressed; 413 it is too large, announced or actual; 408 it
            is too slow; 503 the buffer is full; 400 the body is cut off.
    """
    encoding = request.headers.get("content-encoding", "identity")
    if encoding.strip().lower() != "identity":
        raise RefusedError(
            415,
            f"expected a body without compression, got the Content-Encoding {shown(encoding)}. "
            "Send the picture as it is",
        )
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

    Every form costs time in proportion to its bytes: nothing is parsed that is not expected.

    Args:
        body: A form with one file ``image``, JSON ``{"image": BASE64}``, or the image itself.
        content_type: The header Content-Type.

    Raises:
        RefusedError: 415 another type of content; 400 another form or JSON.
    """
    kind, options = parse_options_header(content_type[:_LONGEST_HEADER])
    kind = kind.lower()
    if kind == b"multipart/form-data":
        return _of_form(body, options.get(b"boundary", b""))
    if kind == b"application/json":
        return _of_json(body)
    if kind.startswith(b"image/") or kind == b"application/octet-stream":
        return body
    raise RefusedError(
        415,
        f'expected an image such as image/jpeg, multipart/form-data with a file "{FIELD}", or '
        f"application/json, got the Content-Type {shown(content_type)}",
    )


def _of_json(body: bytes) -> bytes:
    # json.loads would hold Python's lock for seconds with a body of 8 MiB of brackets.
    match = _JSON.fullmatch(body)
    if match is None:
        raise RefusedError(
            400,
            f'expected {{"{FIELD}": "…"}} with the image in base64 and nothing else. Paths and '
            "addresses are not accepted: send the image itself",
        )
    text = match[1]
    try:
        if b"\\" in text:
            text = json.loads(b'"' + text + b'"', strict=False).encode("ascii")
        data = _without_prefix(text.translate(None, b" \t\r\n")).translate(_STANDARD)
        padding = b"=" * (-len(data) % 4) if len(data) > _LONGEST_PATH else b""
        return base64.b64decode(data + padding, validate=True)
    except ValueError as error:
        raise RefusedError(
            400, f'"{FIELD}" is not base64. Send the bytes of the image, not a path or address'
        ) from error


def _without_prefix(text: bytes) -> bytes:
    """Return ``text`` without ``data:image/jpeg;base64,``. Nothing is fetched."""
    match = _DATA_URI.match(text)
    return text if match is None else text[match.end() :]


def _of_form(body: bytes, boundary: bytes) -> bytes:
    """Return the one file of a form. Frameworks write files to the disk and parse every byte."""
    mark = b"--" + boundary
    body = body.lstrip(b"\r\n")
    first = len(mark) + 2
    end = body.find(b"\r\n\r\n", first - 2, first + _LONGEST_HEADER)
    if not (boundary and body.startswith(mark + b"\r\n") and end >= 0):
        raise _damaged_form()
    if not _is_picture(body[first:end]):
        raise _wrong_form()
    start = end + 4
    # The line break before the boundary may be the last of the head, if the file is empty.
    stop = body.find(b"\r\n" + mark, start - 2)
    if stop < 0:
        raise _damaged_form()
    after = body[stop + 2 + len(mark) :][:2]
    if after == b"\r\n":
        raise _wrong_form()
    if after != b"--":
        raise _damaged_form()
    return body[start:stop]


def _is_picture(head: bytes) -> bool:
    for line in head.split(b"\r\n"):
        name, _, value = line.partition(b":")
        if name.strip().lower() == b"content-disposition":
            _, options = parse_options_header(value.strip())
            is_file = b"filename" in options or _EXTENDED_NAME.search(value)
            return options.get(b"name") == FIELD.encode() and bool(is_file)
    return False


def _damaged_form() -> RefusedError:
    return RefusedError(400, "the form is damaged or was cut off. Send it again")


def _wrong_form() -> RefusedError:
    return RefusedError(400, f'expected a form with one file called "{FIELD}" and nothing else')
