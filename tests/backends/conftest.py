"""Fixtures for TensorRT: real engines, and bundles of them."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from fer_edge.backends import tensorrt_compile as compiler
from fer_edge.backends import tensorrt_cuda as cuda
from fer_edge.backends.tensorrt_cuda import Gpu
from fer_edge.bundle import Bundle, Variant, listed, write_bundle
from fer_edge.labels import EMOTIONS
from fer_edge.preprocess import CropRule

sys.path.insert(0, str(Path(__file__).parent))  # importlib mode does not add this folder


@pytest.fixture(scope="session")
def trt() -> Any:
    library = compiler.library()
    if library is None:
        pytest.skip("TensorRT is not installed. Run: pip install 'fer-edge[tensorrt]'")
    return library


@pytest.fixture(scope="session")
def engine(trt: Any) -> bytes:
    """An engine for the compute capability of an A10."""
    if compiler.known_gpus(trt) is None:
        pytest.skip("the full tensorrt compiles only for the GPU in this machine")
    from tensorrt_variant import ONNX, PROFILE

    return compiler.compile_engine(trt, ONNX, PROFILE, "sm_86").engine


@pytest.fixture
def bundle(
    trt: Any, engine: bytes, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Callable[..., Path]:
    """Write a bundle: TensorRT first, then ONNX Runtime. The default cache is in ``tmp_path``."""
    from tensorrt_variant import ONNX

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "home-cache"))

    def write(engine: bytes = engine, **needs: Any) -> Path:
        files = {"tensorrt-fp32/model.onnx": ONNX, "tensorrt-fp32/sm86.engine": engine}
        known = {
            "library": trt.__name__,
            "version": trt.__version__,
            "engines": {"sm_86": {"path": "tensorrt-fp32/sm86.engine", **compiler.system()}},
            "profile": {"min": 1, "opt": 1, "max": 8},
        }
        listing = tuple(listed(path, data) for path, data in files.items())
        variants = (
            Variant("tensorrt", "fp32", listing[0].path, listing, needs={**known, **needs}),
            Variant("onnxruntime", "fp32", listing[0].path, listing[:1]),
        )
        path = tmp_path / "driver.fer"
        write_bundle(Bundle(path, EMOTIONS, CropRule(48), 1.0, 0.0, 4, {}, variants), files)
        return path

    return write


@pytest.fixture
def has(monkeypatch: pytest.MonkeyPatch) -> Callable[[Gpu], None]:
    """Let the probe report a GPU that this machine may lack."""

    def put(gpu: Gpu) -> None:
        monkeypatch.setattr(cuda, "gpu", lambda index=0: gpu)

    return put
