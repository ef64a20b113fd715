"""Child interpreters run nothing from the current folder."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest

from fer_edge.child import python_command

ROOT = Path(__file__).parents[1]
TRAPS = ("cv2", "numpy", "fer_edge", "json", "onnxruntime", "psutil", "torch")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder whose modules leave a mark if they are imported."""
    for name in TRAPS:
        (tmp_path / f"{name}.py").write_text("open('PWNED', 'w')\nraise ImportError('trap')\n")
    return tmp_path


def clean() -> dict[str, str]:
    return {key: value for key, value in os.environ.items() if not key.startswith("PYTHON")}


def test_the_current_folder_is_not_searched(folder: Path) -> None:
    code = "import fer_edge, json; print(fer_edge.__file__)"
    done = subprocess.run(
        python_command("-c", code), cwd=folder, env=clean(), capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert not (folder / "PWNED").exists()


def test_the_trap_would_be_sprung_without_it(folder: Path) -> None:
    subprocess.run([sys.executable, "-c", "import fer_edge"], cwd=folder, env=clean(), check=False)
    assert (folder / "PWNED").exists()


@pytest.mark.slow
@pytest.mark.parametrize(
    "command",
    [
        ["bench", "--scenario", "coldstart", "--budget-s", "1", "--json"],
        ["bench", "--scenario", "memory", "--budget-s", "2", "--json"],
        ["bench", "--scenario", "contended", "--budget-s", "2", "--json"],
    ],
    ids=lambda command: command[2],
)
def test_commands_run_nothing_from_the_current_folder(folder: Path, command: list[str]) -> None:
    fer_edge = Path(sys.executable).with_name("fer-edge")
    done = subprocess.run(
        [fer_edge, *command], cwd=folder, env=clean(), capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert not (folder / "PWNED").exists()


def test_no_other_child_is_started_without_it() -> None:
    """sys.executable stands in a command line in child.py alone."""
    places = []
    for room in ("fer_edge", "converters", "training", "benchmarks"):
        for path in sorted((ROOT / room).rglob("*.py")):
            for node in ast.walk(ast.parse(path.read_text("utf-8"))):
                if isinstance(node, ast.List | ast.Tuple) and any(
                    ast.unparse(item) == "sys.executable" for item in node.elts
                ):
                    places.append(str(path.relative_to(ROOT)))
    assert places == ["fer_edge/child.py"]
