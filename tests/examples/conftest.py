"""The examples as modules, the compiled C++ example, and a clip that stands for a camera."""

from __future__ import annotations

import importlib.util
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import cv2
import numpy as np
import pytest

from fer_edge import read_image
from fer_edge.shipped import FACES

sys.path.insert(0, str(Path(__file__).parent))

EXAMPLES = Path(__file__).parents[2] / "examples"
CPP = EXAMPLES / "cpp"
HZ = 10


@pytest.fixture(scope="session")
def example() -> Callable[[str], ModuleType]:
    """Imports an example by its name, without running its ``main``."""

    def load(name: str) -> ModuleType:
        spec = importlib.util.spec_from_file_location(f"example_{name}", EXAMPLES / f"{name}.py")
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules[spec.name] = module
        spec.loader.exec_module(module)
        return module

    return load


def write_clip(path: Path, seconds: float) -> Path:
    """Write a clip of a happy composite face under the noise of a sensor."""
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"MJPG"), HZ, (320, 240))
    face = cv2.resize(read_image(FACES / "happiness.png"), (150, 150))
    rng = np.random.default_rng(5)
    for _ in range(round(seconds * HZ)):
        frame = np.full((240, 320, 3), 70, np.int16)
        frame[40:190, 80:230] = face
        writer.write(np.clip(frame + rng.integers(-6, 7, frame.shape), 0, 255).astype(np.uint8))
    writer.release()
    return path


@pytest.fixture(scope="session")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three seconds: enough for an event."""
    return write_clip(tmp_path_factory.mktemp("clip") / "drive.avi", 3)


@pytest.fixture(scope="session")
def short_clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six frames."""
    return write_clip(tmp_path_factory.mktemp("clip") / "short.avi", 0.6)


def build_cpp(folder: Path) -> Path:
    """Compile the example with CMake, or without it as its README says."""
    from openvino.utils import get_cmake_path

    program = folder / "fer_predict"
    if cmake := shutil.which("cmake"):
        config = [f"-DOpenVINO_DIR={get_cmake_path()}", "-DCMAKE_BUILD_TYPE=Release"]
        commands = [
            [cmake, "-S", str(CPP), "-B", str(folder), *config],
            [cmake, "--build", str(folder)],
        ]
    else:
        root = Path(get_cmake_path()).parent
        library = next((root / "libs").glob("libopenvino.so*"))
        flags = ["-std=c++17", "-O2", "-ffp-contract=off", f"-I{root / 'include'}"]
        link = [str(library), f"-Wl,-rpath,{root / 'libs'}", "-o", str(program)]
        commands = [["g++", *flags, str(CPP / "main.cpp"), *link]]
    for command in commands:
        done = subprocess.run(command, capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, done.stdout + done.stderr
        assert "warning:" not in done.stdout + done.stderr
    return program


@pytest.fixture(scope="session")
def run(
    tmp_path_factory: pytest.TempPathFactory,
) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Runs the compiled example with words."""
    if shutil.which("g++") is None and shutil.which("c++") is None:
        pytest.skip("no C++ compiler")
    program = build_cpp(tmp_path_factory.mktemp("cpp"))

    def call(*words: object) -> subprocess.CompletedProcess[str]:
        command = [str(program), *map(str, words)]
        return subprocess.run(command, capture_output=True, text=True, timeout=120)

    return call
