"""Promises of the package to the application that imports it."""

from __future__ import annotations

import inspect
import os
import subprocess
import sys
from pathlib import Path

import pytest

import fer_edge
from fer_edge.backends.base import backend, offered, targets
from fer_edge.errors import FerEdgeError

HEAVY = {
    *(module for facts in offered().values() for module in facts.modules),
    "accelerate",
    "matplotlib",
    "nncf",
    "onnx",
    "pandas",
    "psutil",
    "pyarrow",
    "requests",
    "rich",
    "safetensors",
    "scipy",
    "timm",
    "torch",
    "torchvision",
    "yaml",
}


def python(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a clean Python that writes no byte code."""
    return subprocess.run(
        [sys.executable, "-B", *arguments],
        capture_output=True,
        text=True,
        check=False,
        env={key: value for key, value in os.environ.items() if not key.startswith("PYTHON")},
    )


def imported(code: str) -> set[str]:
    """Top-level names of all modules that Python reports as imported."""
    done = python("-X", "importtime", "-c", code)
    assert done.returncode == 0, done.stderr
    lines = [line for line in done.stderr.splitlines() if line.startswith("import time:")]
    return {line.rsplit("|", 1)[-1].strip().split(".")[0] for line in lines}


@pytest.mark.parametrize(
    "code",
    [
        "import fer_edge",
        "from fer_edge.backends.base import backend, targets; [backend(t) for t in targets()]",
    ],
    ids=["package", "backends"],
)
def test_importing_loads_no_engine_and_nothing_of_the_workstation(code: str) -> None:
    modules = imported(code)
    assert {"fer_edge", "numpy", "cv2"} <= modules
    assert modules & HEAVY == set()


@pytest.mark.parametrize("arguments", [["--help"], ["convert", "--help"], ["doctor", "--help"]])
def test_help_texts_load_no_engine_and_nothing_of_the_workstation(arguments: list[str]) -> None:
    assert imported(f"from fer_edge.cli import main; main({arguments})") & HEAVY == set()


def test_the_import_check_would_see_an_engine() -> None:
    assert "onnxruntime" in imported("import fer_edge, onnxruntime")


def test_the_public_names_are_these() -> None:
    assert sorted(fer_edge.__all__) == [
        "Analysis",
        "Bundle",
        "BundleError",
        "CheckpointError",
        "ConversionError",
        "DEFAULT_BUNDLE",
        "DataError",
        "EMOTIONS",
        "EngineError",
        "FaceAnalysis",
        "FerEdgeError",
        "InputError",
        "LabelError",
        "LimitError",
        "MissingDependencyError",
        "MissingPartError",
        "ParityError",
        "Prediction",
        "Predictor",
        "RecipeError",
        "SourceError",
        "TargetError",
        "Times",
        "TrainingError",
        "Variant",
        "VariantChoice",
        "analyze",
        "open_bundle",
        "read_image",
    ]


@pytest.mark.parametrize("name", fer_edge.__all__)
def test_each_public_name_is_there_and_documented(name: str) -> None:
    assert (getattr(fer_edge, name).__doc__ or "").strip()


def test_each_public_error_is_a_fer_edge_error_with_an_exit_code() -> None:
    errors = [getattr(fer_edge, name) for name in fer_edge.__all__ if name.endswith("Error")]
    assert len(errors) > 10
    for error in errors:
        assert issubclass(error, FerEdgeError)
        assert 1 <= error.exit_code < 64


def test_the_targets_are_the_files_of_the_backends_folder() -> None:
    files = {path.stem for path in Path(fer_edge.__file__).parent.glob("backends/*.py")}
    assert set(targets()) == {name for name in files if "_" not in name} - {"base"}
    assert {"fake", "onnxruntime", "openvino"} <= set(targets())


@pytest.mark.parametrize("target", targets())
def test_each_backend_has_preflight_and_load(target: str) -> None:
    module = backend(target)
    assert list(inspect.signature(module.preflight).parameters) == ["variant", "options"]
    assert list(inspect.signature(module.load).parameters) == ["variant", "files", "options"]


# Python tells an audit hook about files, sockets and processes. What a C++ library does by itself
# is not seen here.
AUDITED = """
import os, sys
import numpy as np
from fer_edge import Predictor
from fer_edge.preprocess import read_image

WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_TRUNC
CHANGES = ("socket.", "os.mkdir", "os.remove", "os.rename", "os.rmdir", "os.link", "os.symlink",
           "os.truncate", "os.system", "os.exec", "os.posix_spawn", "os.fork", "subprocess.",
           "tempfile.", "shutil.", "urllib.", "http.", "ftplib.", "smtplib.")
seen = []

def hook(event, args):
    if event.startswith(CHANGES) or (event == "open" and args[2] & WRITES):
        seen.append(event)

sys.addaudithook(hook)
path = sys.argv[1]
{action}
print(*sorted(set(seen)))
"""
RUN = """
image = np.random.default_rng(0).integers(0, 256, (60, 80, 3), np.uint8)
with Predictor(path, threads=1) as predictor:
    predictor.warm_up((1, 2))
    assert predictor(image).label == "neutral"
    assert len(predictor.predict_batch([image] * 3)) == 3
    assert len(predictor.predict_faces(image, [(0, 0, 20, 20)])) == 1
    predictor.explain()
    try:
        predictor("missing.png")
    except ValueError:
        pass
"""
MISBEHAVE = """
import socket
open(path + "/note.txt", "w").close()
socket.socket().close()
"""


def audited(action: str, bundle: Path) -> list[str]:
    done = python("-c", AUDITED.replace("{action}", action), str(bundle))
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


def test_predicting_opens_no_socket_and_writes_no_file(fake_bundle: Path) -> None:
    assert audited(RUN, fake_bundle) == []


def test_the_audit_would_see_a_socket_and_a_written_file(fake_bundle: Path) -> None:
    assert {"open", "socket.__new__"} <= set(audited(MISBEHAVE, fake_bundle))
