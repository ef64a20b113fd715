"""OpenVINO's requests: what failed once is not used again, and a foreign model is refused."""

from __future__ import annotations

import os
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from fer_edge import DEFAULT_BUNDLE, open_bundle
from fer_edge.backends import openvino
from fer_edge.backends.base import Options
from fer_edge.backends.openvino import OpenVinoSession, load
from fer_edge.errors import EngineError

pytest.importorskip("openvino")

SIZE = open_bundle(DEFAULT_BUNDLE).crop.size_px


def loaded(hint: str, threads: int | None = None) -> OpenVinoSession:
    bundle = open_bundle(DEFAULT_BUNDLE)
    variant = next(v for v in bundle.variants if v.name == "openvino/fp32")
    return load(variant, bundle.read(variant), Options(hint=hint, threads=threads))


@pytest.fixture(scope="module", params=[None, 1], ids=["threads", "one thread"])
def session(request: pytest.FixtureRequest) -> OpenVinoSession:
    return loaded("latency", request.param)


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="needs Linux")
def test_the_callers_thread_stays_on_the_cores_that_the_user_chose() -> None:
    session = loaded("latency", 1)

    def on_one_core() -> tuple[set[int], set[int]]:
        before = {min(os.sched_getaffinity(0))}
        os.sched_setaffinity(0, before)  # of this thread alone
        session.run(np.zeros((1, SIZE, SIZE, 3), np.uint8))
        return before, os.sched_getaffinity(0)

    with ThreadPoolExecutor(1) as pool:
        before, after = pool.submit(on_one_core).result()
    assert after == before


def test_callers_of_one_engine_thread_get_their_own_answers() -> None:
    session = loaded("latency", 1)
    faces = np.random.default_rng(5).integers(0, 256, (8, SIZE, SIZE, 3), np.uint8)
    wanted = [session.run(face[None])[0] for face in faces]

    def repeated(i: int) -> list[Any]:
        return [session.run(faces[i : i + 1])[0] for _ in range(20)]

    with ThreadPoolExecutor(len(faces)) as pool:
        for answers, expected in zip(pool.map(repeated, range(len(faces))), wanted, strict=True):
            for answer in answers:
                np.testing.assert_array_equal(answer, expected)


@pytest.mark.parametrize(("threads", "told"), [(None, 1), (2, 2)])
def test_a_quota_limits_the_threads_unless_the_user_did(
    monkeypatch: pytest.MonkeyPatch, threads: int | None, told: int
) -> None:
    settings: list[dict[str, Any]] = []
    compiled = openvino.shared_core().compile_model

    class Core:
        read_model = staticmethod(openvino.shared_core().read_model)

        @staticmethod
        def compile_model(network: Any, device: str, asked: dict[str, Any]) -> Any:
            settings.append(asked)
            return compiled(network, device, asked)

    monkeypatch.setattr(openvino, "shared_core", Core)
    monkeypatch.setattr("fer_edge.cores.usable_cores", lambda: 1)
    monkeypatch.setattr("fer_edge.cores.cores_of_the_machine", lambda: 8)
    bundle = open_bundle(DEFAULT_BUNDLE)
    variant = bundle.variant("openvino", "fp32")
    load(variant, bundle.read(variant), Options(threads=threads)).close()
    assert [asked["INFERENCE_NUM_THREADS"] for asked in settings] == [told]


@pytest.mark.parametrize("faces", [1, 2])
def test_a_batch_of_the_wrong_size_fails_each_time_and_harms_no_other(
    session: OpenVinoSession, faces: int
) -> None:
    """One face has a graph of its own."""
    rng = np.random.default_rng(0)
    good = rng.integers(0, 256, (faces, SIZE, SIZE, 3), np.uint8)
    before = session.run(good)
    for _ in range(3):  # a request that kept the refused memory would answer the second time
        with pytest.raises(EngineError):
            session.run(good[:, :48, :48].copy())
    for one, other in zip(before, session.run(good), strict=True):
        assert np.array_equal(one, other)


