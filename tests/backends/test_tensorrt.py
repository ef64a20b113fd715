"""TensorRT's backend: everything up to the GPU is real here, and the GPU itself where there is one.

Engines are compiled for real. Where a test is about a GPU that this machine has not, the probe
(``tensorrt_cuda.gpu``) says that it has.
"""

from __future__ import annotations

import hashlib
import importlib
import json
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnx
import pytest
from click.testing import CliRunner
from onnx import TensorProto, helper, numpy_helper

from fer_edge import Predictor, open_bundle
from fer_edge.backends import tensorrt as backend
from fer_edge.backends import tensorrt_cache as cache
from fer_edge.backends import tensorrt_compile as compiler
from fer_edge.backends import tensorrt_cuda as cuda
from fer_edge.backends.base import Options
from fer_edge.backends.tensorrt_compile import Profile
from fer_edge.backends.tensorrt_cuda import Gpu
from fer_edge.bundle import Bundle, Variant, listed, write_bundle
from fer_edge.cli import main
from fer_edge.errors import EngineError, TargetError
from fer_edge.labels import EMOTIONS
from fer_edge.preprocess import CropRule, Image

PROFILE = Profile(1, 1, 8)
A10 = Gpu(0, "NVIDIA A10", "sm_86", "12.8-570.133.20")


