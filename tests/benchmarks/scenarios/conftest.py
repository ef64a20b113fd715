"""Clock for planted engines."""

from __future__ import annotations

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
