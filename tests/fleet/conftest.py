"""Tiny clips, a scorer without a model, and rows that can be compared."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pyarrow.parquet as pq
import pytest

from fer_edge.fleet import Clip, DriveScorer, Run, crew, score_drives
from fer_edge.fleet.crew import News
from fer_edge.monitor import WholeFrame

HZ = 25.0
Rows = list[dict[str, Any]]


@pytest.fixture(autouse=True)
def no_run_hangs(monkeypatch: pytest.MonkeyPatch) -> None:
    """End a worker that gives no sign of life sooner than a user's run does."""
    monkeypatch.setattr(crew, "STALL_S", 100.0)


def _write_clip(
    path: Path, frames: int = 20, *, seed: int = 0, black: int = 0, size: int = 64
) -> Path:
    """Write noise that moves; the first ``black`` frames are black."""
    path.parent.mkdir(parents=True, exist_ok=True)
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), HZ, (size, size))
    rng = np.random.default_rng(seed)
    for number in range(frames):
        image = rng.integers(0, 256, (size, size, 3), np.uint8)
        writer.write(np.zeros_like(image) if number < black else image)
    writer.release()
    return path


@pytest.fixture(scope="session")
def write_clip() -> Callable[..., Path]:
    """Write an AVI of 64x64 pixels at 25 Hz and return its path."""
    return _write_clip


@pytest.fixture
def drives(tmp_path: Path) -> Path:
    """Two drives of two clips each, one of them damaged, one of them no video."""
    root = tmp_path / "drives"
    _write_clip(root / "monday" / "a.avi", seed=1)
    _write_clip(root / "monday" / "b.avi", 30, seed=2, black=10)
    whole = _write_clip(root / "tuesday" / "a.avi", seed=3).read_bytes()
    (root / "tuesday" / "a.avi").write_bytes(whole[: len(whole) // 2])
    (root / "tuesday" / "b.avi").write_text("no video")
    return root


@pytest.fixture
def scorer(fake_bundle: Path) -> DriveScorer:
    return DriveScorer(fake_bundle, detector=WholeFrame())


class Inline:
    """Team of this process, for tests that are not about processes."""

    size = 1

    def __init__(self, scorer: DriveScorer, out: Path) -> None:
        self._scorer, self._out = scorer, out
        self._news: list[News] = []

    def start(self) -> int:
        self._news.append(News(1, "ready", self._scorer.identity()))
        return 1

    def give(self, worker: int, clip: Clip) -> None:
        self._news.append(News(1, "done", self._scorer.score(clip, self._out)))

    def wait(self, timeout_s: float) -> list[News]:
        news, self._news = self._news, []
        return news

    def kill(self, worker: int) -> None:
        raise AssertionError("no worker dies here")

    def close(self) -> None:
        self._scorer.close()


@pytest.fixture
def inline() -> Callable[..., Run]:
    """``score_drives`` in this process."""
    return functools.partial(score_drives, workers=1, team=Inline)


def _rows(out: Path, table: str) -> Rows:
    """Return all rows of a table without times of the machine, in one order."""
    rows: Rows = []
    for part in sorted((out / table).rglob("*.parquet")):
        read = pq.read_table(part)
        rows += read.select([n for n in read.column_names if not n.endswith("_ms")]).to_pylist()
    return sorted(rows, key=repr)


@pytest.fixture(scope="session")
def rows() -> Callable[[Path, str], Rows]:
    return _rows
