"""Engines that are compiled on the device: ``fer-edge build``, first loads, and their cache."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from click.testing import CliRunner
from tensorrt_variant import A10, ADA, ONNX, PROFILE, fallback

from fer_edge import open_bundle
from fer_edge.backends import tensorrt as backend
from fer_edge.backends import tensorrt_cache as cache
from fer_edge.backends import tensorrt_compile as compiler
from fer_edge.backends.base import Options
from fer_edge.backends.tensorrt_compile import Profile
from fer_edge.backends.tensorrt_cuda import Gpu
from fer_edge.cli import main
from fer_edge.errors import EngineError
from fer_edge.preprocess import Image


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
