"""Clips that files, folders and patterns stand for."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from fer_edge import InputError
from fer_edge.fleet import Clip, DriveScorer, find_clips
from fer_edge.fleet.clips import folder_name


def places(clips: list[Clip]) -> list[tuple[str, str]]:
    return [(clip.drive, clip.name) for clip in clips]


def touch(*paths: Path) -> None:
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")


def test_the_folder_of_a_clip_is_its_drive(tmp_path: Path) -> None:
    touch(tmp_path / "cars/a/1.mp4", tmp_path / "cars/a/2.MKV", tmp_path / "cars/3.mp4")
    touch(tmp_path / "cars/a/notes.txt", tmp_path / "cars/.hidden/4.mp4", tmp_path / "cars/.5.mp4")
    found = [("a", "1.mp4"), ("a", "2.MKV"), ("cars", "3.mp4")]
    assert places(find_clips([tmp_path / "cars"])) == found
    assert places(find_clips([tmp_path / "cars/a/1.mp4"])) == [("a", "1.mp4")]
    assert places(find_clips([f"{tmp_path}/cars/**/*.mp4"])) == [("a", "1.mp4"), ("cars", "3.mp4")]


@pytest.mark.parametrize(
    "trash",
    [
        *("$RECYCLE.BIN", "#recycle", "@eaDir", "lost+found", "__MACOSX", ".Trash-0", "@Recycle"),
        *("@Recently-Snapshot", "#snapshot", "@tmp", "$Trash", "System Volume Information"),
    ],
)
def test_deleted_clips_are_none(tmp_path: Path, trash: str) -> None:
    touch(tmp_path / "cars/a/#1.mp4", tmp_path / "cars" / trash / "b/2.mp4")
    for name in (tmp_path / "cars", f"{tmp_path}/cars/**/*.mp4"):
        assert places(find_clips([name])) == [("a", "#1.mp4")]
    for name in (tmp_path / "cars" / trash, f"{tmp_path}/cars/*/../{trash}/**/*.mp4"):
        assert ("b", "2.mp4") in places(find_clips([name]))  # whoever names it means it


@pytest.mark.parametrize("drive", ["#12 Monday", "@home", "$5", "#1#2"])
def test_a_drive_may_begin_with_a_mark(tmp_path: Path, drive: str) -> None:
    touch(tmp_path / "cars" / drive / "1.mp4")
    for name in (tmp_path / "cars", f"{tmp_path}/cars/**/*.mp4"):
        assert places(find_clips([name])) == [(drive, "1.mp4")]


@pytest.mark.parametrize(
    "other",
    [
        *(b"", b"title: tour\n", b"- 1\n", b"x: y\n" * 20_000, b"---\na: 1\n---\nb: 2\n"),
        *(b"a: &x 1\nb: *x\n", b"a: !own 1\n", b"a: 1\na: 2\n", b"place: K\xf6ln\n"),
        b"[" * 25 + b"]" * 25,
    ],
)
def test_metadata_of_another_program_makes_no_bag(tmp_path: Path, other: bytes) -> None:
    touch(tmp_path / "cars/a/1.mp4", tmp_path / "cars/2.mp4")
    for folder in ("cars", "cars/a"):
        (tmp_path / folder / "metadata.yaml").write_bytes(other)
    assert places(find_clips([tmp_path / "cars"])) == [("a", "1.mp4"), ("cars", "2.mp4")]


def test_damaged_metadata_beside_a_database_is_a_bag(tmp_path: Path) -> None:
    touch(tmp_path / "tour/bag/metadata.yaml", tmp_path / "tour/bag/bag_0.db3.zstd")
    touch(tmp_path / "tour/photos/metadata.yaml", tmp_path / "tour/photos/1.jpg")
    assert places(find_clips([tmp_path])) == [("tour", "bag")]


def test_a_clip_that_is_named_twice_comes_once(tmp_path: Path) -> None:
    touch(tmp_path / "a/1.mp4")
    assert len(find_clips([tmp_path / "a", tmp_path / "a/1.mp4", f"{tmp_path}/a/*.mp4"])) == 1


def test_a_named_file_of_any_suffix_is_tried(tmp_path: Path) -> None:
    touch(tmp_path / "a/1.dat")
    assert places(find_clips([tmp_path / "a/1.dat"])) == [("a", "1.dat")]


def test_two_drives_of_one_name_are_refused(tmp_path: Path) -> None:
    touch(tmp_path / "x/a/1.mp4", tmp_path / "y/a/1.mp4")
    with pytest.raises(InputError, match=r"both the clip 1\.mp4 of the drive a"):
        find_clips([tmp_path / "x/a", tmp_path / "y/a"])
    assert places(find_clips([tmp_path])) == [("x/a", "1.mp4"), ("y/a", "1.mp4")]


def test_an_empty_name_is_not_the_current_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    touch(tmp_path / "a/1.mp4")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match="empty name"):
        find_clips([""])


@pytest.mark.parametrize("name", ["missing.mp4", "*.mp4", "empty", "nul\0", "*/nul\0"])
def test_a_name_that_stands_for_nothing_is_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError):
        find_clips([f"{tmp_path}/{name}"])


@pytest.mark.parametrize("names", ["a.mp4", Path("a.mp4"), 5, None, list], ids=repr)
def test_another_thing_is_no_list_of_clips(names: Any) -> None:
    with pytest.raises(InputError, match="expected a list of clips"):
        find_clips(names)


AS_ANOTHER_USER = """
import os, sys
from fer_edge import InputError
from fer_edge.fleet import find_clips
os.chmod("drives/open", 0o711)
os.chmod("drives/shut", 0)
if os.geteuid() == 0:
    os.seteuid(65534)
