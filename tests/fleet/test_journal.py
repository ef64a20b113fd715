"""Journal and part files: one run at a time, full disks, leftovers of killed workers."""

from __future__ import annotations

import errno
import json
import logging
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from fer_edge import InputError
from fer_edge.fleet import Clip, ClipReport, DriveScorer, find_clips, parts
from fer_edge.fleet.journal import Journal

CLIP = Clip("/d/a.mp4", "d", "a.mp4")


def test_two_runs_into_one_folder_at_the_same_time_are_refused(
    scorer: DriveScorer, drives: Path, tmp_path: Path, inline: Any
) -> None:
    clips = find_clips([drives])
    with Journal(tmp_path / "out"), pytest.raises(InputError, match="another run writes to"):
        inline(clips, tmp_path / "out", scorer)
    assert inline(clips, tmp_path / "out", scorer).scored == 4


def test_a_journal_on_a_disk_that_fills_up_keeps_whole_lines(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = os.write
    room = [10]

    def full(handle: int, data: bytes) -> int:
        if not room:
            raise OSError(errno.ENOSPC, "No space left on device")
        return write(handle, data[: room.pop()])

    with Journal(tmp_path / "out") as journal:
        journal.add(CLIP, ClipReport(CLIP.key, "ok"))
        before = (tmp_path / "out" / "done.jsonl").read_bytes()
        monkeypatch.setattr(os, "write", full)
        with pytest.raises(OSError, match="No space"):
            journal.add(CLIP, ClipReport(CLIP.key, "failed"))
        monkeypatch.undo()
        assert (tmp_path / "out" / "done.jsonl").read_bytes() == before


def test_the_journal_has_no_password(tmp_path: Path) -> None:
    """A clip whose address has another password or signature is the same clip."""
    old, new = (
        replace(CLIP, path=f"ftp://me:{word}@host/a.mp4", signals=f"memory://s.csv?sig={word}")
        for word in ("hidden", "changed")
    )
    with Journal(tmp_path / "out") as journal:
        journal.check({"bundle": "a"})
        assert not journal.is_done(old)
        journal.add(old, ClipReport(old.key, "ok"))
    assert "hidden" not in (tmp_path / "out" / "done.jsonl").read_text("utf-8")
    with Journal(tmp_path / "out") as journal:
        journal.forget_moved([new])
        assert new.key in journal.done
        assert new.version == old.version
        journal.forget_moved([replace(new, drive="other")])
        assert not journal.done


@pytest.mark.parametrize("place", ["/drives/scene_token={}/a.mp4", "memory://d/a.mp4?token={}"])
def test_clips_whose_public_paths_are_alike_stay(tmp_path: Path, place: str) -> None:
    clips = [replace(CLIP, path=place.format(word), drive=word) for word in ("a", "b")]
    with Journal(tmp_path / "out") as journal:
        journal.check({"bundle": "a"})
        for clip in clips:
            journal.add(clip, ClipReport(clip.key, "ok"))
    with Journal(tmp_path / "out") as journal:
        journal.forget_moved(clips)
        assert set(journal.done) == {clip.key for clip in clips}


def test_a_disk_that_takes_a_part_of_a_line_gets_the_rest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = os.write
    monkeypatch.setattr(os, "write", lambda handle, data: write(handle, data[:100]))
    with Journal(tmp_path / "out") as journal:
        journal.add(CLIP, ClipReport(CLIP.key, "ok"))
    monkeypatch.undo()
    (tmp_path / "out" / "run.json").write_text("{}")
    with Journal(tmp_path / "out") as journal:
        assert journal.done[CLIP.key][2].status == "ok"


@pytest.mark.parametrize("damage", [b"\0" * 20, b'{"clip": 1}, "\xff', b"[]\n{}\n"])
def test_a_damaged_line_costs_its_clip_and_no_other(
    damage: bytes, scorer: DriveScorer, drives: Path, tmp_path: Path, inline: Any, rows: Any
) -> None:
    out = tmp_path / "out"
    inline(find_clips([drives]), out, scorer)
    before = rows(out, "states")
    lines = (out / "done.jsonl").read_bytes().splitlines(keepends=True)
    lines[1] = damage + lines[1][len(damage) :]
    (out / "done.jsonl").write_bytes(b"".join(lines))
    assert inline(find_clips([drives]), out, scorer).scored == 1
    assert inline(find_clips([drives]), out, scorer).scored == 0
    assert rows(out, "states") == before


@pytest.mark.parametrize(
    "change",
    [
        lambda plain: "[" * 200_000,
        lambda plain: plain["report"].update(tally={}),
        lambda plain: plain["report"]["tally"].update(frames="3"),
        lambda plain: plain["report"]["tally"].update(missing_s=[]),
        lambda plain: plain["report"]["tally"].update(stream_s=float("nan")),
        lambda plain: plain["report"]["tally"]["latency"].update(x=1),
        lambda plain: plain["report"].update(against={"tally": {}}),
        lambda plain: plain["report"].update(against=3),
        lambda plain: plain["clip"].update(path=3),
        lambda plain: plain["clip"].update(start="today"),
    ],
)
def test_a_line_that_no_summary_can_be_made_of_is_passed_over(
    tmp_path: Path, change: Callable[[Any], Any], caplog: pytest.LogCaptureFixture
) -> None:
    with Journal(tmp_path / "out") as journal:
        journal.check({"bundle": "a"})
        journal.add(CLIP, ClipReport(CLIP.key, "ok"))
    path = tmp_path / "out" / "done.jsonl"
    plain = json.loads(path.read_text())
    path.write_text((change(plain) or json.dumps(plain)) + "\n")
    caplog.set_level(logging.WARNING, "fer_edge.fleet.journal")
    with Journal(tmp_path / "out") as journal:
        assert not journal.done
    assert "line 1 of" in caplog.text


def test_a_run_json_of_many_brackets_is_named(tmp_path: Path) -> None:
    with Journal(tmp_path / "out") as journal:
        journal.check({"bundle": "a"})
        (tmp_path / "out" / "run.json").write_text("[" * 200_000)
        with pytest.raises(InputError, match=r"run.json is damaged: .*Choose another -o"):
            journal.identity()


def test_a_clip_of_the_same_name_replaces_no_rows_of_a_file_that_is_there(
    scorer: DriveScorer, tmp_path: Path, write_clip: Callable[..., Path], inline: Any, rows: Any
) -> None:
    out = tmp_path / "out"
    old = write_clip(tmp_path / "monday" / "cabin" / "1.avi", 5)
    new = write_clip(tmp_path / "tuesday" / "cabin" / "1.avi", 9)
    inline(find_clips([old.parent]), out, scorer)
    with pytest.raises(InputError, match=r"out holds the rows of .*monday.* Choose another -o"):
        inline(find_clips([new.parent]), out, scorer)
    assert len(rows(out, "states")) == 5
    old.unlink()  # the file was moved, or cut anew at another place
    assert inline(find_clips([new.parent]), out, scorer).scored == 1
    assert len(rows(out, "states")) == 9


@pytest.mark.parametrize("lost", ["a.avi", "s.csv"])
def test_a_scored_clip_that_cannot_be_seen_keeps_its_rows(
    lost: str, scorer: DriveScorer, drives: Path, tmp_path: Path, inline: Any, rows: Any
) -> None:
    """A mount may be gone for a while."""
    out, folder = tmp_path / "out", drives / "monday"
    (folder / "s.csv").write_text("time_s,away\n0,0\n")
    (drives / "m.csv").write_text("path,signals\nmonday/a.avi,monday/s.csv\n")
    inline(find_clips([drives / "m.csv"]), out, scorer)
    before, said = rows(out, "states"), list[str]()
    (folder / lost).rename(tmp_path / lost)
    run = inline(find_clips([drives / "m.csv"]), out, scorer, say=said.append)
    assert (run.scored, run.status) == (0, {"failed": 1})
    assert "cannot be seen now" in run.errors[0]["error"]
    assert "cannot be seen now" in said[0]
    assert rows(out, "states") == before
    (tmp_path / lost).rename(folder / lost)
    run = inline(find_clips([drives / "m.csv"]), out, scorer)
    assert (run.scored, run.status) == (0, {"ok": 1})


def test_a_signals_file_that_changes_during_the_run_is_read_again(
    scorer: DriveScorer, drives: Path, tmp_path: Path, inline: Any
) -> None:
    signals = drives / "s.csv"
    signals.write_text("time_s,away\n0,0\n")
    (drives / "m.csv").write_text("path,signals\nmonday/a.avi,s.csv\n")

    def change(*_: object) -> None:
        signals.write_text("time_s,away\n0,1\n0.2,1\n")

    clips = find_clips([drives / "m.csv"])
    assert inline(clips, tmp_path / "out", scorer, step=change).scored == 1
    assert inline(clips, tmp_path / "out", scorer).scored == 1
    assert inline(clips, tmp_path / "out", scorer).scored == 0


def test_what_killed_workers_left_is_removed_and_nothing_else(
    scorer: DriveScorer, drives: Path, tmp_path: Path, inline: Any
) -> None:
    out = tmp_path / "out"
    inline(find_clips([drives]), out, scorer)
    left = out / "states" / "monday" / ".0123.parquet.0a1b2c3d-77-x_y.tmp"
    other = out / "states" / "monday" / ".keep"
    left.touch(), other.touch()
    inline(find_clips([drives]), out, scorer)
    assert not left.exists()
    assert other.exists()


def test_an_output_that_cannot_be_written_is_the_fault_of_no_clip(
    scorer: DriveScorer,
    drives: Path,
    tmp_path: Path,
    inline: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    @contextmanager
    def gone(final: Path, **_: object) -> Iterator[Path]:
        monkeypatch.undo()
        raise FileNotFoundError(errno.ENOENT, "No such file or directory", str(final))
        yield final

    monkeypatch.setattr(parts, "replacing", gone)
    with pytest.raises(InputError, match="cannot write"):
        inline(find_clips([drives]), tmp_path / "out", scorer)
    assert not list((tmp_path / "out").rglob("*.parquet"))
    assert inline(find_clips([drives]), tmp_path / "out", scorer).status["ok"] == 2
