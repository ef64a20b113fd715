"""Check of a folder before it is replaced."""

from __future__ import annotations

from pathlib import Path

from fer_edge.errors import InputError


def check_out_folder(out: Path, mark: str, kind: str) -> None:
    """Check that a folder may be written: whatever it holds is removed with it.

    Args:
        out: Path of the folder.
        mark: File that every folder of this kind has.
        kind: What the folder is to hold, for the message.

    Raises:
        InputError: There is a file, or a folder that holds anything else.
    """
    try:
        if out.is_dir():
            free = (out / mark).is_file() or not any(out.iterdir())
        else:
            free = not out.exists()
    except OSError as error:
        raise InputError(
            f"cannot use {out}: {error.strerror}. Choose another path with -o"
        ) from error
    if not free:
        raise InputError(f"{out} exists and is not a {kind}. Choose another path with -o")
