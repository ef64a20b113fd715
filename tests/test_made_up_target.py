"""A new target is two files: a made-up one is found everywhere without another edit."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

BACKEND = """
from fer_edge.backends.base import TargetFacts
from fer_edge.backends.onnxruntime import OnnxRuntimeSession

FACTS = TargetFacts(
    chips="abaci of polished walnut",
    precisions=("fp32", "int3"),
    extra="abacus",
    libraries=("abacus-runtime",),
    modules=("abacus_runtime",),
)


def preflight(variant, options):
    return None


def load(variant, files, options):
    return OnnxRuntimeSession(files[variant.entry], options)
"""
CONVERTER = """
from importlib.metadata import version

from fer_edge.backends.abacus import FACTS
from fer_edge.converters.base import Artifact

PRECISIONS = FACTS.precisions


def recipes(source, precision):
    return ()


def build(source, precision, recipe):
    entry = f"abacus-{precision}/model.onnx"
    return Artifact(entry, {entry: source.graph}, {"abacus": version("onnx")})
"""
PLUGIN = """
import pathlib

import fer_edge.backends
import fer_edge.converters

here = pathlib.Path(__file__).parent
fer_edge.backends.__path__.append(str(here / "backends"))
fer_edge.converters.__path__.append(str(here / "converters"))
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The two files of the target, and a module that puts their folders on the packages' paths."""
    folder = tmp_path_factory.mktemp("made_up")
    for room, text in (("backends", BACKEND), ("converters", CONVERTER)):
        (folder / room).mkdir()
        (folder / room / "abacus.py").write_text(text)
    (folder / "made_up.py").write_text(PLUGIN)
    return folder


def python(folder: Path, *arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, *arguments],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(folder), "COLUMNS": "200"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    return done.stdout


def command(folder: Path, *arguments: str) -> str:
    return python(folder, "-c", "import made_up; from fer_edge.cli import main; main()", *arguments)


def test_the_help_of_convert_offers_it(folder: Path) -> None:
    text = command(folder, "convert", "--help")
    assert "abacus, coreml" in text
    assert "int3" in text


def test_doctor_says_how_to_install_it(folder: Path) -> None:
    text = command(folder, "doctor")
    assert "abaci of polished walnut. Run: pip install 'fer-edge[abacus]'" in text


def test_a_missing_module_of_it_is_named_with_its_extra(folder: Path) -> None:
    code = "import made_up; from fer_edge.cli import _extra_of_engine as e; print(e(sys.argv[1]))"
    assert python(folder, "-c", f"import sys; {code}", "abacus_runtime").strip() == "abacus"


def test_version_records_hold_its_library(folder: Path) -> None:
    code = "import made_up; from fer_edge.backends.base import engine_libraries as e; print(*e())"
    assert "abacus-runtime" in python(folder, "-c", code).split()


def test_the_matrix_has_its_cells(folder: Path) -> None:
    code = "import made_up; from fer_edge.converters.pipeline.matrix import cells; print(cells())"
    text = python(folder, "-c", code)
    assert "('abacus', 'fp32')" in text
    assert "('abacus', 'int3')" in text


@pytest.mark.slow
def test_the_contract_suite_runs_on_it(folder: Path) -> None:
    options = "-m pytest -p made_up -p no:cacheprovider -q -rA -k abacus/fp32"
    text = python(folder, *options.split(), "tests/converters/test_contract.py")
    assert text.count("PASSED") >= 9
    assert "test_it_agrees_with_torch[abacus/fp32]" in text
