"""Variants of TensorRT that fit this machine or not, and answers on a GPU where there is one.

Engines are compiled for real. The probe (``tensorrt_cuda.gpu``) reports GPUs that are not here.
"""

from __future__ import annotations

import importlib
import json
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tensorrt_variant import A10, fallback

from fer_edge import Predictor, open_bundle
from fer_edge.backends import tensorrt as backend
from fer_edge.backends import tensorrt_compile as compiler
from fer_edge.backends import tensorrt_cuda as cuda
from fer_edge.backends.base import Options
from fer_edge.backends.tensorrt_compile import Profile
from fer_edge.backends.tensorrt_cuda import Gpu
from fer_edge.errors import EngineError, TargetError
from fer_edge.preprocess import Image


def test_without_a_gpu(bundle: Callable[..., Path], face: Image) -> None:
    try:
        cuda.gpu()
    except TargetError:
        pass
    else:
        pytest.skip("there is a GPU here")
    assert "no NVIDIA GPU that can be used here" in fallback(bundle(), face)


def test_without_the_library(
    bundle: Callable[..., Path], face: Image, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(compiler, "library", lambda: None)
    assert "pip install 'fer-edge[tensorrt]'" in fallback(bundle(), face)


def test_without_cuda_python(
    bundle: Callable[..., Path], face: Image, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "cuda.bindings", None)
    reason = fallback(bundle(), face)
    assert "cuda-python" in reason
    assert "pip install 'fer-edge[tensorrt]'" in reason


def test_an_engine_for_another_gpu(
    bundle: Callable[..., Path], face: Image, has: Callable[[Gpu], None]
) -> None:
    has(Gpu(0, "NVIDIA RTX 5090", "sm_120", "13.0-580.1"))
    reason = fallback(bundle(), face)
    assert "engines for sm_86 and this GPU (NVIDIA RTX 5090) is sm_120" in reason
    assert "fer-edge build" in reason


def test_an_engine_of_an_older_release(
    bundle: Callable[..., Path], face: Image, has: Callable[[Gpu], None]
) -> None:
    has(A10)
    reason = fallback(bundle(version="1.6.0.1"), face)
    assert "compiled by tensorrt_rtx 1.6.0.1, here is tensorrt_rtx 1." in reason
    assert "do not carry over" in reason


def test_an_engine_for_another_system(
    bundle: Callable[..., Path], face: Image, has: Callable[[Gpu], None]
) -> None:
    has(A10)
    other = {"path": "tensorrt-fp32/sm86.engine", "os": "windows", "arch": "amd64"}
    assert "windows on amd64" in fallback(bundle(engines={"sm_86": other}), face)


@pytest.mark.parametrize("keep", [0.5, 0.999, 0.0001])
def test_a_truncated_engine(
    bundle: Callable[..., Path],
    engine: bytes,
    face: Image,
    has: Callable[[Gpu], None],
    monkeypatch: pytest.MonkeyPatch,
    keep: float,
) -> None:
    """With the right hash: it was truncated before the bundle was written."""
    has(A10)
    try:
        cuda._checked(cuda._cuda().cudaFree(0))
    except EngineError:  # with no driver the look at the header ends there, so go on to the engine
        monkeypatch.setattr(compiler, "why_invalid", lambda *_: None)
    path = bundle(engine[: int(len(engine) * keep)])
    reason = fallback(path, face)
    assert "the engine refused it: tensorrt_rtx cannot load this engine: " in reason
    assert "Convert the checkpoint again" in reason


def test_what_is_no_engine_at_all(
    bundle: Callable[..., Path], face: Image, has: Callable[[Gpu], None]
) -> None:
    has(A10)
    assert "it is damaged, or no engine of this release of the library" in fallback(
        bundle(b"not an engine" * 100), face
    )


@pytest.mark.parametrize(
    "needs",
    [
        {"profile": None},
        {"profile": {"min": 0, "opt": 1, "max": 1}},
        {"profile": {"min": 1, "opt": "1", "max": 1}},
        {"profile": {"min": 2, "opt": 1, "max": 2**40}},
        {"engines": []},
        {"engines": {"sm_86": {"path": "../../etc/passwd"}}},
        {"engines": {"sm_86": "engine"}},
    ],
    ids=json.dumps,
)
def test_facts_that_are_malformed(
    bundle: Callable[..., Path], face: Image, has: Callable[[Gpu], None], needs: dict[str, Any]
) -> None:
    has(A10)
    assert "malformed" in fallback(bundle(**needs), face)


@pytest.mark.parametrize("device", ["cpu", "gpu", "cuda:x"])
def test_another_device(bundle: Callable[..., Path], device: str) -> None:
    variant = open_bundle(bundle()).variants[0]
    reason = backend.preflight(variant, Options(device=device))
    assert reason is not None
    assert f"not {device!r}" in reason


def test_asked_for_it_is_an_error_and_never_another(
    bundle: Callable[..., Path], has: Callable[[Gpu], None]
) -> None:
    has(Gpu(0, "NVIDIA RTX 5090", "sm_120", "13.0"))
    with pytest.raises(TargetError, match="fer-edge build"):
        Predictor(bundle(), target="tensorrt")


def test_the_engine_for_this_gpu_passes(
    bundle: Callable[..., Path], has: Callable[[Gpu], None]
) -> None:
    has(A10)
    assert backend.preflight(open_bundle(bundle()).variants[0], Options()) is None


def test_tensorrt_without_its_libraries_gives_way_to_rtx(
    trt: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The package index's ``tensorrt`` fails at import."""
    real = importlib.import_module

    def without(name: str) -> Any:
        if name == "tensorrt":
            raise FileNotFoundError("libnvinfer.so.11")
        return real(name)

    monkeypatch.setattr(importlib, "import_module", without)
    compiler.library.cache_clear()
    try:
        assert compiler.library().__name__ == "tensorrt_rtx"  # type: ignore[union-attr]
    finally:
        compiler.library.cache_clear()


# Answers on a GPU


@pytest.fixture
def gpu() -> Gpu:
    try:
        return cuda.gpu()
    except TargetError as error:
        pytest.skip(f"not run on a GPU: {error}")


@pytest.mark.gpu
@pytest.mark.parametrize("profile", [Profile(1, 1, 8), Profile(4, 4, 4)])
def test_answers_on_a_gpu_are_onnxruntimes(
    gpu: Gpu, bundle: Callable[..., Path], profile: Profile, tmp_path: Path
) -> None:
    sizes = {"min": profile.min, "opt": profile.opt, "max": profile.max}
    path = bundle(engines={}, profile=sizes)
    faces = np.random.default_rng(0).integers(0, 256, (40, 48, 48, 3), np.uint8)
    with (
        Predictor(path, target="tensorrt", cache_dir=tmp_path / "cache") as ours,
        Predictor(path, target="onnxruntime") as theirs,
    ):
        for count in (1, 2, 5, 8, 40):
            for a, b in zip(
                ours.predict_batch(faces[:count]), theirs.predict_batch(faces[:count]), strict=True
            ):
                assert a.confidence == pytest.approx(b.confidence, abs=1e-4)
        with ThreadPoolExecutor(8) as pool:
            labels = list(pool.map(lambda i: ours(faces[i]).label, range(40)))
        assert labels == [answer.label for answer in theirs.predict_batch(faces)]


@pytest.mark.gpu
def test_a_gpus_clock_tells_copies_from_the_network(
    gpu: Gpu, bundle: Callable[..., Path], tmp_path: Path
) -> None:
    path = bundle(engines={})
    options = Options(cache_dir=tmp_path / "cache")
    variant = next(v for v in open_bundle(path).variants if v.target == "tensorrt")
    session = backend.load(variant, open_bundle(path).read(variant), options)
    took = session.device_ms(np.zeros((1, 48, 48, 3), np.uint8))
    session.close()
    assert all(ms > 0 for ms in (took.to_device_ms, took.network_ms, took.from_device_ms))


@pytest.mark.gpu
def test_memory_on_a_gpu_is_given_back(
    gpu: Gpu, bundle: Callable[..., Path], tmp_path: Path
) -> None:
    runtime = cuda._cuda()
    path = bundle(engines={})
    free = []
    for _ in range(6):
        with Predictor(path, target="tensorrt", cache_dir=tmp_path / "cache") as predictor:
            predictor.warm_up((1, 8))
        free.append(cuda._checked(runtime.cudaMemGetInfo())[0])
    assert free[-1] >= free[1] - 2**20
