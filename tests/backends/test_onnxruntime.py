"""ONNX Runtime: its threads, and another device than the CPU, which it is or says why not."""

from __future__ import annotations

import gc

import pytest

from fer_edge import Predictor, open_bundle
from fer_edge.backends import onnxruntime as backend
from fer_edge.backends.base import Options
from fer_edge.errors import EngineError, TargetError
from fer_edge.shipped import DEFAULT_BUNDLE


@pytest.mark.parametrize(("threads", "started"), [(None, 0), (1, 0), (3, 2)])
def test_a_quota_limits_the_threads_unless_the_user_did(
    monkeypatch: pytest.MonkeyPatch, threads: int | None, started: int
) -> None:
    monkeypatch.setattr("fer_edge.cores.usable_cores", lambda: 1)
    monkeypatch.setattr("fer_edge.cores.cores_of_the_machine", lambda: 8)
    bundle = open_bundle(DEFAULT_BUNDLE)
    variant = bundle.variant("onnxruntime", "fp32")
    model = bundle.read(variant)
    gc.collect()  # threads of sessions of other tests
    psutil = pytest.importorskip("psutil")  # of the extra for training, not of the runtime
    before = psutil.Process().num_threads()
    session = backend.load(variant, model, Options(threads=threads))
    assert psutil.Process().num_threads() == before + started
    session.close()


@pytest.fixture
def no_cuda() -> None:
    if "CUDAExecutionProvider" in backend._available_providers():
        pytest.skip("this onnxruntime has the CUDA provider")


@pytest.mark.usefixtures("no_cuda")
def test_cuda_without_its_provider_gives_the_line_that_installs_it() -> None:
    with pytest.raises(TargetError, match="pip install onnxruntime-gpu"):
        Predictor(device="cuda")


@pytest.mark.usefixtures("no_cuda")
def test_cuda_that_does_not_start_is_never_the_cpu_instead(monkeypatch: pytest.MonkeyPatch) -> None:
    """As onnxruntime-gpu behaves without CUDA's libraries: it goes on with the CPU by itself."""
    monkeypatch.setattr(backend, "_available_providers", lambda: ["CUDAExecutionProvider"])
    bundle = open_bundle(DEFAULT_BUNDLE)
    variant = bundle.variant("onnxruntime", "fp32")
    options = Options(device="cuda")
    assert backend.preflight(variant, options) is None
    with pytest.raises(EngineError, match="CUDA"):
        backend.load(variant, bundle.read(variant), options)


@pytest.mark.gpu
def test_cuda_answers_as_the_cpu_does() -> None:
    if "CUDAExecutionProvider" not in backend._available_providers():
        pytest.skip("not run on a GPU: this onnxruntime has no CUDA provider")
    face = DEFAULT_BUNDLE.parent / "faces" / "happiness.png"
    wanted = {"target": "onnxruntime", "precision": "fp32"}
    with Predictor(**wanted, device="cuda") as ours, Predictor(**wanted) as theirs:
        assert ours(face).confidence == pytest.approx(theirs(face).confidence, abs=1e-3)