for name in ("drives", "drives/*", "drives/open"):
    try:
        print(name, find_clips([name]))
    except InputError as error:
        print(name, "refused:", error)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="folders have no such mode there")
def test_a_folder_that_cannot_be_read_is_not_left_out(tmp_path: Path) -> None:
    touch(tmp_path / "drives/shut/1.mp4", tmp_path / "drives/open/secret/2.mp4")
    tmp_path.chmod(0o755)
    (tmp_path / "drives/open/secret").chmod(0o700)
    command = [sys.executable, "-c", AS_ANOTHER_USER]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    for folder in ("open", "shut"):
        (tmp_path / "drives" / folder).chmod(0o755)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert len(lines) == 3
    for line in lines:
        assert "refused: cannot read" in line
        assert "Permission denied" in line


def test_names_of_drives_give_plain_folders() -> None:
    names = ["a/b", "a_b", "..", "", "Köln", "x" * 300, "a=b", "CON. ", "\udcff"]
    folders = [folder_name(name) for name in names]
    assert len(set(folders)) == len(names)
    for folder in folders:
        assert folder.isascii()
        assert 0 < len(folder) < 80
        assert "/" not in folder
        assert folder.strip(".") == folder
    assert folder_name("day-1") == "day-1"


def test_links_to_one_file_are_clips_of_their_own(tmp_path: Path) -> None:
    touch(tmp_path / "a/1.mp4")
    (tmp_path / "a/2.mp4").symlink_to("1.mp4")
    (tmp_path / "a/m.csv").write_text("path\n1.mp4\n2.mp4\n")
    assert places(find_clips([tmp_path / "a"])) == [("a", "1.mp4"), ("a", "2.mp4")]
    assert [name for _, name in places(find_clips([tmp_path / "a/m.csv"]))] == ["1.mp4", "2.mp4"]


def test_links_that_form_loops_end_no_search(tmp_path: Path) -> None:
    touch(tmp_path / "a/b/1.mp4", tmp_path / "a/.c/2.mp4")
    for name in ("x", "y", "b/z"):
        (tmp_path / "a" / name).symlink_to(tmp_path / "a")
    (tmp_path / "a/3.mp4").symlink_to("3.mp4")
    found = [("a", "3.mp4"), ("b", "1.mp4")]
    assert places(find_clips([tmp_path / "a"])) == found
    for pattern in ("a/**/*.mp4", "a/**", "**/b/**.mp4", "a/b/[12].mp4"):
        assert places(find_clips([f"{tmp_path}/{pattern}"])) == [("b", "1.mp4")]
    assert places(find_clips([f"{tmp_path}/a/x/b/*.mp4"])) == [("b", "1.mp4")]
    assert places(find_clips([f"{tmp_path}/a/.c/*.mp4"])) == [(".c", "2.mp4")]


@pytest.mark.parametrize("name", ["a.mp4", "a.mcap", "m.csv"])
def test_a_pipe_keeps_nobody_waiting(tmp_path: Path, name: str, scorer: DriveScorer) -> None:
    os.mkfifo(tmp_path / name)
    (clip,) = find_clips([tmp_path / name])
    assert scorer.score(clip, tmp_path / "out").status == "failed"
