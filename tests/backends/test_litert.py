"""LiteRT on files that the converter wrote, on damaged ones, and on other people's."""

from __future__ import annotations

import json
import struct
import subprocess
import sys
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fer_edge import BundleError, EngineError, Predictor, TargetError
from fer_edge.backends import litert
from fer_edge.backends.base import Options
from fer_edge.bundle import Bundle, Variant, listed, write_bundle
from fer_edge.labels import EMOTIONS
from fer_edge.model_files.tflite_check import check_tflite, read_tflite_metadata
from fer_edge.preprocess import CropRule

FILES = Path(__file__).with_name("litert")
pytest.importorskip(
    "ai_edge_litert", reason="LiteRT is not installed: pip install fer-edge[litert]"
)


def contents(precision: str) -> dict[str, bytes]:
    return {f"litert-{precision}/model.tflite": (FILES / f"{precision}.tflite").read_bytes()}


def variant(precision: str, **needs: Any) -> Variant:
    files = tuple(listed(path, data) for path, data in contents(precision).items())
    return Variant("litert", precision, files[0].path, files, needs=needs)


def opened(precision: str = "fp32", threads: int | None = 1, **needs: Any) -> litert.LiteRtSession:
    options = Options(threads=threads)
    return litert.load(variant(precision, **needs), contents(precision), options)


def bundle(path: Path, *precisions: str, temperature: float | None = None) -> Path:
    files = {name: data for p in precisions for name, data in contents(p).items()}
    note = read_tflite_metadata(next(iter(files.values())), "fer_edge")
    exported = json.loads(note or b"{}")["temperature"]
    write_bundle(
        Bundle(
            path,
            EMOTIONS,
            CropRule(48),
            temperature or exported,
            0.0,
            32,
            {},
            tuple(variant(p) for p in precisions),
        ),
        files,
    )
    return path


@pytest.fixture
def faces() -> np.ndarray[Any, Any]:
    """Plain pictures with a gradient, which the small network tells apart."""
    rng = np.random.default_rng(0)
    ramps = rng.integers(0, 128, (12, 1, 48, 1)) + np.linspace(0, 127, 48).reshape(1, 48, 1, 1)
    return np.ascontiguousarray(np.broadcast_to(ramps, (12, 48, 48, 3)).astype(np.uint8))


@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_a_batch_is_answered_as_its_faces_are_alone(
    precision: str, faces: np.ndarray[Any, Any]
) -> None:
    session = opened(precision)
    alone = [session.run(face[None]) for face in faces]
    for count in (3, 1, 12, 5):
        probabilities, embedding = session.run(faces[:count])
        assert probabilities.shape == (count, 7)
        assert embedding.shape == (count, 32)
        assert probabilities.dtype == embedding.dtype == np.float32
        for place in range(count):
            assert probabilities[place] == pytest.approx(alone[place][0][0], abs=1e-6)
            assert embedding[place] == pytest.approx(alone[place][1][0], abs=1e-5)
    assert probabilities.sum(1) == pytest.approx(1, abs=1e-5)


def test_int8_answers_as_fp32_within_its_steps(faces: np.ndarray[Any, Any]) -> None:
    exact, rounded = (opened(precision).run(faces)[0] for precision in ("fp32", "int8"))
    assert np.abs(exact - rounded).max() < 0.2
    assert np.abs(exact - rounded).max() > 1e-4
    assert exact.std(0).max() > 0.01


def test_a_graph_that_cannot_be_resized_runs_face_by_face(faces: np.ndarray[Any, Any]) -> None:
    together, apart = opened().run(faces), opened(faces=1).run(faces)
    for one, other in zip(together, apart, strict=True):
        assert one == pytest.approx(other, abs=1e-6)


def test_threads_share_a_session(faces: np.ndarray[Any, Any]) -> None:
    session = opened(threads=None)
    expected = session.run(faces)[0]

    def work(place: int) -> float:
        answers = session.run(faces[place : place + 1 + place % 4])[0]
        return float(np.abs(answers - expected[place : place + len(answers)]).max())

    with ThreadPoolExecutor(4) as pool:
        assert max(pool.map(work, list(range(8)) * 6)) < 1e-5


def test_a_closed_session_says_so(faces: np.ndarray[Any, Any]) -> None:
    session = opened()
    session.close()
    with pytest.raises(EngineError, match="closed"):
        session.run(faces)


