"""Ray: the rows of one machine, bit for bit, also where workers die."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from fer_edge import TargetError
from fer_edge.fleet import DriveScorer, find_clips, score_drives
from fer_edge.fleet.ray_team import ray_team
from fer_edge.monitor import WholeFrame

pytestmark = pytest.mark.slow


class Deadly:
    """Detector that crashes at frames of 48 px, and gets SIGKILL once at others."""

    def __init__(self, folder: Path | None) -> None:
        self.folder = folder

    def detect(self, image: Any) -> list[Any]:
        if image.shape[0] == 48:
            os.abort()
        if self.folder is not None and not any(self.folder.iterdir()):
            (self.folder / "killed").touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return WholeFrame().detect(image)


def test_ray_writes_the_rows_of_one_machine(
    fake_bundle: Path,
    drives: Path,
    tmp_path: Path,
    write_clip: Callable[..., Path],
    rows: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pytest.importorskip("ray")
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent))  # the actors import this module
    monkeypatch.setenv("HOME", str(tmp_path))  # Ray keeps a token there
    write_clip(drives / "monday" / "bad.avi", size=48)
    (tmp_path / "kills").mkdir()
    clips = find_clips([drives])
    plain = DriveScorer(fake_bundle, detector=Deadly(None))
    killed = DriveScorer(fake_bundle, detector=Deadly(tmp_path / "kills"))
    on_ray = score_drives(clips, tmp_path / "ray", killed, workers=2, team=ray_team(workers=2))
    one = score_drives(clips, tmp_path / "one", plain, workers=2)
    assert on_ray.status == one.status == {"ok": 2, "partial": 1, "failed": 2}
    assert on_ray.errors == one.errors
    assert list((tmp_path / "kills").iterdir())
    for table in ("states", "events"):
        assert rows(tmp_path / "ray", table) == rows(tmp_path / "one", table)


def test_a_cluster_that_is_not_there_is_named(scorer: DriveScorer, drives: Path) -> None:
    pytest.importorskip("ray")
    team = ray_team("nonsense://nowhere:1")
    with pytest.raises(TargetError, match="no Ray cluster at nonsense"):
        score_drives(find_clips([drives]), drives.parent / "out", scorer, team=team)