def network() -> bytes:
    """A tiny classifier: the mean colour of a face, times two matrices."""
    rng = np.random.default_rng(3)
    weights = [
        numpy_helper.from_array(rng.normal(size=shape).astype(np.float32) / 50, name)
        for name, shape in (("a", (3, 4)), ("b", (4, len(EMOTIONS))))
    ]
    nodes = [
        helper.make_node("Cast", ["images"], ["x"], to=TensorProto.FLOAT),
        helper.make_node("ReduceMean", ["x", "axes"], ["mean"], keepdims=0),
        helper.make_node("MatMul", ["mean", "a"], ["embedding"]),
        helper.make_node("MatMul", ["embedding", "b"], ["logits"]),
        helper.make_node("Softmax", ["logits"], ["probabilities"]),
    ]
    info = helper.make_tensor_value_info
    graph = helper.make_graph(
        nodes,
        "tiny",
        [info("images", TensorProto.UINT8, ["n", 48, 48, 3])],
        [
            info("probabilities", TensorProto.FLOAT, ["n", len(EMOTIONS)]),
            info("embedding", TensorProto.FLOAT, ["n", 4]),
        ],
        [*weights, numpy_helper.from_array(np.array([1, 2]), "axes")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    onnx.checker.check_model(model, full_check=True)
    data: bytes = model.SerializeToString()
    return data


ONNX = network()


@pytest.fixture(scope="module")
def trt() -> Any:
    found = compiler.library()
    if found is None:
        pytest.skip("TensorRT is not installed. Run: pip install 'fer-edge[tensorrt]'")
    return found


@pytest.fixture(scope="module")
def engine(trt: Any) -> bytes:
    """Compiled for an A10's compute capability, with or without one."""
    if compiler.known_gpus(trt) is None:
        pytest.skip("the full tensorrt compiles only for the GPU in this machine")
    return compiler.compile_engine(trt, ONNX, PROFILE, "sm_86").engine


@pytest.fixture
def bundle(trt: Any, engine: bytes, tmp_path: Path) -> Callable[..., Path]:
    """Writes a bundle: TensorRT first, then ONNX Runtime."""

    def write(engine: bytes = engine, **needs: Any) -> Path:
        files = {"tensorrt-fp32/model.onnx": ONNX, "tensorrt-fp32/sm86.engine": engine}
        known = {
            "library": trt.__name__,
            "version": trt.__version__,
            "engines": {"sm_86": {"path": "tensorrt-fp32/sm86.engine", **compiler.system()}},
            "profile": {"min": 1, "opt": 1, "max": 8},
        }
        held = tuple(listed(path, data) for path, data in files.items())
        variants = (
            Variant("tensorrt", "fp32", held[0].path, held, needs={**known, **needs}),
            Variant("onnxruntime", "fp32", held[0].path, held[:1]),
        )
        path = tmp_path / "driver.fer"
        write_bundle(Bundle(path, EMOTIONS, CropRule(48), 1.0, 0.0, 4, {}, variants), files)
        return path

    return write


@pytest.fixture(autouse=True)
def _cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The default cache, of nobody's home."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "home-cache"))


@pytest.fixture
def has(monkeypatch: pytest.MonkeyPatch) -> Callable[[Gpu], None]:
    """Puts a GPU into this machine, as far as the probe can tell."""

    def put(gpu: Gpu) -> None:
        monkeypatch.setattr(cuda, "gpu", lambda index=0: gpu)

    return put


def fallback(bundle: Path, face: Image, **options: Any) -> str:
    """Why TensorRT was passed over; the next variant has to have answered."""
    with Predictor(bundle, **options) as predictor:
        assert predictor.variant.name == "onnxruntime/fp32"
        assert predictor(face).label in EMOTIONS
        refused, taken = predictor.explain()
    assert taken.taken
    assert refused.reason is not None
    return refused.reason


# --- what does not fit is said in words, and the next variant takes over -------------------------


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
    """What the package index has under the name tensorrt fails as it is imported."""
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


# --- compiled on the device ----------------------------------------------------------------------

ADA = Gpu(0, "NVIDIA L4", "sm_89", "12.8-570.133.20")


def test_build_compiles_once_and_the_bundle_stays(
    bundle: Callable[..., Path], has: Callable[[Gpu], None], tmp_path: Path
) -> None:
    has(ADA)
    path = bundle()
    before = {p: p.read_bytes() for p in path.rglob("*") if p.is_file()}
    first = CliRunner().invoke(main, ["build", str(path)])
    assert first.exit_code == 0, first.output
    (entry,) = (tmp_path / "home-cache/fer_edge/tensorrt").iterdir()
    facts = json.loads((entry / "engine.json").read_text("utf-8"))
    assert facts["sha256"] == hashlib.sha256((entry / "model.engine").read_bytes()).hexdigest()
    assert facts["onnx_sha256"] == hashlib.sha256(ONNX).hexdigest()
    assert (facts["gpu"], facts["driver"]) == (ADA.name, ADA.driver)
    assert "for sm_89" in (entry / "builder.log").read_text("utf-8")
    stamp = (entry / "model.engine").stat().st_mtime_ns
    assert CliRunner().invoke(main, ["build", str(path)]).exit_code == 0
    assert (entry / "model.engine").stat().st_mtime_ns == stamp
    assert backend.preflight(open_bundle(path).variants[0], Options()) is None
    assert {p: p.read_bytes() for p in path.rglob("*") if p.is_file()} == before


def test_build_says_how_far_it_is(
    bundle: Callable[..., Path], has: Callable[[Gpu], None], tmp_path: Path
) -> None:
    has(ADA)
    opened = open_bundle(bundle())
    steps: list[tuple[str, int, int]] = []
    variant = opened.variants[0]
    options = Options(cache_dir=tmp_path / "cache")
    backend.build(variant, opened.read(variant), options, step=lambda *s: steps.append(s))
    assert steps
    assert all(1 <= done <= total for _, done, total in steps)


def test_nothing_is_compiled_where_the_bundles_engine_fits(
    bundle: Callable[..., Path], has: Callable[[Gpu], None], tmp_path: Path
) -> None:
    has(A10)
    said = CliRunner().invoke(main, ["build", str(bundle()), "--cache-dir", str(tmp_path / "c")])
    assert "holds an engine for this GPU" in said.output
    assert not (tmp_path / "c").exists()


@pytest.mark.parametrize(
    "gpu",
    [
        Gpu(0, ADA.name, ADA.capability, "12.8-575.1"),
        Gpu(0, "NVIDIA RTX 4090", ADA.capability, ADA.driver),
    ],
    ids=["driver", "gpu"],
)
def test_a_cached_engine_is_for_its_gpu_and_driver_alone(
    bundle: Callable[..., Path], has: Callable[[Gpu], None], gpu: Gpu
) -> None:
    has(ADA)
    path = bundle()
    assert CliRunner().invoke(main, ["build", str(path)]).exit_code == 0
    has(gpu)
    assert "fer-edge build" in (backend.preflight(open_bundle(path).variants[0], Options()) or "")


def test_a_cached_engine_that_was_changed_is_never_loaded(
    bundle: Callable[..., Path], has: Callable[[Gpu], None], face: Image, tmp_path: Path
) -> None:
    has(ADA)
    path = bundle()
    CliRunner().invoke(main, ["build", str(path)])
    (entry,) = (tmp_path / "home-cache/fer_edge/tensorrt").iterdir()
    data = bytearray((entry / "model.engine").read_bytes())
    data[len(data) // 2] ^= 1
    (entry / "model.engine").write_bytes(data)
    assert "was changed after it was written. Run: fer-edge build" in fallback(path, face)
    CliRunner().invoke(main, ["build", str(path)])
    assert cache.read(entry)


def test_a_cache_that_others_can_write_to_is_not_trusted(
    bundle: Callable[..., Path], has: Callable[[Gpu], None], face: Image, tmp_path: Path
) -> None:
    has(ADA)
    path, folder = bundle(), tmp_path / "open"
    folder.mkdir()
    folder.chmod(0o777)
    assert "written by other users" in fallback(path, face, cache_dir=folder)


def test_the_first_load_compiles_where_a_cache_is_given(
    bundle: Callable[..., Path],
    has: Callable[[Gpu], None],
    face: Image,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    def refuse(plan: Any, engine: bytes) -> Any:
        raise EngineError(f"there is no L4 for these {len(engine)} bytes")

    has(ADA)
    monkeypatch.setattr(backend, "_slots", refuse)
    path = bundle()
    assert backend.preflight(open_bundle(path).variants[0], Options(cache_dir=tmp_path)) is None
    reason = fallback(path, face, cache_dir=tmp_path / "cache")
    (entry,) = (tmp_path / "cache").iterdir()
    assert f"no L4 for these {len(cache.read(entry))} bytes" in reason


@pytest.mark.parametrize("capability", ["sm_87", "sm_90"])
def test_a_gpu_that_rtx_does_not_know_needs_the_full_library(
    bundle: Callable[..., Path], has: Callable[[Gpu], None], face: Image, capability: str
) -> None:
    has(Gpu(0, "Orin", capability, "12.6"))
    path = bundle()
    assert "Install the full tensorrt on this device" in fallback(path, face)
    said = CliRunner().invoke(main, ["build", str(path)])
    assert said.exit_code == 5
    assert "sm_86, sm_89, sm_120" in said.output


def test_the_full_library_compiles_for_the_gpu_it_is_on(
    bundle: Callable[..., Path],
    has: Callable[[Gpu], None],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    """A recorded stand-in for ``tensorrt``: it has no list of compute capabilities."""
    has(Gpu(0, "Orin", "sm_87", "12.6"))
    monkeypatch.setattr(
        compiler, "library", lambda: SimpleNamespace(__name__="tensorrt", __version__="10.3.0")
    )
    asked: list[tuple[str, bytes]] = []

    def compile_engine(
        trt: Any, model: bytes, profile: Profile, gpu: str, *, timings: bytes, **_: Any
    ) -> compiler.Compiled:
        asked.append((gpu, timings))
        return compiler.Compiled(b"engine", "log\n", b"timings")

    monkeypatch.setattr(compiler, "compile_engine", compile_engine)
    opened = open_bundle(bundle())
    variant = opened.variants[0]
    options = Options(cache_dir=tmp_path / "cache")
    entry = backend.build(variant, opened.read(variant), options)
    assert entry is not None
    assert cache.read(entry) == b"engine"
    (entry / "model.engine").write_bytes(b"damaged")
    backend.build(variant, opened.read(variant), options)
    assert asked == [("sm_87", b""), ("sm_87", b"timings")]


def test_build_of_a_bundle_without_tensorrt(fake_bundle: Path) -> None:
    said = CliRunner().invoke(main, ["build", str(fake_bundle)])
    assert said.exit_code == 5
    assert "nothing to compile on a device, only fake/fp32" in said.output


def test_a_graph_that_the_library_does_not_take(trt: Any) -> None:
    with pytest.raises(EngineError, match="refuses this graph"):
        compiler.compile_engine(trt, b"no graph", PROFILE, "sm_86")


# --- on a GPU ------------------------------------------------------------------------------------


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
