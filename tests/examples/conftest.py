"""The examples as modules, and a clip that stands for a camera."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import cv2
import numpy as np
import pytest

from fer_edge import read_image
from fer_edge.shipped import FACES

EXAMPLES = Path(__file__).parents[2] / "examples"
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
