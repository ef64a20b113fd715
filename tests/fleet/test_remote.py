"""Clips at addresses, through fsspec: the file system in memory, and the local one."""

from __future__ import annotations

import errno
import io
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import fsspec
import pytest
from fsspec.implementations.memory import MemoryFileSystem

from fer_edge import InputError
from fer_edge.fleet import Clip, DriveScorer, find_clips, remote
from fer_edge.fleet.remote import is_address


@pytest.fixture
def memory(tmp_path: Path, write_clip: Callable[..., Path]) -> Iterator[str]:
    system = fsspec.filesystem("memory")
    data = write_clip(tmp_path / "a.avi").read_bytes()
    for name in ("monday/a.avi", "monday/b.avi", "tuesday/a.avi"):
        system.pipe(f"/fleet/{name}", data)
    system.pipe("/fleet/tuesday/notes.txt", b"x")
    system.pipe("/fleet/tuesday/bad.mp4", b"no video")
    system.pipe("/fleet/m.csv", b"path,drive\nmonday/a.avi,first\n")
    yield "memory://fleet"
    system.rm("/fleet", recursive=True)


def places(clips: list[Clip]) -> list[tuple[str, str]]:
    return [(clip.drive, clip.name) for clip in clips]


def test_folders_patterns_files_and_manifests_at_an_address(memory: str) -> None:
    found = [("monday", "a.avi"), ("monday", "b.avi"), ("tuesday", "a.avi"), ("tuesday", "bad.mp4")]
    assert places(find_clips([memory])) == found
    assert places(find_clips([f"{memory}/*/a.avi"])) == [found[0], found[2]]
    assert places(find_clips([f"{memory}/tuesday/a.avi"])) == [("tuesday", "a.avi")]
    assert places(find_clips([f"{memory}/m.csv"])) == [("first", "monday/a.avi")]


def test_a_clip_at_an_address_gives_the_rows_of_a_local_one(
    memory: str, scorer: DriveScorer, tmp_path: Path, rows: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))
    (clip,) = find_clips([f"{memory}/monday/a.avi"])
    scorer.score(clip, tmp_path / "remote")
    (local,) = find_clips([f"file://{tmp_path}/a.avi"])
    scorer.score(Clip(local.path, "monday", "a.avi"), tmp_path / "file")
    scorer.score(Clip(str(tmp_path / "a.avi"), "monday", "a.avi"), tmp_path / "plain")
    plain = rows(tmp_path / "plain", "states")
    assert len(plain) == 20
    assert rows(tmp_path / "remote", "states") == plain
    assert rows(tmp_path / "file", "states") == plain
    assert list(temporary.iterdir()) == []


def test_what_is_damaged_or_gone_is_an_error_row_without_folders_of_this_machine(
    memory: str, scorer: DriveScorer, tmp_path: Path
) -> None:
    bad = scorer.score(find_clips([f"{memory}/tuesday/bad.mp4"])[0], tmp_path / "out")
    gone = scorer.score(Clip(f"{memory}/no.mp4", "t", "no.mp4"), tmp_path / "out")
    assert (bad.status, gone.status) == ("failed", "failed")
    assert bad.error is not None
    assert bad.error.startswith("bad.mp4 is not a video")


def test_size_and_change_of_a_file_are_seen(memory: str) -> None:
    before = find_clips([f"{memory}/monday/a.avi"])[0]
    assert before.size > 1000
    fsspec.filesystem("memory").pipe("/fleet/monday/a.avi", b"other")
    assert find_clips([f"{memory}/monday/a.avi"])[0].stamp != before.stamp


@pytest.mark.parametrize("name", ["memory://nothing", "memory://nothing/*.mp4", "what://x/a.mp4"])
def test_an_address_where_nothing_is_is_refused(name: str) -> None:
    with pytest.raises(InputError):
        find_clips([name])


@pytest.mark.parametrize(
    "name", ["what://{}", "what://{}/a.mp4", "what://{}/m.csv", "memory://{}/a.mp4", "memory://{}"]
)
def test_a_password_is_in_no_message(name: str) -> None:
    with pytest.raises(InputError, match=r"//\*\*\*@host") as raised:
        find_clips([name.format("me:p@secret@host")])
    assert "secret" not in str(raised.value)


def test_a_manifest_with_a_password_in_its_address_is_named_without_it() -> None:
    system = fsspec.filesystem("memory")
    system.pipe("/me:secret@host/m.csv", b"path\n../x.avi\n")
    with pytest.raises(InputError, match=r"manifest memory://\*\*\*@host/m.csv") as raised:
        find_clips(["memory://me:secret@host/m.csv"])
    system.rm("/me:secret@host", recursive=True)
    assert "secret" not in str(raised.value)


def test_drives_and_names_of_addresses_have_no_password() -> None:
    system, row = fsspec.filesystem("memory"), "memory://me:secret@host/monday/a.avi"
    system.pipe("/me:secret@host/m.csv", f"path\n{row}\n".encode())
    (clip,) = find_clips(["memory://me:secret@host/m.csv"])
    system.rm("/me:secret@host", recursive=True)
    assert (clip.drive, clip.name, clip.path) == (
        "memory://***@host/monday",
        "memory://***@host/monday/a.avi",
        row,
    )


def test_a_clip_found_at_an_address_has_names_without_password() -> None:
    system = fsspec.filesystem("memory")
    system.pipe("/me:secret@host/a.avi", b"x")
    (clip,) = find_clips(["memory://me:secret@host/a.avi"])
    system.rm("/me:secret@host", recursive=True)
    assert (clip.drive, clip.name) == ("***@host", "a.avi")


