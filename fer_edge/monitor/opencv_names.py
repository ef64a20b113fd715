"""File names that OpenCV can take."""

from __future__ import annotations

import os
from pathlib import Path

from fer_edge.errors import InputError
from fer_edge.shown import shown


def opencv_name(name: str | Path) -> str:
    """Return the name as text that OpenCV can take.

    A name that is not UTF-8 crashes OpenCV.

    Raises:
        InputError: The name is not UTF-8.
    """
    text = os.fspath(name)
    try:
        text.encode()
    except UnicodeEncodeError:
        raise InputError(
            f"expected a name in UTF-8, got {shown(text)}. Rename the file; OpenCV reads no other"
        ) from None
    return text