@pytest.mark.skipif(os.name != "posix", reason="owner and mode are those of POSIX")
@pytest.mark.parametrize("whole", [True, False])
def test_a_cache_that_others_can_write_is_refused(tmp_path: Path, whole: bool) -> None:
    """OpenVINO would execute a graph that somebody else put there."""
    bundle = open_bundle(DEFAULT_BUNDLE)
    variant = next(v for v in bundle.variants if v.name == "openvino/fp32")
    files, cache = bundle.read(variant), tmp_path / "cache"
    load(variant, files, Options(cache_dir=cache)).close()
    (blob,) = cache.rglob("*.blob")
    load(variant, files, Options(cache_dir=cache)).close()  # its own is read
    (cache if whole else blob).chmod(0o777)
    with pytest.raises(EngineError, match=r"can be written by other users.*cache_dir"):
        load(variant, files, Options(cache_dir=cache))


@pytest.mark.parametrize("hint", ["latency", "throughput"])
def test_however_a_batch_is_split_each_face_gets_its_own_answer(
    session: OpenVinoSession, hint: str
) -> None:
    faces = np.random.default_rng(1).integers(0, 256, (150, SIZE, SIZE, 3), np.uint8)
    alone = [session.run(faces[i : i + 1]) for i in range(len(faces))]
    other = loaded(hint)
    for count in (1, 2, 3, 4, 5, 7, 8, 9, 33, 150):
        for i, found in enumerate(other.run(faces[:count])):
            assert len(found) == count
            expected = np.concatenate([answer[i] for answer in alone[:count]])
            np.testing.assert_allclose(found, expected, atol=2e-4)


def test_the_graph_for_other_sizes_is_made_when_one_comes(monkeypatch: pytest.MonkeyPatch) -> None:
    """It costs as much memory again, and a car with one driver never needs it."""
    core = openvino.shared_core()
    made = []

    class Counting:
        def compile_model(self, *args: Any) -> Any:
            made.append(args)
            return core.compile_model(*args)

        def __getattr__(self, name: str) -> Any:
            return getattr(core, name)

    monkeypatch.setattr(openvino, "shared_core", Counting)
    session = loaded("latency")
    for faces, graphs in ((1, 1), (1, 1), (3, 2), (2, 2), (1, 2)):
        session.run(np.zeros((faces, SIZE, SIZE, 3), np.uint8))
        assert len(made) == graphs


def test_single_faces_go_on_while_the_other_graph_is_made(monkeypatch: pytest.MonkeyPatch) -> None:
    core = openvino.shared_core()
    compiling, go_on = threading.Event(), threading.Event()

    class Slow:
        made = 0

        def compile_model(self, *args: Any) -> Any:
            self.made += 1
            if self.made == 2:
                compiling.set()
                assert go_on.wait(60)
            return core.compile_model(*args)

        def __getattr__(self, name: str) -> Any:
            return getattr(core, name)

    slow = Slow()
    monkeypatch.setattr(openvino, "shared_core", lambda: slow)
    session = loaded("latency")
    faces = np.zeros((2, SIZE, SIZE, 3), np.uint8)
    with ThreadPoolExecutor(2) as pool:
        both = pool.submit(session.run, faces)
        assert compiling.wait(60)
        try:
            alone = pool.submit(session.run, faces[:1]).result(timeout=60)
        finally:
            go_on.set()
        np.testing.assert_allclose(both.result()[0][:1], alone[0], atol=2e-4)


def test_a_closed_session_says_so() -> None:
    other = loaded("throughput")
    other.close()
    for count in (1, 4):
        with pytest.raises(EngineError, match="closed"):
            other.run(np.zeros((count, SIZE, SIZE, 3), np.uint8))


@pytest.mark.parametrize("widths", [[7], [7, None], [7, 4, 4]])
def test_a_model_without_our_two_outputs_is_refused_as_it_loads(widths: list[int | None]) -> None:
    images = helper.make_tensor_value_info("images", TensorProto.FLOAT, ["n", "w"])
    outputs = [
        helper.make_tensor_value_info(f"out{i}", TensorProto.FLOAT, ["n", width or "m"])
        for i, width in enumerate(widths)
    ]
    nodes = []
    weights = []
    for i, width in enumerate(widths):
        if width is None:
            nodes.append(helper.make_node("Relu", ["images"], [f"out{i}"]))
            continue
        weight = onnx.numpy_helper.from_array(np.ones((5, width), np.float32), f"weight{i}")
        weights.append(weight)
        nodes.append(helper.make_node("MatMul", ["images", f"weight{i}"], [f"out{i}"]))
    graph = helper.make_graph(nodes, "foreign", [images], outputs, weights)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    with pytest.raises(EngineError, match="expected probabilities"):
        OpenVinoSession(model.SerializeToString(), b"", {}, Options())
