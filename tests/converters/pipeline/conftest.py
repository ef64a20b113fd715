"""A bundle that the tests of conversions share."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from fer_edge.converters.pipeline.convert import convert

ALLOWED = 0.1
"""Of the tiny network's accuracy, so that its int8 form is sure to pass."""


@pytest.fixture(scope="session")
def made(checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[str]]:
    """A bundle with onnxruntime/fp32 and int8, judged on composites, and what was said of it."""
    said: list[str] = []
    out = tmp_path_factory.mktemp("made") / "driver.fer"
    convert(checkpoint, ["onnxruntime"], out, ["fp32", "int8"], allow_drop=ALLOWED, say=said.append)
    return out, said


@pytest.fixture
def bundle(made: tuple[Path, list[str]], tmp_path: Path) -> Path:
    """A copy of it, to be harmed."""
    return Path(shutil.copytree(made[0], tmp_path / "driver.fer"))
