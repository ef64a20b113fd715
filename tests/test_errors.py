"""The drawn tree of exceptions agrees with the classes."""

from __future__ import annotations

import contextlib
import errno
import importlib
import os
import pickle  # noqa: TID251  (multiprocessing pickles errors)
import pkgutil
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import fer_edge
from fer_edge import errors
from fer_edge.bundle import MANIFEST, open_bundle
from fer_edge.errors import FerEdgeError, MissingDependencyError, refused_path
from fer_edge.fleet.clips import find_clips
from fer_edge.fleet.manifest import read_manifest
from fer_edge.monitor.recorder import EventLog
from fer_edge.monitor.sources import VideoFile
from fer_edge.preprocess import read_image
from fer_edge.shipped import checkpoint_path
from fer_edge.signing import load_keys
from fer_edge.training.checkpoint import load_checkpoint
from fer_edge.training.config.recipe import load_recipe
from fer_edge.training.data.faces import load_faces


def descendants(parent: type[FerEdgeError], depth: int = 0) -> dict[str, tuple[int, int, bool]]:
    """Depth in the tree, exit code, and whether it is a ValueError, by name."""
    rows = {parent.__name__: (depth, parent.exit_code, issubclass(parent, ValueError))}
    for child in parent.__subclasses__():
        if child.__module__ == errors.__name__:
            rows |= descendants(child, depth + 1)
    return rows


def test_the_drawn_tree_shows_each_class_with_its_exit_code() -> None:
    lines = re.findall(
        r"^    ([│├└─ ]*)(\w+)( \(ValueError\))? +(\d)", errors.__doc__, re.MULTILINE
    )
    drawn = {name: (len(lead) // 4, int(code), bool(mark)) for lead, name, mark, code in lines}
    assert drawn == descendants(FerEdgeError)


def test_every_error_is_public() -> None:
    assert set(descendants(FerEdgeError)) <= set(fer_edge.__all__)


def every_class(parent: type[FerEdgeError]) -> Iterator[type[FerEdgeError]]:
    yield parent
    for child in parent.__subclasses__():
        yield from every_class(child)


def test_every_error_of_every_module_can_be_pickled() -> None:
    """An error of a worker that cannot be read hangs ``multiprocessing.Pool`` for ever."""
    for module in pkgutil.walk_packages(fer_edge.__path__, "fer_edge."):
        if not module.name.endswith("__main__"):
            with contextlib.suppress(ImportError):  # a library that is not installed
                importlib.import_module(module.name)
    arguments: dict[str, tuple[Any, ...]] = {
        "MissingDependencyError": ("rich", "bench"),
        "RefusedError": (503, "try again"),
    }
    kinds = [kind for kind in every_class(FerEdgeError) if kind.__module__.startswith("fer_edge")]
    assert arguments.keys() < {kind.__name__ for kind in kinds}
    for kind in kinds:
        error = kind(*arguments.get(kind.__name__, ("a sentence",)))
        again = pickle.loads(pickle.dumps(error))
        assert (type(again), str(again), vars(again)) == (kind, str(error), vars(error))


@pytest.mark.skipif(sys.platform != "linux", reason="names of other systems are Unicode")
def test_an_error_about_a_name_that_is_not_utf8_can_be_printed(tmp_path: Path) -> None:
    name = os.fsdecode(os.fsencode(tmp_path) + b"/bad\xfc.jpg")
    Path(name).write_bytes(b"no picture")
    for use in (read_image, fer_edge.Predictor):
        with pytest.raises(FerEdgeError, match=r"bad\\udcfc\.jpg") as refused:
            use(name)
        str(refused.value).encode()


def test_a_missing_library_ends_with_the_command_that_installs_it() -> None:
    assert str(MissingDependencyError("rich", "bench")) == (
        "rich is required and is not installed. Run: pip install 'fer-edge[bench]'"
    )


def test_what_the_system_says_is_followed_by_the_next_step() -> None:
    """``cannot write x: Permission denied`` alone does not help."""
    root = Path(fer_edge.__file__).parent
    rooms = (root, *(root / name for name in ("training", "converters", "benchmarks")))
    bare = [
        f"{path.relative_to(root)}: {line.strip()}"
        for room in rooms
        for path in room.rglob("*.py")
        for line in path.read_text("utf-8").splitlines()
        if re.search(r"raise \w+\(.*\.strerror\}\"\)", line)
    ]
    assert bare == []


def test_too_many_open_files_are_not_the_fault_of_a_path(
    fake_bundle: Path, tmp_path: Path, ends_in_a_fork: Callable[[Callable[[], object]], bool]
) -> None:
    resource = pytest.importorskip("resource")
    bundle = open_bundle(fake_bundle)
    (tmp_path / "list.csv").write_text("path,label\na.png,fear\n")
    (tmp_path / "video.mp4").write_bytes(b"no video")
    load_checkpoint(checkpoint_path("fast"))  # imports what it needs

    def work() -> None:
        most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        resource.setrlimit(resource.RLIMIT_NOFILE, (0, most))
        for read in (
            lambda: read_image(fake_bundle / MANIFEST),
            lambda: open_bundle(fake_bundle),
            lambda: bundle.read(bundle.variants[0]),
            lambda: load_keys([fake_bundle / MANIFEST]),
            lambda: load_recipe("edge-fast"),
            lambda: load_checkpoint(checkpoint_path("fast")),
            lambda: load_faces(tmp_path / "list.csv"),
            lambda: load_faces(tmp_path),
            lambda: read_manifest(tmp_path / "list.csv"),
            lambda: find_clips([tmp_path]),
            lambda: EventLog(tmp_path / "events.jsonl"),
            lambda: VideoFile(tmp_path / "video.mp4").open(),
        ):
            with pytest.raises(
                FerEdgeError, match=r"Too many open files(: '.*')?\. Close .* ulimit -n"
            ):
                read()

    assert ends_in_a_fork(work)


def test_a_path_is_to_blame_for_some_errors_of_the_system_only() -> None:
    refused = refused_path(OSError(errno.ENAMETOOLONG, "File name too long", "a" * 300))
    assert refused is not None
    assert str(refused).endswith("…': File name too long. Check the path and its permissions")
    assert len(str(refused)) < 200
    for number in (errno.EMFILE, errno.EIO, errno.ENOSPC, errno.EPIPE):
        assert refused_path(OSError(number, "no", "a.png")) is None
    assert refused_path(OSError(errno.EACCES, "no")) is None
