"""Folders that were opened in Finder, copied over NFS, linked by a cache, or frozen."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from fer_edge import Predictor, shipped
from fer_edge.bundle import MANIFEST, open_bundle

DATA = "fake-fp32/answers.json"

Refusal = Callable[[Path], str]
Watch = Callable[[], AbstractContextManager[list[str]]]

LITTER = [
    ".DS_Store",
    "._bundle.json",
    "fake-fp32/._answers.json",
    "fake-fp32/.DS_Store",
    "Thumbs.db",
    "thumbs.db",
    "ehthumbs.db",
    "desktop.ini",
    "Desktop.ini",
    ".nfs000000000123abcd00000001",
    ".fuse_hidden0000abcd00000001",
    ".bundle.json.swp",
    ".bundle.json.swo",
    "bundle.json~",
    "#bundle.json#",
    "Icon\r",
    "bundle.json:Zone.Identifier",
    "bundle.json@SynoEAStream",
    "$RECYCLE.BIN/desktop.ini",
    "#recycle/bundle.json",
    ".directory",
    ".localized",
    "__MACOSX/._bundle.json",
    "@eaDir/bundle.json@SynoEAStream",
    ".AppleDouble/bundle.json",
    ".signatures.json.0a1b2c3d-99999-abc_12.tmp",
]


@pytest.mark.parametrize("name", LITTER)
def test_litter_is_passed_over_and_never_read(fake_bundle: Path, watched: Watch, name: str) -> None:
    (fake_bundle / name).parent.mkdir(exist_ok=True)
    (fake_bundle / name).write_bytes(b"x" * 100)
    with watched() as opened:
        open_bundle(fake_bundle)
    assert not [path for path in opened if Path(path) == fake_bundle / name]


def test_the_lock_link_of_an_editor_is_litter(fake_bundle: Path) -> None:
    (fake_bundle / ".#bundle.json").symlink_to("user@host.1234:1700000000")
    open_bundle(fake_bundle)


@pytest.mark.parametrize(
    "name", ["notes.txt", ".git/config", "model.so", "._", "swp", "fake-fp32/x.onnx", "nfs1", "~"]
)
def test_anything_else_is_refused_with_what_to_do(
    fake_bundle: Path, refusal: Refusal, name: str
) -> None:
    (fake_bundle / name).parent.mkdir(exist_ok=True)
    (fake_bundle / name).write_text("x")
    if name == "._":
        open_bundle(fake_bundle)  # an AppleDouble name with nothing after it
        return
    assert "Delete them" in refusal(fake_bundle)


def test_names_of_unlisted_files_are_few_and_printable(fake_bundle: Path, refusal: Refusal) -> None:
    for i in range(50):
        (fake_bundle / f"x{i}\x1b[2J").write_text("x")
    message = refusal(fake_bundle)
    assert "and 45 more" in message
    assert message.isprintable()


@pytest.mark.skipif(sys.platform != "linux", reason="needs names of any bytes")
def test_a_name_that_is_not_utf8_is_refused(fake_bundle: Path, refusal: Refusal) -> None:
    (fake_bundle / os.fsdecode(b"caf\xe9")).write_text("x")
    refusal(fake_bundle).encode()


def test_a_forest_of_folders_is_refused(fake_bundle: Path, refusal: Refusal) -> None:
    deep = fake_bundle
    for _ in range(300):
        deep = deep / "d"
    deep.mkdir(parents=True)
    assert "nested" in refusal(fake_bundle)


@pytest.mark.parametrize("linked", [[MANIFEST], [DATA], [MANIFEST, DATA], ["fake-fp32"]])
def test_links_are_named_with_the_command_that_copies(
    fake_bundle: Path, tmp_path: Path, refusal: Refusal, linked: list[str]
) -> None:
    """As in the caches of Hugging Face and Bazel, and in volumes of Kubernetes."""
    store = tmp_path / "store"
    store.mkdir()
    for i, name in enumerate(linked):
        shutil.move(fake_bundle / name, store / str(i))
        (fake_bundle / name).symlink_to(store / str(i))
    message = refusal(fake_bundle)
    assert "is a link" in message
    assert f"cp -rL {fake_bundle} COPY.fer" in message
    subprocess.run(["cp", "-rL", fake_bundle, tmp_path / "COPY.fer"], check=True)
    assert open_bundle(tmp_path / "COPY.fer").labels


def test_a_link_to_the_folder_works(fake_bundle: Path, tmp_path: Path) -> None:
    (tmp_path / "link.fer").symlink_to(fake_bundle)
    with Predictor(tmp_path / "link.fer") as predictor:
        assert predictor.labels


def test_a_missing_shipped_model_names_the_flag_of_pyinstaller(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, refusal: Refusal
) -> None:
    """A frozen program, or a zip, in which the data files were left out."""
    missing = tmp_path / "fer_edge/models/default.fer"
    monkeypatch.setattr(shipped, "_MODELS", missing.parent)
    assert "--collect-data fer_edge" in refusal(missing)
    assert "fer-edge convert" in refusal(tmp_path / "other.fer")
