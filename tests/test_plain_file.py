"""Files are read; devices, folders and pipes that never end are refused at once."""

from __future__ import annotations

import os
import shutil
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from fer_edge import BundleError, FerEdgeError, InputError, open_bundle, plain_file
from fer_edge.monitor.settings import Settings
from fer_edge.plain_file import read_plain
from fer_edge.signing import SIGNATURES, load_keys, read_signatures, sign_manifest

pytestmark = pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs pipes with a name")


@pytest.fixture
def pipe(tmp_path: Path) -> Path:
    """A pipe into which nobody writes."""
    os.mkfifo(tmp_path / "pipe.json")
    return tmp_path / "pipe.json"


def test_a_file_is_read_up_to_the_limit(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"12345")
    assert read_plain(path, 5) == b"12345"
    with pytest.raises(OSError, match="at most 4 bytes"):
        read_plain(path, 4)


@pytest.mark.parametrize("name", ["/dev/zero", "/dev/urandom", "/dev/full", "/dev/tty", "."])
def test_a_device_or_a_folder_is_not_read(name: str) -> None:
    if not Path(name).exists():
        pytest.skip(f"no {name}")
    for pipes in (True, False):
        with pytest.raises(OSError):  # noqa: PT011  (each system words it in its own way)
            read_plain(Path(name), 100, pipes=pipes)


def test_a_pipe_is_read_only_where_that_is_wanted(pipe: Path) -> None:
    def write() -> None:
        with pipe.open("wb") as file:
            file.write(b"x" * 100_000)

    with pytest.raises(OSError, match="found a device or a pipe"):
        read_plain(pipe, 100)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    writer = threading.Thread(target=write, daemon=True)
    try:
        writer.start()
        while not os.get_blocking(reader) and writer.is_alive() and not _has_data(reader):
            pass
        assert read_plain(pipe, 200_000, pipes=True) == b"x" * 100_000
    finally:
        os.close(reader)
        writer.join(20)


def _has_data(reader: int) -> bool:
    import select

    return bool(select.select([reader], [], [], 0.1)[0])


def test_a_pipe_that_gives_nothing_ends(pipe: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plain_file, "_PIPE_S", 0.05)
    with os.fdopen(os.open(pipe, os.O_RDWR), "rb"), pytest.raises(OSError, match="did not end"):
        read_plain(pipe, 100, pipes=True)


USERS: dict[str, Callable[[Path], object]] = {
    "public key": lambda path: load_keys([path]),
    "private key": lambda path: sign_manifest(b"{}", path),
    "settings": Settings.from_file,
}


@pytest.mark.parametrize("use", USERS)
@pytest.mark.parametrize("name", ["pipe", "/dev/zero", "/dev/urandom"])
def test_what_a_user_names_never_hangs(pipe: Path, use: str, name: str) -> None:
    if name == "/dev/urandom" or name == "/dev/zero":
        (link := pipe.with_name("link.json")).symlink_to(name)
        pipe = link
    with pytest.raises(InputError, match=r"link\.json|pipe\.json"):
        USERS[use](pipe)


def test_a_pipe_in_a_bundle_never_hangs(fake_bundle: Path, tmp_path: Path) -> None:
    variant = open_bundle(fake_bundle).variants[0]
    for number, name in enumerate(("bundle.json", SIGNATURES, variant.files[0].path)):
        copy = Path(shutil.copytree(fake_bundle, tmp_path / f"{number}.fer"))
        (copy / name).unlink(missing_ok=True)
        os.mkfifo(copy / name)
        with pytest.raises(BundleError):
            open_bundle(copy).read(variant)
        if name == SIGNATURES:
            with pytest.raises(BundleError):
                read_signatures(copy)


def test_a_pipe_in_a_checkpoint_or_as_a_recipe_never_hangs(pipe: Path, tmp_path: Path) -> None:
    from fer_edge.shipped import DEFAULT_CHECKPOINT
    from fer_edge.training.checkpoint import load_checkpoint
    from fer_edge.training.config.recipe import load_recipe

    with pytest.raises(FerEdgeError, match=r"pipe\.json"):
        load_recipe(pipe)
    files = sorted(path.name for path in DEFAULT_CHECKPOINT.iterdir() if path.is_file())
    for name in [name for name in files if name.endswith((".json", ".safetensors"))]:
        copy = Path(shutil.copytree(DEFAULT_CHECKPOINT, tmp_path / f"copy-{name}"))
        (copy / name).unlink()
        os.mkfifo(copy / name)
        with pytest.raises(FerEdgeError):
            load_checkpoint(copy)
