"""Folders and files appear whole or not at all, also when the process is killed halfway."""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from fer_edge.atomic import (
    _HOST,
    _SUFFIX,
    _prefix,
    check_place,
    is_temporary,
    replacing,
    sweep_folder,
    write_file,
    write_files,
    write_folder,
)


def put(**files: str) -> Callable[[Path], None]:
    def fill(folder: Path) -> None:
        for name, text in files.items():
            (folder / name).write_text(text)

    return fill


def content(folder: Path) -> dict[str, str]:
    return {path.name: path.read_text() for path in folder.iterdir()}


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_new_folder_appears_with_its_parents(tmp_path: Path) -> None:
    final = tmp_path / "a" / "b" / "final"
    write_folder(final, put(one="1"))
    assert content(final) == {"one": "1"}
    assert names(final.parent) == ["final"]


def test_the_folder_is_readable_by_others(tmp_path: Path) -> None:
    write_folder(tmp_path / "final", put(one="1"))
    assert (tmp_path / "final").stat().st_mode & 0o777 == 0o755


def test_an_existing_folder_is_exchanged_whole(tmp_path: Path) -> None:
    final = tmp_path / "final"
    write_folder(final, put(old="old", both="old"))
    write_folder(final, put(new="new", both="new"))
    assert content(final) == {"new": "new", "both": "new"}
    assert names(tmp_path) == ["final"]


def test_a_system_without_exchange_gets_the_new_folder_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    final = tmp_path / "final"
    write_folder(final, put(old="old"))
    monkeypatch.setattr(ctypes, "CDLL", lambda *_, **__: object())
    write_folder(final, put(new="new"))
    assert content(final) == {"new": "new"}
    assert names(tmp_path) == ["final"]


def test_windows_has_no_exchange_and_gets_the_new_folder_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_folder(tmp_path / "x", put(a="old"))
    monkeypatch.setattr("fer_edge.atomic.sys", SimpleNamespace(platform="win32"))
    monkeypatch.setattr(ctypes, "CDLL", lambda *_, **__: pytest.fail("Windows has no such library"))
    write_folder(tmp_path / "x", put(b="new"))
    assert content(tmp_path / "x") == {"b": "new"}
    assert names(tmp_path) == ["x"]


@pytest.mark.parametrize("failure", [RuntimeError, OSError, KeyboardInterrupt])
@pytest.mark.parametrize("existing", [True, False])
def test_a_failing_fill_leaves_everything_as_it_was(
    tmp_path: Path, failure: type[BaseException], existing: bool
) -> None:
    final = tmp_path / "final"
    if existing:
        write_folder(final, put(old="old"))

    def fill(folder: Path) -> None:
        (folder / "half").write_text("half")
        raise failure("stop")

    with pytest.raises(failure, match="stop"):
        write_folder(final, fill)
    assert names(tmp_path) == (["final"] if existing else [])
    assert not existing or content(final) == {"old": "old"}


@pytest.mark.parametrize("kind", ["file", "link"])
def test_something_else_in_the_folders_place_leaves_no_temporary(tmp_path: Path, kind: str) -> None:
    """Refused or replaced, both are fine; a hidden leftover beside it is not."""
    final, elsewhere = tmp_path / "final", tmp_path / "elsewhere"
    elsewhere.mkdir()
    if kind == "file":
        final.write_text("a file")
    else:
        final.symlink_to(elsewhere)
    try:
        write_folder(final, put(one="1"))
    except OSError:
        assert not final.is_dir() or final.is_symlink()
    else:
        assert content(final) == {"one": "1"}
    assert names(tmp_path) == ["elsewhere", "final"]


def blocked(tmp_path: Path, kind: str) -> Path:
    """A path at which no folder can be written."""
    (tmp_path / "real").mkdir()
    (tmp_path / "file").write_text("x")
    (tmp_path / "link").symlink_to(tmp_path / "real")
    (tmp_path / "dangling").symlink_to(tmp_path / "nowhere")
    return {
        "link": tmp_path / "link",
        "dangling": tmp_path / "dangling",
        "below a dangling link": tmp_path / "dangling" / "a" / "b",
        "file": tmp_path / "file",
        "below a file": tmp_path / "file" / "a" / "b",
        "no file system for it": Path("/proc/fer_edge.test"),
    }[kind]


