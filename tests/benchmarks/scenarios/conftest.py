"""Clock for planted engines."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

MS = 1_000_000


class Clock:
    """Time that passes only while the planted engine works."""

    now = 0

    def now_ns(self) -> int:
        return self.now

    def work(self, ms: float) -> None:
        self.now += round(ms * MS)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def chatty_children(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Child interpreters print 200 kB to both streams, not all of it text, without a line's end."""
    (tmp_path / "sitecustomize.py").write_text(
        "import sys\n"
        "for stream in (sys.stdout, sys.stderr):\n"
        "    stream.buffer.write(b'\\xff 1 2 3\\n' * 25_000 + b'warning:')\n",
        "utf-8",
    )
    monkeypatch.setenv("PYTHONPATH", str(tmp_path), prepend=os.pathsep)
