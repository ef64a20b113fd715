"""A folder with changed, missing or additional files is refused."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fer_edge.bundle import (
    MANIFEST,
    open_bundle,
)
from fer_edge.errors import BundleError

DATA = "fake-fp32/answers.json"

Refusal = Callable[[Path], str]
NOT_MEANT = ("runs/last.fer", "runs/fast.fer", "/no-such/fast", "vast-2.fer")
"""Missing bundles that are no slip in the name of a shipped model."""


@contextmanager
def copied(template: Path) -> Iterator[Path]:
    """A bundle of its own for each example that hypothesis makes up."""
    with tempfile.TemporaryDirectory() as folder:
        yield Path(shutil.copytree(template, Path(folder) / "copy.fer"))


@given(st.integers(0), st.integers(1, 255))
def test_any_changed_byte_of_a_listed_file_is_found(
    template: Path, refusal: Refusal, position: int, flip: int
) -> None:
    with copied(template) as bundle:
        opened = open_bundle(bundle)
        data = bytearray((bundle / DATA).read_bytes())
        data[position % len(data)] ^= flip
        (bundle / DATA).write_bytes(data)
        assert DATA in refusal(bundle)
        with pytest.raises(BundleError, match="SHA-256"):
            opened.read(opened.variants[0])


@given(st.integers(0), st.integers(1, 255))
def test_a_changed_byte_of_the_manifest_is_refused_or_seen(
    template: Path, position: int, flip: int
) -> None:
    with copied(template) as bundle:
        before = open_bundle(bundle)
        data = bytearray((bundle / MANIFEST).read_bytes())
        data[position % len(data)] ^= flip
        (bundle / MANIFEST).write_bytes(data)
        try:
            after = open_bundle(bundle)
        except BundleError:
            return
        assert after.sha256 != before.sha256


@pytest.mark.parametrize("change", [lambda data: data + b"\0", lambda data: data[:-1]])
def test_a_file_of_another_length_is_refused(
    fake_bundle: Path, change: Callable[[bytes], bytes], refusal: Refusal
) -> None:
    (fake_bundle / DATA).write_bytes(change((fake_bundle / DATA).read_bytes()))
    assert "size or SHA-256 differs" in refusal(fake_bundle)


@pytest.mark.parametrize("name", [MANIFEST, DATA])
def test_a_missing_file_is_refused_by_name(fake_bundle: Path, name: str, refusal: Refusal) -> None:
    (fake_bundle / name).unlink()
    assert name in refusal(fake_bundle)


def test_a_folder_in_a_files_place_is_refused(fake_bundle: Path, refusal: Refusal) -> None:
    (fake_bundle / DATA).unlink()
    (fake_bundle / DATA).mkdir()
    assert DATA in refusal(fake_bundle)


@pytest.mark.parametrize(
    "name",
    [
        "notes.txt",
        ".hidden",
        "fake-fp32/extra.bin",
        "fake-fp32/.hidden",
        ".git/config",
        "a/b/c/deep.so",
        "fake-fp32/bundle.json",
    ],
)
def test_an_unlisted_file_is_refused_by_name(
    fake_bundle: Path, name: str, refusal: Refusal
) -> None:
    (fake_bundle / name).parent.mkdir(parents=True, exist_ok=True)
    (fake_bundle / name).write_text("not listed")
    assert name in refusal(fake_bundle)


@pytest.mark.parametrize("name", [MANIFEST, DATA, "fake-fp32", "extra"])
def test_a_link_is_refused_even_to_the_very_same_content(
    fake_bundle: Path, tmp_path: Path, name: str, refusal: Refusal
) -> None:
    outside = tmp_path / "outside"
    if (fake_bundle / name).exists():
        shutil.move(fake_bundle / name, outside)
    else:
        outside.mkdir()
    (fake_bundle / name).symlink_to(outside)
    refusal(fake_bundle)


def test_a_link_that_came_after_the_check_is_compared_with_the_hash(
    fake_bundle: Path, tmp_path: Path
) -> None:
    bundle = open_bundle(fake_bundle)
    secret = tmp_path / "secret"
    secret.write_bytes(b"x" * (fake_bundle / DATA).stat().st_size)
    (fake_bundle / DATA).unlink()
    (fake_bundle / DATA).symlink_to(secret)
    with pytest.raises(BundleError):
        bundle.read(bundle.variants[0])


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
@pytest.mark.parametrize("name", [MANIFEST, DATA, "fake-fp32/pipe"])
def test_a_named_pipe_is_refused_and_not_waited_for(fake_bundle: Path, name: str) -> None:
    (fake_bundle / name).unlink(missing_ok=True)
    os.mkfifo(fake_bundle / name)
    script = "import sys, fer_edge; fer_edge.open_bundle(sys.argv[1])"
    done = subprocess.run(
        [sys.executable, "-c", script, str(fake_bundle)],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert "fer_edge.errors.BundleError" in done.stderr


@pytest.mark.parametrize(
    "name", ["missing.fer", "file.fer", "file.fer/inside", "empty", "nul\0byte"]
)
def test_a_path_that_is_no_bundle_is_refused(tmp_path: Path, name: str, refusal: Refusal) -> None:
    (tmp_path / "file.fer").write_text("a file")
    (tmp_path / "empty").mkdir()
    refusal(tmp_path / name)


@pytest.mark.parametrize(
    ("name", "step"),
    [
        ("no-such", "Name the shipped model default or fast, or build a bundle: fer-edge convert"),
        *((name, "give the name fast alone") for name in ("Fast", "fats", "fast.fer", "fast")),
        ("Defualt", "give the name default alone"),
        *((name, "alone, or build a bundle: fer-edge convert") for name in ("last.fer", "fast")),
        *((name, "Name the shipped model default or fast, or build") for name in NOT_MEANT),
        ("face.png", "is a file. Name a folder NAME.fer, or the shipped model default or fast"),
        ("made.fer/bundle.json", "is a file in it. Name the folder"),
        ("my checkpoint", "Convert it: fer-edge convert 'my checkpoint' --target"),
        ("empty", "has no file bundle.json. Name a folder NAME.fer"),
    ],
)
def test_what_is_no_bundle_is_told_the_next_step(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, step: str, refusal: Refusal
) -> None:
    monkeypatch.chdir(tmp_path)
    for folder in ("made.fer", "my checkpoint", "empty"):
        Path(folder).mkdir()
    for file in ("face.png", "made.fer/bundle.json", "my checkpoint/card.json"):
        Path(file).write_text("{}")
    assert step in refusal(Path(name))