def test_a_batch_of_another_size_is_an_engine_error() -> None:
    session = opened()
    with pytest.raises(EngineError, match="LiteRT failed on a batch"):
        session.run(np.zeros((1, 40, 40, 4), np.uint8))
    assert session.run(np.zeros((1, 48, 48, 3), np.uint8))[0].shape == (1, 7)


# --- what it runs --------------------------------------------------------------------------------


def test_it_says_that_xnnpack_runs_everything() -> None:
    execution = litert.executed(variant("fp32"), contents("fp32"), Options(threads=1), 48)
    assert execution.layers_in("fp32") == execution.layers == 5
    assert "(XNNPACK: fully accelerated)" in execution.engine
    assert execution.refusal("fp32") is None


def test_int8_is_executed_in_int8() -> None:
    execution = litert.executed(variant("int8"), contents("int8"), Options(threads=1), 48)
    assert execution.layers_in("int8") >= 4
    assert execution.refusal("int8") is None
    assert execution.refusal("fp32") is not None


def test_weights_in_half_precision_are_not_called_fp16_arithmetic() -> None:
    """XNNPACK widens them on a CPU without fp16, and the measurement sees it."""
    execution = litert.executed(variant("fp16"), contents("fp16"), Options(threads=1), 48)
    expected = "fp16" if litert.has_fp16() else "fp32"
    assert execution.layers_in(expected) == execution.layers == 5


def test_what_xnnpack_leaves_is_named() -> None:
    operations = [{"index": 0, "op_name": "CAST", "operand_types": [np.uint8]}]
    assert [litert._operation(one, half=False).is_layer for one in operations] == [False]
    counted = Counter(
        one["op_name"] for one in opened().operations()[0] if one["op_name"] != "DELEGATE"
    )
    assert counted["DEQUANTIZE"] == 1
    assert "CAST" not in counted


# --- through the Predictor -----------------------------------------------------------------------


def test_the_predictor_runs_a_bundle(tmp_path: Path, faces: np.ndarray[Any, Any]) -> None:
    with Predictor(bundle(tmp_path / "x.fer", "fp32", "int8"), target="litert") as predictor:
        assert predictor.variant.name == "litert/fp32"
        assert predictor(faces[0]).probabilities.keys() == set(EMOTIONS)
        line = str(predictor.explain(executed=True)[0])
    assert "(XNNPACK: fully accelerated), all on CPU: 5 layers" in line


def test_fp16_needs_a_cpu_that_has_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(litert, "has_fp16", lambda: False)
    path = bundle(tmp_path / "x.fer", "fp16", "fp32")
    with Predictor(path) as predictor:
        assert predictor.variant.name == "litert/fp32"
        assert "FEAT_FP16" in str(predictor.explain()[0].reason)


def test_another_device_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TargetError, match="device 'cpu', not 'gpu'"):
        Predictor(bundle(tmp_path / "x.fer", "fp32"), device="gpu")


def test_without_the_library_it_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    reason = litert.preflight(variant("fp32"), Options())
    assert reason == "ai_edge_litert is not installed. Run: pip install 'fer-edge[litert]'"


def test_a_file_of_another_bundle_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="exported with temperature"):
        Predictor(bundle(tmp_path / "x.fer", "fp32", temperature=3.0))


# --- untrusted files -----------------------------------------------------------------------------

MUTATE = """
import json
import struct
import sys
import numpy as np
from fer_edge.backends.litert import load
from fer_edge.backends.base import Options
from fer_edge.bundle import Variant
from fer_edge.errors import FerEdgeError
from fer_edge.model_files.model_check import check_models

good = open(sys.argv[1], "rb").read()
variant = Variant("litert", "fp32", "a/model.tflite", ())
rng = np.random.default_rng(int(sys.argv[2]))
structure = [i for i in range(len(good)) if i < 600 or i > len(good) - 9000]
seen = {"refused": 0, "engine": 0, "runs": 0}
numbers = [0, 1e-40, 1e-12, 0.5, 470, 1e12, float("inf"), float("nan"), -1]
for _ in range(int(sys.argv[3])):
    bad = bytearray(good)
    for place in rng.choice(structure, rng.integers(1, 4)):
        bad[place] = rng.integers(0, 256)
    if rng.random() < 0.3:  # a float, as a scale is
        place = int(rng.choice(structure)) // 4 * 4
        bad[place : place + 4] = struct.pack("<f", rng.choice(numbers))
    if rng.random() < 0.2:
        bad = bad[: rng.integers(0, len(bad))]
    try:
        check_models("litert", variant.entry, {variant.entry: bytes(bad)}, {})
    except (FerEdgeError, ValueError):
        seen["refused"] += 1
        continue
    print("at", place, flush=True)
    try:
        load(variant, {variant.entry: bytes(bad)}, Options(threads=1)).close()
        seen["runs"] += 1
    except FerEdgeError:
        seen["engine"] += 1
print(json.dumps(seen))
"""


