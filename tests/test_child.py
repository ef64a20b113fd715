"""Child interpreters run nothing from the current folder."""

from __future__ import annotations

import ast
import os
import signal
import subprocess
import sys
import time
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


def outlives(code: str) -> bool:
    """Kill a parent that runs this code and prints its child's number: True if the child stays."""
    parent = subprocess.Popen(python_command("-c", code), stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    pid = int(parent.stdout.readline())
    parent.kill()
    parent.wait()
    for _ in range(100):
        try:
            state = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
        except FileNotFoundError:
            return False
        if state == "Z":  # ended, and not yet waited for
            return False
        time.sleep(0.05)
    os.kill(pid, signal.SIGKILL)
    return True


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux ends stopped orphans")
def test_a_child_ends_with_its_parent_even_if_it_is_stopped() -> None:
    child = "from fer_edge.child import end_with_parent; end_with_parent(); print(1, flush=True); "
    child += "import time; time.sleep(600)"
    code = f"""
import os, signal, subprocess, time
from fer_edge.child import python_command
child = subprocess.Popen(python_command("-c", {child!r}), stdout=subprocess.PIPE)
child.stdout.readline()
os.kill(child.pid, signal.SIGSTOP)
print(child.pid, flush=True)
time.sleep(600)
"""
    assert not outlives(code)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux ends other programs")
def test_another_program_ends_with_its_parent() -> None:
    code = """
import subprocess, time
from fer_edge.child import ending_command
command = ending_command(["/bin/sh", "-c", "echo $$; exec sleep 600"])
child = subprocess.Popen(command, stdout=subprocess.PIPE)
assert int(child.stdout.readline()) == child.pid  # it takes the number of the first program
print(child.pid, flush=True)
time.sleep(600)
"""
    assert not outlives(code)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux ends stopped orphans")
def test_a_child_whose_parent_ended_before_it_asked_ends_at_once() -> None:
    child = """
import os, sys, time
from fer_edge.child import end_with_parent
while str(os.getppid()) == sys.argv[1]:
    time.sleep(0.01)
end_with_parent()
print("alive")
"""
    code = f"""
import os, subprocess
from fer_edge.child import python_command
subprocess.Popen(python_command("-c", {child!r}, str(os.getpid())))
os._exit(0)  # with the child's pipe, which the test reads to its end
"""
    done = subprocess.run(
        python_command("-c", code), env=clean(), capture_output=True, text=True, timeout=120
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


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
