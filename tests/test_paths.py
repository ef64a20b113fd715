"""Paths that no file can have are refused with a sentence, and so is what is not a path."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import numpy as np
import pytest

from fer_edge import Analysis, FerEdgeError, InputError, Predictor, atomic, open_bundle, read_image
from fer_edge.backends.fake import write_fake_bundle
from fer_edge.benchmarks.references.against import load_against
from fer_edge.cli.new import new
from fer_edge.cli.predict_files import DrawnFiles, Source
from fer_edge.cli.sign import sign
from fer_edge.cli.video import _check_outputs
from fer_edge.engine_trial import try_variants
from fer_edge.fleet.clips import find_clips
from fer_edge.fleet.manifest import read_manifest
from fer_edge.fleet.run import score_drives
from fer_edge.fleet.scorer import new_scorer
from fer_edge.hub.model import kind_of
from fer_edge.monitor import DriverMonitor
from fer_edge.monitor.detector import YuNet
from fer_edge.monitor.fetch_detector import check_fetched
from fer_edge.monitor.recorder import EventLog, VideoRecorder
from fer_edge.monitor.settings import Settings
from fer_edge.monitor.sources import VideoFile, open_source
from fer_edge.paths import as_path, check_possible
from fer_edge.plain_file import is_file, read_plain
from fer_edge.release_matrix.models import load_models
from fer_edge.reseal import reseal
from fer_edge.shipped import checkpoint_path
from fer_edge.signing import load_keys, new_key_pair, sign_manifest
from fer_edge.training.config.recipe import load_recipe
from fer_edge.training.data.dataset_spec import DatasetSpec
from fer_edge.training.models.weights_file import read_weights
from fer_edge.video import rate_and_length

IMPOSSIBLE = ["a\0b", "half-\ud800"]


@pytest.mark.parametrize("name", [*IMPOSSIBLE, "a\0b/file"])
def test_an_impossible_path_is_an_error_of_the_system(name: str) -> None:
    with pytest.raises(OSError, match="no file can have this name"):
        check_possible(Path(name))
    assert not is_file(name)
    assert rate_and_length(name) == rate_and_length("a" * 300) == (30.0, None)


def test_a_name_of_any_bytes_is_possible(tmp_path: Path) -> None:
    for name in (b"caf\xe9", b"\xff", "é".encode(), b"a b\n"):
        check_possible(tmp_path / name.decode("utf-8", "surrogateescape"))


def called(command: click.Command, *values: object) -> None:
    assert command.callback is not None
    command.callback(*values)


IN_A_REMOVED_FOLDER: dict[str, Callable[[], object]] = {
    "video": lambda: VideoRecorder("a.mp4", 30),
    "log": lambda: EventLog("a.jsonl"),
    "monitor": lambda: DriverMonitor("a.fer", []),
    "images": lambda: DrawnFiles(Path("/drawn"), [Source("a.png")]),
    "picture": lambda: DrawnFiles(Path("a.png"), []).save(
        Analysis(np.zeros((64, 64, 3), np.uint8), ()), "-"
    ),
    "video and log": lambda: _check_outputs("0", Path("a.mp4"), Path("a.jsonl")),
    "cache": lambda: Predictor(cache_dir="cache"),
    "drives": lambda: score_drives([], "out"),
    "scorer": lambda: new_scorer(Path("a.fer")),
    "other scorer": lambda: new_scorer(None, against=Path("a.fer")),
    "detector of a scorer": lambda: new_scorer(None, detector=Path("a.onnx")),
    "detector": lambda: check_fetched(Path("a.onnx"), b""),
    "own pictures": lambda: called(new, Path(), None, "refuse"),
    "data": lambda: DatasetSpec("a").located(),
    "checkpoint": lambda: load_models(["a"], [], None, None, "1"),
    "trial": lambda: try_variants(Path("a.fer")),
    "function": lambda: load_against("mine:infer", 48),
    "signature": lambda: called(sign, Path("a.fer"), Path("key")),
}


@pytest.mark.skipif(os.name != "posix", reason="Windows does not remove a current folder")
@pytest.mark.parametrize("use", IN_A_REMOVED_FOLDER)
def test_a_removed_current_folder_is_named(
    use: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    with pytest.raises(InputError, match=r"^the current folder was removed\. cd to another one$"):
        IN_A_REMOVED_FOLDER[use]()


WRITERS: dict[str, Callable[[Path], object]] = {
    "file": lambda path: atomic.write_file(path, b""),
    "folder": lambda path: atomic.write_folder(path, lambda _: None),
    "place": atomic.check_place,
    "made place": atomic.make_place,
    "parts": lambda path: atomic.fill_file(path, lambda _: None),
    "replacing": lambda path: atomic.replacing(path).__enter__(),
    "read": lambda path: read_plain(path, 1),
}


@pytest.mark.parametrize("writer", WRITERS)
@pytest.mark.parametrize("name", [*IMPOSSIBLE, "a\0b/file"])
def test_readers_and_writers_refuse_it(writer: str, name: str, tmp_path: Path) -> None:
    with pytest.raises(OSError, match="no file can have this name"):
        WRITERS[writer](tmp_path / name)
    assert not list(tmp_path.iterdir())


USERS: dict[str, Callable[[str], object]] = {
    "public key": lambda name: load_keys([name]),
    "private key": lambda name: sign_manifest(b"{}", name),
    "new private key": lambda name: new_key_pair(Path(name), Path("no/public")),
    "new public key": lambda name: new_key_pair(Path("no/private"), Path(name)),
    "settings": lambda name: Settings.from_file(f"{name}.json"),
    "picture": lambda name: Analysis(np.zeros((64, 64, 3), np.uint8), ()).save(f"{name}/x.png"),
    "video": lambda name: VideoRecorder(f"{name}.mp4", 30),
    "log": EventLog,
    "video file": lambda name: VideoFile(name).open(),
    "bundle": write_fake_bundle,
    "pushed model": lambda name: kind_of(Path(name)),
}


@pytest.mark.parametrize("use", USERS)
@pytest.mark.parametrize("name", [*IMPOSSIBLE, "a" * 300])
def test_a_user_gets_a_sentence(
    use: str, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(FerEdgeError):
        USERS[use](name)
    assert not list(tmp_path.iterdir())


NAMED: dict[str, Callable[[Any], object]] = {
    "image": read_image,
    "bundle": open_bundle,
    "predictor": Predictor,
    "cache": lambda value: Predictor(cache_dir=value),
    "settings": Settings.from_file,
    "clip": lambda value: find_clips([value]),
    "root": lambda value: read_manifest("x.csv", root=value),
    "picture": Analysis(np.zeros((64, 64, 3), np.uint8), ()).save,
    "video": lambda value: VideoRecorder(value, 30),
    "log": EventLog,
    "video file": VideoFile,
    "detector": YuNet,
    "private key": lambda value: new_key_pair(value, Path("no/public")),
    "public key": lambda value: new_key_pair(Path("no/private"), value),
    "fake bundle": write_fake_bundle,
    "checkpoint": checkpoint_path,
    "sealed bundle": reseal,
    "recipe": load_recipe,
    "weights": read_weights,
}


@pytest.mark.parametrize("use", NAMED)
@pytest.mark.parametrize("value", [5, b"x", ["a"], np.zeros(2)], ids=repr)
def test_what_is_no_path_is_an_input_error(use: str, value: object) -> None:
    with pytest.raises(InputError, match="as a path, got"):
        NAMED[use](value)


MODELS = ("bundle", "predictor", "checkpoint")
UNNAMED: dict[str, Callable[[Any], object]] = {
    **{name: use for name, use in NAMED.items() if name not in MODELS},
    "video source": open_source,
    "trusted key": lambda value: load_keys([value]),
}


@pytest.mark.parametrize("use", UNNAMED)
def test_an_empty_name_is_not_the_current_folder(use: str) -> None:
    with pytest.raises(InputError, match=r"as a path, got an empty name\. Name a file or folder"):
        UNNAMED[use]("")


def test_what_names_a_path_is_one(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with os.scandir(tmp_path) as entries:
        assert as_path(next(entries), "x") == tmp_path / "file"
    assert as_path("a/b", "x") == as_path(Path("a/b"), "x") == Path("a/b")
