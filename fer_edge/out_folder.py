"""Check of a folder before it is replaced."""

from __future__ import annotations

from pathlib import Path

from fer_edge.atomic import check_place
from fer_edge.errors import InputError


def check_out_folder(out: Path, mark: str, kind: str) -> None:
    """Check that a folder can and may be written: whatever it holds is removed with it.

    Args:
        out: Path of the folder.
        mark: File that every folder of this kind has.
        kind: What the folder is to hold, for the message.

    Raises:
        InputError: There is a file, or a folder that holds anything else, or no folder can be
            written there.
    """
    check_content(out, mark, kind)
    try:
        check_place(out, folder=True)
    except OSError as error:
        raise _unusable(out, error) from error


def check_content(out: Path, mark: str, kind: str) -> None:
    """Check only that a folder may be written; see ``check_out_folder``."""
    try:
        if out.is_dir():
            free = (out / mark).is_file() or not any(out.iterdir())
        else:
            free = not out.exists()
    except OSError as error:
        raise _unusable(out, error) from error
    if not free:
        raise InputError(f"{out} exists and is not a {kind}. Choose another path with -o")


def _unusable(out: Path, error: OSError) -> InputError:
    return InputError(f"cannot write {out}: {error.strerror}. Choose another path with -o")
