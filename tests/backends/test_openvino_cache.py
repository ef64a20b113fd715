"""Graphs that OpenVINO compiled are run again only as they were written."""

from __future__ import annotations

import functools
import hashlib
import logging
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from fer_edge import DEFAULT_BUNDLE, Predictor, open_bundle
from fer_edge.backends import openvino_cache
from fer_edge.backends.base import Options, Outputs
from fer_edge.lock import locked

openvino = pytest.importorskip("openvino")
from fer_edge.backends.openvino import load  # noqa: E402 - it needs the engine

BUNDLE = open_bundle(DEFAULT_BUNDLE)
SIZE = BUNDLE.crop.size_px
FACES = np.random.default_rng(3).integers(0, 256, (2, SIZE, SIZE, 3), np.uint8)


def answers(cache: Path | None) -> list[Outputs]:
    """Answers of both graphs: for one face, and for another number of them."""
    variant = BUNDLE.variant("openvino", "fp32")
    session = load(variant, BUNDLE.read(variant), Options(cache_dir=cache))
    try:
        return [session.run(FACES[:1]), session.run(FACES)]
    finally:
        session.close()


@functools.cache
def expected_answers() -> list[Outputs]:
    """Answers without a cache."""
    return answers(None)


def check(cache: Path) -> None:
    """The answers are those without a cache."""
    for found, expected in zip(answers(cache), expected_answers(), strict=True):
        for one, other in zip(found, expected, strict=True):
            np.testing.assert_allclose(one, other, atol=2e-4)


def write(path: Path, data: bytes) -> None:
    path.chmod(0o600)
    path.write_bytes(data)


def flipped(data: bytes) -> bytes:
    """One bit of each 4 KiB in the middle of the file is another one."""
    changed = bytearray(data)
    for at in range(len(data) // 4, len(data) * 3 // 4, 4096):
        changed[at] ^= 0x40
    return bytes(changed)


DAMAGES: dict[str, Callable[[bytes], bytes]] = {
    "flipped bits": flipped,
    "half": lambda data: data[: len(data) // 2],
    "empty": lambda data: b"",
    "zeros": lambda data: bytes(len(data)),
}


@pytest.fixture
def filled(tmp_path: Path) -> tuple[Path, list[Path]]:
    """A cache with both graphs."""
    answers(tmp_path / "cache")
    graphs = sorted((tmp_path / "cache").rglob("*.blob"))
    assert len(graphs) == 2
    return tmp_path / "cache", graphs


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_graph_is_made_again(
    filled: tuple[Path, list[Path]], damage: str, caplog: pytest.LogCaptureFixture
) -> None:
    cache, graphs = filled
    for graph in graphs:
        write(graph, DAMAGES[damage](graph.read_bytes()))
    check(cache)
    assert caplog.text.count("is damaged or incomplete") == 2
    caplog.clear()
    check(cache)
    assert not caplog.text
    for graph in graphs:
        recorded = graph.with_name(f"{graph.name}.sha256").read_text()
        assert recorded == hashlib.sha256(graph.read_bytes()).hexdigest()


@pytest.mark.parametrize("record", [None, b"", b"\xff" * 64, b"0" * 64, b"0" * 10**6])
def test_a_graph_without_its_hash_is_made_again(
    filled: tuple[Path, list[Path]], record: bytes | None
) -> None:
    """A process was killed before it wrote one, or somebody else put the graph there."""
    cache, graphs = filled
    for graph in graphs:
        write(graph, flipped(graph.read_bytes()))
        beside = graph.with_name(f"{graph.name}.sha256")
        beside.unlink() if record is None else write(beside, record)
    check(cache)


def test_a_whole_graph_is_read_again(filled: tuple[Path, list[Path]]) -> None:
    cache, graphs = filled
    before = [graph.stat().st_mtime_ns for graph in graphs]
    check(cache)
    assert [graph.stat().st_mtime_ns for graph in graphs] == before


NO_PIPES = pytest.mark.skipif(os.name != "posix", reason="Windows has no pipes in folders")


@pytest.mark.parametrize("kind", ["folder", pytest.param("pipe", marks=NO_PIPES)])
def test_what_is_no_graph_is_waited_for_by_nobody(
    filled: tuple[Path, list[Path]], kind: str
) -> None:
    cache, graphs = filled
    for graph in graphs:
        graph.unlink()
        graph.mkdir() if kind == "folder" else os.mkfifo(graph)
    check(cache)


def test_a_busy_cache_is_left_to_the_other_process(
    filled: tuple[Path, list[Path]],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    cache, (graph, _) = filled
    monkeypatch.setattr(openvino_cache, "_WAIT_S", 0.1)
    with locked(graph.parent / "graphs"):
        check(cache)
    assert "compiles without the cache" in caplog.text
    assert "another process or Predictor uses it" in caplog.text


def test_an_answer_does_not_wait_for_a_busy_cache(
    filled: tuple[Path, list[Path]], monkeypatch: pytest.MonkeyPatch
) -> None:
    cache, (graph, _) = filled
    variant = BUNDLE.variant("openvino", "fp32")
    session = load(variant, BUNDLE.read(variant), Options(cache_dir=cache))
    monkeypatch.setattr(openvino_cache, "_WAIT_S", float("inf"))  # a wait would never end
    with locked(graph.parent / "graphs"):
        probabilities, _ = session.run(FACES)
    session.close()
    np.testing.assert_allclose(probabilities, expected_answers()[1][0], atol=2e-4)


@pytest.mark.skipif(os.name != "posix", reason="modes are those of POSIX")
def test_a_cache_is_private_under_any_umask(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        check(tmp_path / "cache")
    finally:
        os.umask(before)
    folders = [tmp_path / "cache", *(tmp_path / "cache").iterdir()]
    assert [folder.stat().st_mode & 0o777 for folder in folders] == [0o700, 0o700]


@pytest.mark.skipif(not Path("/proc/self").is_dir(), reason="needs a folder that nobody can write")
def test_a_cache_that_cannot_be_written_is_left_out(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING, "fer_edge")
    with Predictor(target="openvino", cache_dir="/proc/self") as predictor:
        assert predictor.variant.target == "openvino"
    assert "compiles without the cache" in caplog.text


BESIDE = (
    "import sys; from fer_edge import Predictor; Predictor(cache_dir=sys.argv[1]).warm_up((1, 2))"
)


def test_processes_share_a_cache(tmp_path: Path) -> None:
    """Each starts on an empty cache, and the graphs of the last of them are whole."""
    running = [
        subprocess.Popen([sys.executable, "-c", BESIDE, str(tmp_path)], stderr=subprocess.PIPE)
        for _ in range(3)
    ]
    for process in running:
        assert process.communicate()[1] == b""
        assert process.returncode == 0
    graphs = list(tmp_path.rglob("*.blob"))
    assert len(graphs) == 2
    for graph in graphs:
        recorded = graph.with_name(f"{graph.name}.sha256").read_text()
        assert recorded == hashlib.sha256(graph.read_bytes()).hexdigest()
