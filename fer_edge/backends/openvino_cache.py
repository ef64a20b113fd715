"""Cache of graphs that OpenVINO compiled on this device.

OpenVINO runs a graph of its cache as it finds it: a flipped bit changes the answers. Here, each
graph has its SHA-256 beside it. A graph that differs, or has none, is removed before OpenVINO
looks.
"""

from __future__ import annotations

import hashlib
import logging
import time
from collections.abc import Callable, Iterable
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import TypeVar

from fer_edge.atomic import write_file
from fer_edge.backends.private_path import check_owner
from fer_edge.errors import EngineError
from fer_edge.lock import locked
from fer_edge.plain_file import read_plain

_log = logging.getLogger("fer_edge")
_Compiled = TypeVar("_Compiled")

_HEX = 64
"""Characters of a SHA-256."""
_WAIT_S = 10.0
"""Longest wait for another process that compiles the same network. A large one takes 2 s."""


def place(cache_dir: Path, network: Iterable[bytes]) -> Path:
    """Return the folder of a network's graphs, so that a start reads those of no other network."""
    digest = hashlib.sha256()
    for part in network:
        digest.update(hashlib.sha256(part).digest())
    return cache_dir / f"openvino-{digest.hexdigest()[:16]}"


def through(
    folder: Path, compiled: Callable[[dict[str, str]], _Compiled], *, wait: bool
) -> _Compiled:
    """Compile with a folder of graphs; without it if it cannot be used, which is logged.

    Args:
        folder: Folder of the network's graphs.
        compiled: Compiles with the settings that it is given.
        wait: Wait for another process that uses the folder, up to ``_WAIT_S``.

    Raises:
        EngineError: Another user can write to the folder.
    """
    with ExitStack() as stack:
        try:
            for one in (folder.parent, folder):  # mkdir gives its mode to the last folder alone
                one.mkdir(mode=0o700, parents=True, exist_ok=True)
            _lock(folder, stack, _WAIT_S if wait else 0)
            _check_private(folder)
            whole = _whole(folder)
        except OSError as error:
            busy = isinstance(error, BlockingIOError)
            level = logging.INFO if busy and not wait else logging.WARNING
            reason = "another process or Predictor uses it" if busy else error
            _log.log(level, "OpenVINO compiles without the cache %s: %s", folder, reason)
            return compiled({})
        graph = compiled({"CACHE_DIR": str(folder)})
        with suppress(OSError):  # the next start removes what has no SHA-256
            _record(folder, whole)
        return graph


def _lock(folder: Path, stack: ExitStack, wait_s: float) -> None:
    """Keep other processes out of a folder. Raises BlockingIOError if one stays in it."""
    end_s = time.monotonic() + wait_s
    while True:
        try:
            return stack.enter_context(locked(folder / "graphs", wait=False))
        except BlockingIOError:
            if time.monotonic() >= end_s:
                raise
        time.sleep(0.02)


def _check_private(folder: Path) -> None:
    """Raise EngineError if another user can write what OpenVINO executes."""
    for path in (folder.parent, folder, *folder.glob("*.blob")):
        try:
            check_owner(path)
        except PermissionError as error:
            raise EngineError(
                f"cannot use the cache {folder.parent}: {error}. "
                "Name a folder of your own in cache_dir"
            ) from error


def _whole(folder: Path) -> frozenset[str]:
    """Remove graphs that are not as they were written, and return the names of the others."""
    names = set()
    for path in folder.glob("*.blob"):
        if path.is_file() and _recorded(path) == _sha256(path):
            names.add(path.name)
        else:
            _log.warning("the cached graph %s is damaged or incomplete, and is made again", path)
            path.unlink()
    return frozenset(names)


def _record(folder: Path, whole: frozenset[str]) -> None:
    """Write the SHA-256 of each new graph beside it."""
    for path in folder.glob("*.blob"):
        if path.name not in whole:
            write_file(_record_of(path), _sha256(path).encode())


def _recorded(path: Path) -> str | None:
    """Return the SHA-256 beside a graph, or None."""
    try:
        return read_plain(_record_of(path), _HEX).decode("ascii", "replace")
    except OSError:
        return None


def _record_of(path: Path) -> Path:
    return path.with_name(f"{path.name}.sha256")


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
