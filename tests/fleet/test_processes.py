"""Processes of this machine that cannot start."""

from __future__ import annotations

import errno
import os
from multiprocessing.context import SpawnContext, SpawnProcess
from pathlib import Path
from typing import Any

import pytest

from fer_edge import EngineError
from fer_edge.fleet import DriveScorer, find_clips, score_drives


@pytest.mark.parametrize(
    ("owner", "name", "code"),
    [(SpawnContext, "Pipe", errno.EMFILE), (SpawnProcess, "start", errno.EAGAIN)],
    ids=["no more files", "no more processes"],
)
def test_a_machine_without_room_for_a_worker_blames_no_folder(
    scorer: DriveScorer,
    drives: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    owner: type,
    name: str,
    code: int,
) -> None:
    def refuses(*_: Any) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(owner, name, refuses)
    with pytest.raises(EngineError, match=f"{os.strerror(code)}. .*--workers 1"):
        score_drives(find_clips([drives]), tmp_path / "out", scorer, workers=2)
