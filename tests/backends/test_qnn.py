"""The HTP runs everything or nothing, and says what it ran. Qualcomm's simulator stands in here."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

from fer_edge.backends import qnn
from fer_edge.backends.base import Options, backend
from fer_edge.backends.onnxruntime import OnnxRuntimeSession
from fer_edge.backends.qnn_chips import CHIPS, DEFAULT_CHIP, read_context
from fer_edge.bundle import Variant
from fer_edge.doctor import engines
from fer_edge.errors import EngineError

ENTRY = "qnn-int8/model.onnx"
SIZE = 8


def variant(precision: str = "int8") -> Variant:
    return Variant("qnn", precision, ENTRY, ())


@pytest.fixture(scope="module", autouse=True)
def _library() -> None:
    pytest.importorskip("onnxruntime_qnn", reason="pip install 'fer-edge[qnn]'")
    if problem := qnn.preflight(variant(), Options()):
        pytest.skip(problem)


def network(extra: str | None = None) -> bytes:
    """A convolution and a softmax in eight bits; ``extra`` is one more operation in float."""
    stored = {
        "one": np.float32(1),
        "u0": np.uint8(0),
        "s": np.float32(4),
        "u128": np.uint8(128),
        "w": np.random.default_rng(0).integers(-9, 9, (3, 3, SIZE, SIZE), np.int8),
        "ws": np.full(3, 0.01, np.float32),
        "wz": np.zeros(3, np.int8),
        "b": np.zeros(3, np.int32),
        "bs": np.full(3, 0.01, np.float32),
        "bz": np.zeros(3, np.int32),
        "p": np.float32(1 / 256),
        "flat": np.array([-1, 3]),
    }
    outputs = ["probabilities", "embedding"]
    last = "p0" if extra else outputs[0]
    steps = [
        ("DequantizeLinear", ["images", "one", "u0"], "x", {}),
        ("Transpose", ["x"], "t", {"perm": [0, 3, 1, 2]}),
        ("QuantizeLinear", ["t", "one", "u0"], "tq", {}),
        ("DequantizeLinear", ["tq", "one", "u0"], "td", {}),
        ("DequantizeLinear", ["w", "ws", "wz"], "wd", {"axis": 0}),
        ("DequantizeLinear", ["b", "bs", "bz"], "bd", {"axis": 0}),
        ("Conv", ["td", "wd", "bd"], "c", {}),
        ("QuantizeLinear", ["c", "s", "u128"], "cq", {}),
        ("DequantizeLinear", ["cq", "s", "u128"], "cd", {}),
        ("Reshape", ["cd", "flat"], "r", {}),
        ("QuantizeLinear", ["r", "s", "u128"], "rq", {}),
        ("DequantizeLinear", ["rq", "s", "u128"], outputs[1], {}),
        ("Softmax", [outputs[1]], "e", {"axis": 1}),
        ("QuantizeLinear", ["e", "p", "u0"], "eq", {}),
        ("DequantizeLinear", ["eq", "p", "u0"], last, {}),
    ]
    if extra:
        steps.append((extra, [last], outputs[0], {}))
    graph = helper.make_graph(
        [helper.make_node(kind, i, [o], f"{o}_node", **more) for kind, i, o, more in steps],
        "g",
        [helper.make_tensor_value_info("images", TensorProto.UINT8, ["batch", SIZE, SIZE, 3])],
        [helper.make_tensor_value_info(o, TensorProto.FLOAT, ["batch", 3]) for o in outputs],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in stored.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    data: bytes = model.SerializeToString()
    return data


@pytest.fixture(scope="module")
def faces() -> np.ndarray:
    return np.random.default_rng(1).integers(0, 256, (5, SIZE, SIZE, 3), np.uint8)


def test_it_answers_as_onnxruntime_does_on_the_same_file(faces: np.ndarray) -> None:
    session = qnn.load(variant(), {ENTRY: network()}, Options())
    found = session.run(faces)
    session.close()
    other = OnnxRuntimeSession(network(), Options()).run(faces)
    assert len(set(map(tuple, other[1]))) > 1
    np.testing.assert_array_equal(found[1], other[1])
    assert np.abs(found[0] - other[0]).max() <= 2 / 256


def test_it_says_what_ran_where(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    report = qnn.executed(variant(), {ENTRY: network()}, Options(), SIZE)
    assert report.layers == report.layers_in("int8") == 1
    assert report.elsewhere == ()
    assert report.refusal("int8") is None
    assert "w8a16 was asked for" in str(report.refusal("w8a16"))
    assert "simulator of the HTP v73 (SA8255)" in str(report)
    assert os.listdir(tmp_path) == []


def test_an_operation_that_the_htp_does_not_take_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with pytest.raises(EngineError, match=r"does not take probabilities_node \(Shrink\), and not"):
        qnn.load(variant(), {ENTRY: network("Shrink")}, Options())
    assert os.listdir(tmp_path) == []


def test_bytes_that_are_no_model_are_an_error_with_the_next_command() -> None:
    with pytest.raises(EngineError, match="fer-edge convert --target qnn"):
        qnn.load(variant(), {ENTRY: b"not an ONNX file"}, Options())


def test_a_simulator_is_named_and_a_device_picks_its_chip() -> None:
    assert DEFAULT_CHIP in CHIPS
    assert qnn.simulates(Options()) == "simulator of the HTP v73 (SA8255)"
    assert qnn.simulates(Options(device="sa8295")) == "simulator of the HTP v68 (SA8295)"
    assert qnn.preflight(variant(), Options(device="sa8797")) is None


@pytest.mark.parametrize(
    ("device", "answer"),
    [("sa8155", "Hexagon DSP v66"), ("sa8155p", "Convert for onnxruntime"), ("cpu", "Known: sa8")],
)
def test_a_chip_without_an_htp_is_refused(device: str, answer: str) -> None:
    assert answer in str(qnn.preflight(variant(), Options(device=device)))


def test_the_diagnosis_tells_a_simulator_from_a_chip() -> None:
    runs, says = qnn.diagnose()
    assert runs
    assert "compiles here for sa8295" in says
    assert says.endswith(
        "does not run here: there is no HTP; the simulator of the HTP v73 (SA8255) stands in if it "
        "is asked for by name, and its speed is not that of a chip"
    )
    (report,) = [report for report in engines() if report.target == "qnn"]
    assert str(report.why_not).startswith("there is no HTP; the simulator of the HTP v73")


def test_an_unknown_precision_is_refused() -> None:
    assert "'fp32'" in str(qnn.preflight(variant("fp32"), Options()))


def test_without_the_package_the_reason_says_how_to_install_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    import importlib.util

    real = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name == "onnxruntime_qnn" else real(name)
    )
    assert str(qnn.preflight(variant(), Options())).endswith("pip install 'fer-edge[qnn]'")


def test_other_sessions_do_not_change(faces: np.ndarray) -> None:
    session = qnn.load(variant(), {ENTRY: network()}, Options())
    other = backend("onnxruntime").load(
        Variant("onnxruntime", "int8", ENTRY, ()), {ENTRY: network()}, Options()
    )
    assert other._session.get_providers() == ["CPUExecutionProvider"]
    other.run(faces)
    session.close()


def test_a_file_that_is_no_context_binary_is_an_error() -> None:
    with pytest.raises(EngineError, match="context binary"):
        read_context(bytes(4096))


QUIET = """
import sys
from pathlib import Path
from fer_edge.backends import qnn
from fer_edge.backends.base import Options
from fer_edge.bundle import Variant
import numpy as np
data = Path(sys.argv[1]).read_bytes()
session = qnn.load(Variant("qnn", "int8", "a", ()), {"a": data}, Options())
session.run(np.zeros((2, 8, 8, 3), np.uint8))
session.close()
print("done")
"""


@pytest.fixture
def model(tmp_path: Path) -> Path:
    path = tmp_path / "model.onnx"
    path.write_bytes(network())
    return path


def test_the_simulator_writes_nothing_to_standard_output(model: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", QUIET, str(model)], capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == "done\n"


@pytest.mark.skipif(shutil.which("strace") is None, reason="needs strace")
def test_it_opens_no_socket_and_leaves_no_file(model: Path, tmp_path: Path) -> None:
    trace, home = tmp_path / "trace", tmp_path / "home"
    home.mkdir()
    calls = "socket,connect,sendto,sendmsg,openat,open,creat,mkdir,mkdirat,rename,unlink"
    before = ["strace", "-f", "-qq", "-e", f"trace={calls}", "-o", str(trace)]
    done = subprocess.run(
        [*before, sys.executable, "-B", "-c", QUIET, str(model)],
        env={**os.environ, "HOME": str(home), "TMPDIR": str(home)},
        cwd=home,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    assert os.listdir(home) == []
    lines = trace.read_text().splitlines()
    reaching = r"\b(socket|connect|sendto|sendmsg|mkdir|mkdirat|rename|unlink|creat)\("
    assert [line for line in lines if re.search(reaching, line)] == []
    written = [line for line in lines if re.search(r"O_(WRONLY|RDWR|CREAT)", line)]
    usual = r'"(/dev/(null|tty|urandom|shm/)|/proc/self/)| = -1 '
    assert [line for line in written if not re.search(usual, line)] == []