@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_damaged_files_are_refused_and_never_end_the_process(precision: str) -> None:
    path = FILES / f"{precision}.tflite"
    command = [sys.executable, "-P", "-c", MUTATE, str(path), "3", "600"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stdout[-300:] + done.stderr[-300:]
    seen = json.loads(done.stdout.splitlines()[-1])
    assert seen["refused"] > 50
    assert seen["runs"] > 0


def test_scales_that_end_the_process_are_refused() -> None:
    """XNNPACK refuses factors of 256 and more, and frees its memory twice (ai-edge-litert 2.3)."""
    good = (FILES / "int8.tflite").read_bytes()
    tensors = litert._Graph(good, 1, delegate=False)._engine.get_tensor_details()
    scales = [
        one["quantization_parameters"]["scales"] for one in tensors if one["dtype"] is np.int8
    ]
    weights = next(each for each in scales if len(each) > 1)
    place = good.index(struct.pack("<f", weights[-1]))
    check_tflite(good, "good")
    for scale in (1e6, 1e12, -1.0, float("nan")):
        bad = bytearray(good)
        struct.pack_into("<f", bad, place, scale)
        with pytest.raises(ValueError, match="not a readable"):
            check_tflite(bytes(bad), "bad")


def flatbuffer_that_repeats(tensors: int, dimensions: int, fields: int = 8) -> bytes:
    """A model whose list of tensors names one tensor many times; its shape is a list of ones."""
    out = bytearray(struct.pack("<I", 0) + b"TFL3")

    def layout(*fields: int, of: int) -> int:
        at = len(out)
        places = {field: 4 + 4 * i for i, field in enumerate(fields)}
        out.extend(struct.pack("<HH", 4 + 2 * of, 4 + 4 * len(fields)))
        out.extend(b"".join(struct.pack("<H", places.get(field, 0)) for field in range(of)))
        out.extend(bytes(-len(out) % 4))
        return at

    def table(layout_at: int, fields: int) -> int:
        at = len(out)
        out.extend(struct.pack("<i", at - layout_at) + bytes(4 * fields))
        return at

    def vector(count: int, content: bytes) -> int:
        at = len(out)
        out.extend(struct.pack("<I", count) + content)
        return at

    def refer(place: int, at: int) -> None:
        struct.pack_into("<I", out, place, at - place)

    layouts = layout(2, 4, of=5), layout(0, of=5), layout(of=1), layout(0, of=fields)
    model = table(layouts[0], 2)  # offsets lead forward only
    graphs, buffers = vector(1, bytes(4)), vector(1, bytes(4))
    graph, buffer = table(layouts[1], 1), table(layouts[2], 0)
    named = vector(tensors, bytes(4 * tensors))
    tensor = table(layouts[3], 1)
    shape = vector(dimensions, struct.pack("<i", 1) * dimensions)
    struct.pack_into("<I", out, 0, model)
    refer(model + 4, graphs)
    refer(graphs + 4, graph)
    refer(model + 8, buffers)
    refer(buffers + 4, buffer)
    refer(graph + 4, named)
    for i in range(tensors):
        refer(named + 4 + 4 * i, tensor)
    refer(tensor + 4, shape)
    return bytes(out)


def test_the_work_of_a_check_is_bounded_by_what_is_read_and_not_by_what_is_stored() -> None:
    check_tflite(flatbuffer_that_repeats(10, 4), "plain")
    for shape in ((100_000, 8_000), (1, 200_000), (1_200_000, 4), (60_000, 4, 32_000)):
        data = flatbuffer_that_repeats(*shape)
        with pytest.raises(ValueError, match="not a readable"):
            check_tflite(data, "repeats")


def test_a_model_of_another_kind_is_refused_by_its_shapes(monkeypatch: pytest.MonkeyPatch) -> None:
    graph = litert._Graph(next(iter(contents("fp32").values())), 1, True)
    graph._outputs = graph._outputs[:1]
    with pytest.raises(EngineError, match=r"expected a model of uint8 pictures"):
        graph.check()
