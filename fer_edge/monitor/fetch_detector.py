"""Download of YuNet's file, checked against its pinned SHA-256."""

from __future__ import annotations

import hashlib
from pathlib import Path

from fer_edge.atomic import write_file
from fer_edge.cache_folder import cache_folder
from fer_edge.errors import InputError, SourceError
from fer_edge.paths import absolute
from fer_edge.plain_file import is_file

YUNET_URL = (
    "https://github.com/opencv/opencv_zoo/raw/main/models/face_detection_yunet/"
    "face_detection_yunet_2023mar.onnx"
)
YUNET_SHA256 = "8f2383e4dd3cfbb4553ea8718107fc0423210dc964f9f4280604804ed2552fa4"
YUNET_NAME = "face_detection_yunet_2023mar.onnx"

_MAX_BYTES = 8 * 1024 * 1024
"""Largest download in bytes. YuNet has 0.2 MB; anything larger is another file."""
_TIMEOUT_S = 30.0
"""Seconds without data until the download fails."""


def default_path() -> Path:
    """Return the default path of YuNet's file.

    It is ``~/.cache/fer_edge/face_detection_yunet_2023mar.onnx``, or below ``XDG_CACHE_HOME``. A
    user without a home folder has it below ``/var/cache``.
    """
    return cache_folder() / "fer_edge" / YUNET_NAME


def fetched() -> Path | None:
    """Return YuNet's file at the default path; None if there is none for this user."""
    path = default_path()
    return path if is_file(path) else None


def check_fetched(path: Path, data: bytes) -> None:
    """Compare the file at the default path with its pinned SHA-256. Other files are the user's.

    Args:
        path: Path that the data came from.
        data: Content of the file.

    Raises:
        InputError: The file at the default path is another one.
    """
    if absolute(path) == absolute(default_path()) and (actual := _hash(data)) != YUNET_SHA256:
        raise InputError(
            f"{path} has SHA-256 {actual[:16]}…, expected {YUNET_SHA256[:16]}…: it was changed or "
            "damaged. Get it again with: fer-edge detector fetch"
        )


def fetch_yunet(out: Path, url: str = YUNET_URL, sha256: str = YUNET_SHA256) -> bool:
    """Download YuNet's file, unless it is there already.

    Only a file with the pinned SHA-256 is written, and atomically.

    Args:
        out: Path of the file.
        url: Address of the file.
        sha256: Expected SHA-256, in hexadecimal.

    Returns:
        True if the file was downloaded.

    Raises:
        SourceError: The download failed, or its SHA-256 is wrong.
        InputError: The file cannot be read or written.
    """
    try:
        if is_file(out) and _hash(out.read_bytes()) == sha256:
            return False
    except OSError as error:
        raise InputError(f"cannot read {out}: {error.strerror}. {_elsewhere(out)}") from error
    data = _download(url, out)
    if (actual := _hash(data)) != sha256:
        raise SourceError(
            f"{url} gave a file with SHA-256 {actual}, expected {sha256}. Nothing was written. "
            f"Get {YUNET_NAME} from OpenCV Zoo, and copy it to {out}"
        )
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        write_file(out, data)
    except OSError as error:
        raise InputError(f"cannot write {out}: {error.strerror}. {_elsewhere(out)}") from error
    return True


def _elsewhere(out: Path) -> str:
    """Return the next step if a path does not work. Later commands look at the default one."""
    if absolute(out) == absolute(default_path()):
        return (
            "Set XDG_CACHE_HOME to another folder, for all later commands too, or choose another "
            "file with -o and pass it as --detector FILE"
        )
    return "Choose another file with -o"


def _download(url: str, out: Path) -> bytes:
    import http.client  # only this function needs the network
    import urllib.request

    try:
        with urllib.request.urlopen(url, timeout=_TIMEOUT_S) as answer:  # noqa: S310 (pinned)
            data = answer.read(_MAX_BYTES + 1)
    except (OSError, ValueError, http.client.HTTPException) as error:  # URLError is an OSError
        raise SourceError(
            f"cannot download {url}: {error}. Download it elsewhere and copy it to {out}, or pass "
            "it as --detector FILE"
        ) from error
    if len(data) > _MAX_BYTES:
        raise SourceError(
            f"expected at most {_MAX_BYTES >> 20} MiB from {url}, got more. Check the address"
        )
    return bytes(data)


def _hash(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
