"""Every example runs, on the inputs that it takes by default."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[2] / "examples"
PRINTED = {
    "predict_face.py": "happiness, confidence",
    "batch_of_faces.py": "7 faces in",
    "monitor_clip.py": "happiness begins",
    "embeddings_search.py": "surprise -> surprise",
    "serve_and_ask.py": "happiness",
    "test_without_hardware.py": "4 passed",
}
"""Part of what each example prints."""


def test_each_example_is_listed() -> None:
    assert {path.name for path in EXAMPLES.glob("*.py")} == set(PRINTED)


@pytest.mark.parametrize("name", PRINTED)
def test_example_runs(name: str, tmp_path: Path) -> None:
    pytest_first = ["-m", "pytest", "-q", "-n", "0", "-p", "no:cacheprovider"]
    command = [*(pytest_first if name.startswith("test_") else []), str(EXAMPLES / name)]
    done = subprocess.run(
        [sys.executable, *command], cwd=tmp_path, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    assert PRINTED[name] in done.stdout


def test_monitor_clip_saves_a_frame(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, str(EXAMPLES / "monitor_clip.py"), "--save", "frame.png"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "frame.png").stat().st_size > 10_000