def test_a_manifest_at_an_address_stays_below_it(memory: str) -> None:
    system = fsspec.filesystem("memory")
    for path in ("../x.avi", "memory://other/x.avi", "/monday/../../x.avi", "file:///etc/x.avi"):
        system.pipe("/fleet/m.csv", f"path\n{path}\n".encode())
        with pytest.raises(InputError, match="outside"):
            find_clips([f"{memory}/m.csv"])


@pytest.mark.parametrize(
    "path",
    [
        *("%2e%2e/x.avi", ".%2E/x.avi", "%252e%252e/x.avi", "..%2fx.avi", "a%2f..%2F..%2fx.avi"),
        *("..\\x.avi", "a%5c..%5Cx.avi", "..;a/x.avi", '".\t./x.avi"'),
    ],
)
def test_escapes_in_a_manifest_at_an_address_do_not_leave_it(memory: str, path: str) -> None:
    """A server undoes them."""
    fsspec.filesystem("memory").pipe("/fleet/m.csv", f"path\n{path}\n".encode())
    with pytest.raises(InputError, match="outside"):
        find_clips([f"{memory}/m.csv"])


def test_escapes_that_stay_below_a_manifest_are_taken(memory: str) -> None:
    data = b"path\ntime%3D8%3A00/a%2Fb.avi\na..b/c%20d.avi\n"
    fsspec.filesystem("memory").pipe("/fleet/m.csv", data)
    assert len(find_clips([f"{memory}/m.csv"])) == 2


def test_an_address_that_is_escaped_many_times_is_refused(memory: str) -> None:
    fsspec.filesystem("memory").pipe("/fleet/m.csv", f"path\n%{'25' * 2000}x.avi\n".encode())
    with pytest.raises(InputError, match=r"escaped more than 3 times. Write it with single"):
        find_clips([f"{memory}/m.csv"])


def test_dots_in_a_query_lead_to_no_folder(tmp_path: Path) -> None:
    manifest = tmp_path / "m.csv"
    manifest.write_text("path\nhttp://[::1]:9/fleet/x.avi?p=%2F..%2Fz#../a\n")
    (clip,) = find_clips([manifest], root="http://[::1]:9/fleet")
    assert clip.name == "http://[::1]:9/fleet/x.avi"


def test_addresses_are_told_from_paths() -> None:
    assert is_address("s3://bucket/a.mp4")
    assert is_address("zip://*.mp4::s3://bucket/a.zip")
    assert not is_address("a://b"[3:])
    assert not is_address("/a/b:c.mp4")
    assert not is_address("C:\\a.mp4")


class Broken(io.RawIOBase):
    def __init__(self, data: bytes) -> None:
        self._data = io.BytesIO(data[: len(data) // 2])

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        if count := self._data.readinto(buffer):
            return count
        raise ConnectionResetError("the connection was reset")


@pytest.fixture
def breaks(memory: str, monkeypatch: pytest.MonkeyPatch) -> list[Callable[[bytes], Any]]:
    """Files that the next reads at an address get, by what they make of the bytes."""
    ways: list[Callable[[bytes], Any]] = []
    whole = MemoryFileSystem._open

    def open_one(self: MemoryFileSystem, *arguments: Any, **options: Any) -> Any:
        file = whole(self, *arguments, **options)
        return ways.pop()(file.read()) if ways else file

    monkeypatch.setattr(MemoryFileSystem, "_open", open_one)
    monkeypatch.setattr(remote, "_PAUSES_S", (0.0, 0.0))
    return ways


def test_a_connection_that_breaks_is_tried_again(
    memory: str, breaks: list[Any], scorer: DriveScorer, tmp_path: Path
) -> None:
    (clip,) = find_clips([f"{memory}/monday/a.avi"])
    breaks += [lambda data: io.BufferedReader(Broken(data))] * 2
    assert scorer.score(clip, tmp_path / "out").status == "ok"
    breaks += [lambda data: io.BufferedReader(Broken(data))] * 3
    report = scorer.score(clip, tmp_path / "out")
    assert (report.status, report.retry) == ("failed", True)
    assert "connection was reset" in str(report.error)


def test_a_file_that_comes_short_is_not_scored(
    memory: str, breaks: list[Any], scorer: DriveScorer, tmp_path: Path
) -> None:
    (clip,) = find_clips([f"{memory}/monday/a.avi"])
    breaks += [lambda data: io.BytesIO(data[:-100])] * 3
    report = scorer.score(clip, tmp_path / "out")
    assert (report.status, report.retry) == ("failed", True)
    assert "bytes" in str(report.error)


def test_each_block_of_a_copy_is_a_sign_of_life(memory: str) -> None:
    """A slow network may take longer than the watchdog waits for a frame."""
    data, beats = bytes(5 << 19), list[int]()
    fsspec.filesystem("memory").pipe("/fleet/long.avi", data)
    with remote.local_copy(f"{memory}/long.avi", beats.append) as copy:
        assert beats == [0, 0, 0]
        assert copy.read_bytes() == data


def test_a_file_that_is_not_there_is_not_tried_again(
    memory: str, scorer: DriveScorer, tmp_path: Path
) -> None:
    report = scorer.score(Clip(f"{memory}/no.mp4", "t", "no.mp4"), tmp_path / "out")
    assert (report.status, report.retry) == ("failed", False)


def test_a_full_temporary_folder_is_the_fault_of_no_clip(
    memory: str, scorer: DriveScorer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(address: str, copy: Path, beat: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", str(copy))

    monkeypatch.setattr(remote, "_copy", full)
    (clip,) = find_clips([f"{memory}/monday/a.avi"])
    with pytest.raises(OSError, match="No space"):
        scorer.score(clip, tmp_path / "out")