@pytest.mark.parametrize(
    "kind",
    [
        *("link", "dangling", "below a dangling link", "file", "below a file"),
        pytest.param(
            "no file system for it",
            marks=pytest.mark.skipif(not Path("/proc/self").exists(), reason="needs /proc"),
        ),
    ],
)
def test_a_place_where_no_folder_can_be_written_is_told_before_it_is_tried(
    tmp_path: Path, kind: str
) -> None:
    final = blocked(tmp_path, kind)
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(OSError, match="Errno"):
        check_place(final, folder=True)
    with pytest.raises(OSError, match="Errno"):
        write_folder(final, put(one="1"))
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize("place", ["new", "a/b/new", "old", "link/new", "link/a/new"])
def test_a_place_where_a_folder_can_be_written_is_free_and_stays_as_it_is(
    tmp_path: Path, place: str
) -> None:
    (tmp_path / "old").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "old")
    before = sorted(tmp_path.rglob("*"))
    check_place(tmp_path / place, folder=True)
    assert sorted(tmp_path.rglob("*")) == before
    write_folder(tmp_path / place, put(one="1"))
    assert (tmp_path / place / "one").read_text() == "1"


# Forks a writer, kills it at a random moment, looks at what it left, and does so again.
KILLED = """
import json, os, random, signal, sys, time
from fer_edge.backends.fake import write_fake_bundle
from fer_edge.bundle import open_bundle

path, moments = sys.argv[1], random.Random(3)
old, new = {"fear": 0.75, "anger": 0.25}, {"neutral": 1.0}
write_fake_bundle(path, old)
for _ in range(20):
    writer = os.fork()
    while not writer:
        write_fake_bundle(path, new)
        write_fake_bundle(path, old)
    time.sleep(moments.uniform(0, 0.1))
    os.kill(writer, signal.SIGKILL)
    _, status = os.waitpid(writer, 0)
    assert os.WTERMSIG(status) == signal.SIGKILL, "the writer ended by itself"
    bundle = open_bundle(path)
    (data,) = bundle.read(bundle.variants[0]).values()
    print({0.75: "old", 0.0: "new"}[json.loads(data)["row"][2]])
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork and SIGKILL")
def test_a_writer_killed_at_any_moment_leaves_an_old_or_a_new_bundle(tmp_path: Path) -> None:
    command = [sys.executable, "-c", KILLED, str(tmp_path / "rewritten.fer")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    found = done.stdout.split()
    assert len(found) == 20, done.stderr[-1000:]
    assert set(found) <= {"old", "new"}


def test_a_file_appears_and_is_replaced_without_a_trace(tmp_path: Path) -> None:
    final = tmp_path / "report.json"
    for text in (b"one", b"two"):
        write_file(final, text)
        assert final.read_bytes() == text
    assert names(tmp_path) == ["report.json"]
    assert final.stat().st_mode & 0o777 == 0o644


@pytest.mark.parametrize("last", ["folder", "pipe", "no/such/folder/report.html"])
def test_files_that_belong_together_are_all_written_or_none(tmp_path: Path, last: str) -> None:
    one, two = tmp_path / "report.json", tmp_path / "report.html"
    write_files({one: b"old", two: b"old"})
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "pipe")
    before = names(tmp_path)
    with pytest.raises(OSError, match=r"expected a file|No such file"):
        write_files({one: b"new", two: b"new", tmp_path / last: b"new"})
    assert (one.read_bytes(), two.read_bytes()) == (b"old", b"old")
    assert names(tmp_path) == before
    write_files({one: b"new", two: b"new"})
    assert (one.read_bytes(), two.read_bytes()) == (b"new", b"new")


def test_every_file_is_written_before_the_first_is_put_in_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A kill at any moment but one between two renames leaves files of one run."""
    steps: list[str] = []

    def noted(function: Any, word: str) -> Any:
        return lambda *args, **more: (steps.append(word), function(*args, **more))[1]

    monkeypatch.setattr(os, "fsync", noted(os.fsync, "on disk"))
    monkeypatch.setattr(Path, "replace", noted(Path.replace, "in place"))
    write_files({tmp_path / name: b"x" for name in ("a.json", "a.html", "a.md")})
    assert steps == ["on disk"] * 3 + ["in place"] * 3 + ["on disk"]


def test_a_link_is_written_through_and_stays_a_link(tmp_path: Path) -> None:
    (tmp_path / "real").write_bytes(b"old")
    (tmp_path / "link").symlink_to("real")
    write_file(tmp_path / "link", b"new")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "real").read_bytes() == b"new"


@pytest.mark.parametrize("final", ["folder", "pipe", "no/such/folder/report.json"])
def test_what_is_no_file_is_not_replaced(tmp_path: Path, final: str) -> None:
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "pipe")
    before = names(tmp_path)
    with pytest.raises(OSError, match=r"expected a file|No such file"):
        write_file(tmp_path / final, b"new")
    assert names(tmp_path) == before


def test_a_file_written_in_parts_replaces_the_old_one(tmp_path: Path) -> None:
    final = tmp_path / "state.pt"
    final.write_bytes(b"old")
    with replacing(final) as temporary:
        for part in (b"one", b"two"):
            with temporary.open("ab") as file:
                file.write(part)
        assert final.read_bytes() == b"old"
    assert final.read_bytes() == b"onetwo"
    assert names(tmp_path) == ["state.pt"]
    assert final.stat().st_mode & 0o777 == 0o644


