"""The stand-in for fp16: every failure of LiteRT is an EngineError."""

from __future__ import annotations

import sys
import threading
from typing import Any

import numpy as np
import pytest

from fer_edge.converters.litert_conversion.forced_half import ForcedHalfSession, _silent_stderr
from fer_edge.errors import EngineError


class Broken:
    """Engine and buffer that fail in one step."""

    def __init__(self, step: str, error: Exception) -> None:
        self.step, self.error = step, error

    def _do(self, step: str) -> None:
        if step == self.step:
            raise self.error

    def write(self, face: Any) -> None:
        self._do("write")

    def run_by_index(self, *_: Any) -> None:
        self._do("run")

    def read(self, width: int, dtype: Any) -> Any:
        self._do("read")
        return np.zeros(width, dtype)


@pytest.mark.parametrize("error", [RuntimeError("no memory"), ValueError("no such size")], ids=str)
@pytest.mark.parametrize("step", ["write", "run", "read"])
def test_a_step_that_fails_is_an_engine_error(step: str, error: Exception) -> None:
    session = ForcedHalfSession.__new__(ForcedHalfSession)
    session._lock, session._widths = threading.Lock(), [7, 4]
    session._engine = broken = Broken(step, error)
    session._inputs, session._outputs = [broken], [broken, broken]
    with pytest.raises(EngineError, match=rf"LiteRT failed on a face \(8, 8, 3\): {error}"):
        session.run(np.zeros((1, 8, 8, 3), np.uint8))


def test_a_closed_standard_error_is_no_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", None)
    with _silent_stderr():
        pass
