"""Command lines of child interpreters that ignore the current folder."""

from __future__ import annotations

import sys


def python_command(*arguments: str) -> list[str]:
    """Return the command that runs this interpreter with ``arguments``.

    ``-P`` keeps the current folder off ``sys.path``: with ``-c`` and ``-m`` Python puts it first,
    so that a downloaded folder with a file ``cv2.py`` would run as part of a conversion.
    """
    return [sys.executable, "-P", *arguments]