LONG = ["é" * 112 + ".png", "a" * 255, "b" * 200, "b" * 201]


@pytest.mark.parametrize("name", LONG)
def test_any_name_that_the_system_takes_can_be_written(tmp_path: Path, name: str) -> None:
    for data in (b"old", b"new"):
        write_file(tmp_path / name, data)
    assert (tmp_path / name).read_bytes() == b"new"
    (tmp_path / name).unlink()
    with replacing(tmp_path / name) as temporary:
        assert is_temporary(temporary.name)
    (tmp_path / name).unlink()
    for _ in range(2):
        write_folder(tmp_path / name, put(one="1"))
    assert names(tmp_path) == [name]


@pytest.mark.parametrize("failure", [OSError, KeyboardInterrupt])
@pytest.mark.parametrize("existing", [True, False])
def test_a_file_whose_writing_fails_stays_as_it_was(
    tmp_path: Path, failure: type[BaseException], existing: bool
) -> None:
    final = tmp_path / "state.pt"
    if existing:
        final.write_bytes(b"old")

    def write() -> None:
        with replacing(final) as temporary:
            temporary.write_bytes(b"half")
            raise failure("stop")

    with pytest.raises(failure, match="stop"):
        write()
    assert names(tmp_path) == (["state.pt"] if existing else [])
    assert not existing or final.read_bytes() == b"old"


# What killed processes leave is removed by the next write.

DEAD_PID = 2**22 + 1
"""Above the largest process id of Linux."""


def left_by(pid: int, final: Path, *, folder: bool) -> Path:
    prefix = _prefix(final).replace(f"-{os.getpid()}-", f"-{pid}-")
    path = final.with_name(f"{prefix}abc_12{_SUFFIX}")
    if folder:
        path.mkdir()
        (path / "part").write_text("x")
    else:
        path.write_text("x")
    return path


@pytest.mark.parametrize("name", ["a.json", "a" * 255])
@pytest.mark.parametrize("folder", [True, False])
def test_leftovers_of_dead_processes_are_removed(tmp_path: Path, folder: bool, name: str) -> None:
    final = tmp_path / name
    dead = left_by(DEAD_PID, final, folder=folder)
    write_file(final, b"x")
    assert not dead.exists()


def test_a_folder_is_swept_of_the_files_of_dead_processes_alone(tmp_path: Path) -> None:
    dead = [left_by(DEAD_PID, tmp_path / name, folder=False) for name in ("a", "b.png")]
    alive = left_by(os.getppid(), tmp_path / "a", folder=False)
    retired = left_by(DEAD_PID, tmp_path / "c", folder=True)
    sweep_folder(tmp_path)
    assert not any(path.exists() for path in dead)
    assert set(tmp_path.iterdir()) == {alive, retired}


def test_the_only_copy_of_a_folder_is_no_leftover(tmp_path: Path) -> None:
    """A process that was killed between two renames has left the old folder beside its place."""
    final = tmp_path / "x.fer"
    retired = final.with_name(f".x.fer.{_HOST}-{DEAD_PID}-old{_SUFFIX}")
    retired.mkdir()
    with pytest.raises(RuntimeError), replacing(final):
        raise RuntimeError
    assert retired.exists()
    write_folder(final, put(one="1"))
    write_folder(final, put(one="1"))
    assert names(tmp_path) == ["x.fer"]


@pytest.mark.parametrize("folder", [True, False])
def test_what_a_living_process_writes_stays(tmp_path: Path, folder: bool) -> None:
    final = tmp_path / "a.json"
    alive = left_by(os.getppid(), final, folder=folder)
    write_file(final, b"x")
    assert alive.exists()


@pytest.mark.parametrize(
    "name",
    [
        ".a.json.tmp",
        ".a.json.00000000-4194305-abc.tmp",  # of another machine
        f".b.json.{_HOST}-{DEAD_PID}-abc.tmp",
        f".a.json.{_HOST}-{DEAD_PID}-abc",
        f"a.json.{_HOST}-{DEAD_PID}-abc.tmp",
    ],
)
def test_files_of_others_stay(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("x")
    write_file(tmp_path / "a.json", b"x")
    assert (tmp_path / name).exists()


def test_a_link_in_the_place_of_a_leftover_is_not_followed(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "kept").write_text("x")
    final = tmp_path / "a.json"
    dead = left_by(DEAD_PID, final, folder=False)
    dead.unlink()
    dead.symlink_to(outside)
    write_file(final, b"x")
    assert (outside / "kept").exists()
