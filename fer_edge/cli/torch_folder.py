"""Empty cache folder that torch makes as it is imported."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

_VARIABLE = "TORCHINDUCTOR_CACHE_DIR"
"""Environment variable of the folder for compiled graphs; torch sets it if nobody has."""


@contextlib.contextmanager
def no_empty_folder() -> Iterator[None]:
    """Remove torch's folder for compiled graphs at the end if it is empty.

    A folder that the user chose stays. Importing torchvision makes ``torchinductor_USER`` among the
    temporary files, although hardly any command compiles.
    """
    chosen_by_user = _VARIABLE in os.environ
    try:
        yield
    finally:
        folder = os.environ.get(_VARIABLE)
        if folder and not chosen_by_user:
            with contextlib.suppress(OSError):  # not empty, or gone
                Path(folder).rmdir()
