"""Addresses such as ``s3://bucket/a.mp4``, read through fsspec."""

from __future__ import annotations

import re
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import urlsplit

from fer_edge.errors import FerEdgeError, InputError, SourceError, TargetError
from fer_edge.libraries import needed
from fer_edge.shown import first_line, without_password

MAX_CLIP_BYTES = 64 << 30
"""Largest clip in bytes that is copied from an address."""
MISSING = "missing"
"""Stamp of a file that is not there or cannot be seen."""
_COPY_BYTES = 1 << 20
_PAUSES_S = 0.5, 2.0
"""Seconds between the tries to read a file at an address."""


def is_address(name: str) -> bool:
    """Return True for ``scheme://…``, also for a chain such as ``zip://*.mp4::s3://…``."""
    return re.match(r"[A-Za-z][A-Za-z0-9+.-]+://", name) is not None


def plain_address(address: str) -> str:
    """Return an address without query and fragment, such as a signature. Only http(s) has them."""
    return re.split(r"[?#]", address, maxsplit=1)[0] if _is_http(address) else address


def _is_http(address: str) -> bool:
    return address.lower().startswith(("http://", "https://"))


def file_system(address: str) -> tuple[Any, str]:
    """Return the file system of an address, and the path in it.

    Raises:
        MissingDependencyError: fsspec is not installed.
        InputError: No installed file system knows the address.
    """
    with needed("fsspec", "fleet"):
        import fsspec
    try:
        return fsspec.core.url_to_fs(address)  # type: ignore[no-any-return]
    except Exception as error:  # each file system raises its own
        raise _failed(InputError, f"cannot use {address}", error) from error


def listed(name: str, is_clip: Callable[[str], bool]) -> list[str]:
    """Return the addresses of the files of a pattern, folder or file address.

    Raises:
        InputError: Nothing is there, or the place cannot be read.
    """
    system, path = file_system(name)
    try:
        is_file = _is_http(name) and is_clip(name)  # to look for a folder reads the whole file
        if _is_pattern(path):
            places = [place for place in system.glob(path) if is_clip(place)]
        elif not is_file and system.isdir(path):
            places = [place for place in system.find(path) if is_clip(place)]
        else:
            places = [path] if system.exists(path) else []
    except Exception as error:
        raise _failed(InputError, f"cannot read {name}", error) from error
    if not places:
        raise InputError(without_password(f"no video is at {name}. Check the address"))
    return [str(system.unstrip_protocol(place)) for place in sorted(places)]


def _is_pattern(path: str) -> bool:
    if _is_http(path):  # an IPv6 host has brackets
        return any(letter in urlsplit(path).path for letter in "*[")
    return any(letter in path for letter in "*?[")


def size_and_stamp(address: str) -> tuple[int, str]:
    """Return the bytes at an address, and a text that changes with them."""
    try:
        system, path = file_system(address)
        info = system.info(path)
    except Exception:  # a clip that is missing gives an error row when it is scored
        return 0, MISSING
    size = int(info.get("size") or 0)
    mark = next((info[key] for key in ("ETag", "etag", "mtime", "created") if info.get(key)), "")
    return size, f"{size}-{mark}"


class UnreachableError(SourceError):
    """A file at an address could not be read now. A later try may do better."""


@contextmanager
def local_copy(address: str, beat: Callable[[int], object] = lambda frames: None) -> Iterator[Path]:
    """Yield a temporary copy of the file at an address, removed afterwards.

    OpenCV, MCAP readers and bags need a file of this machine.

    Args:
        address: The address.
        beat: Called with 0 after each block, as a sign of life.

    Raises:
        SourceError: The file is missing or too large.
        UnreachableError: It cannot be read after three tries.
        OSError: The temporary folder is full.
    """
    suffix = PurePosixPath(plain_address(address)).suffix[:16]
    with tempfile.TemporaryDirectory(prefix="fer_edge-") as folder:
        copy = Path(folder) / f"clip{suffix}"
        for wait_s in (*_PAUSES_S, None):
            try:
                _copy(address, copy, beat)
                break
            except UnreachableError:
                if wait_s is None:
                    raise
                time.sleep(wait_s)
        yield copy


def _copy(address: str, copy: Path, beat: Callable[[int], object]) -> None:
    try:
        system, path = file_system(address)
        size = system.size(path)
    except TargetError:
        raise
    except FileNotFoundError as error:
        message = without_password(f"no file is at {address}. Check the address")
        raise SourceError(message) from error
    except Exception as error:  # each file system raises its own
        raise _failed(UnreachableError, f"cannot read {address}", error) from error
    if (size or 0) > MAX_CLIP_BYTES:
        limit = f"{MAX_CLIP_BYTES >> 30} GiB"
        raise SourceError(f"{without_password(address)} has more than {limit}. Cut it into parts")
    with copy.open("wb") as target:
        for block in _blocks(system, path, address):
            target.write(block)
            beat(0)
        if size is not None and target.tell() < size:
            raise UnreachableError(
                f"cannot read {without_password(address)}: it gave {target.tell()} of {size} bytes"
            )


def _blocks(system: Any, path: str, address: str) -> Iterator[bytes]:
    try:
        with system.open(path, "rb") as source:
            while block := source.read(_COPY_BYTES):
                yield block
    except Exception as error:  # each file system raises its own
        raise _failed(UnreachableError, f"cannot read {address}", error) from error


def read_bytes(address: str, most: int) -> bytes:
    """Return the bytes at an address. Raises InputError if there are more than ``most``."""
    system, path = file_system(address)
    try:
        with system.open(path, "rb") as source:
            data: bytes = source.read(most + 1)
    except Exception as error:
        raise _failed(InputError, f"cannot read {address}", error) from error
    if len(data) > most:
        raise InputError(
            without_password(f"expected at most {most >> 20} MiB at {address}. Split the file")
        )
    return data


def _failed(kind: type[FerEdgeError], what: str, error: Exception) -> FerEdgeError:
    return kind(without_password(f"{what}: {first_line(error)}"))
