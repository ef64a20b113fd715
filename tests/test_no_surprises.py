"""No socket and no file on the real engines: the shipped bundle, traced by the kernel.

Python's audit hooks do not see what native code does: ONNX Runtime's telemetry passed them.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from fer_edge.bundle import Bundle, Variant, listed, write_bundle
from fer_edge.labels import EMOTIONS
from fer_edge.model_files.tflite_check import read_tflite_metadata
from fer_edge.preprocess import CropRule
from fer_edge.shipped import DEFAULT_BUNDLE, FACES

USE = """
import os, pathlib, sys, time
from fer_edge import Predictor
from fer_edge.preprocess import read_image

image = read_image(sys.argv[2])
with Predictor(sys.argv[3], target=sys.argv[1] or None) as predictor:
    predictor.warm_up((1, 3))
    for _ in range(20):
        predictor(image)
    predictor.predict_batch([image] * 5)
    predictor.explain()
time.sleep(2)
sockets = [os.readlink(f"/proc/self/fd/{fd}") for fd in os.listdir("/proc/self/fd")
           if os.path.exists(f"/proc/self/fd/{fd}")]
print(predictor.variant.target, *[name for name in sockets if name.startswith("socket:")])
"""
SURPRISE = """
import pathlib, socket, tempfile
socket.socket(socket.AF_INET, socket.SOCK_DGRAM).connect(("127.0.0.1", 9))
pathlib.Path(tempfile.gettempdir(), ".ses").write_text("x")
print("onnxruntime")
"""

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads Linux's /proc")


def traced(
    code: str, target: str, folder: Path, bundle: Path = DEFAULT_BUNDLE
) -> tuple[str, list[str]]:
    """Output of a child with a home of its own, and what it did that nobody expects."""
    for name in ("home", "tmp"):
        (folder / name).mkdir()
    before = [shutil.which("strace") or ""]
    trace = folder / "trace"
    if before[0]:
        calls = "socket,connect,sendto,sendmsg,openat,open,creat,mkdir,mkdirat,rename,unlink"
        before += ["-f", "-qq", "-e", f"trace={calls}", "-o", str(trace)]
    command = [*filter(None, before), sys.executable, "-B", "-c", code]
    kept = {k: v for k, v in os.environ.items() if k in ("PATH", "LD_LIBRARY_PATH", "LANG")}
    done = subprocess.run(
        [*command, target, str(FACES / "happiness.png"), str(bundle)],
        env={**kept, "HOME": str(folder / "home"), "TMPDIR": str(folder / "tmp")},
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    surprises = [str(path) for name in ("home", "tmp") for path in (folder / name).rglob("*")]
    surprises += done.stdout.split()[1:]
    if trace.exists():
        surprises += [line for line in trace.read_text().splitlines() if _unexpected(line)]
    return done.stdout.split()[0], surprises


def _unexpected(line: str) -> bool:
    """A call that reaches for the network, or that creates or changes a file."""
    if re.search(r"\b(socket|connect|sendto|sendmsg)\(", line):
        return "AF_NETLINK" not in line
    if re.search(r"\b(mkdir|mkdirat|rename|unlink|creat)\(", line):
        return True
    writes = re.search(r"O_(WRONLY|RDWR|CREAT)", line) and " = -1 " not in line
    # Threads are named, and shared memory is used, through these.
    return bool(writes) and not re.search(r'"(/dev/(null|tty|urandom|shm/)|/proc/self/)', line)


@pytest.mark.parametrize("target", ["", "openvino", "onnxruntime"])
def test_predicting_opens_no_socket_and_writes_no_file(target: str, tmp_path: Path) -> None:
    engine, surprises = traced(USE, target, tmp_path)
    assert engine == (target or engine)
    assert surprises == []


@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_litert_opens_no_socket_and_writes_no_file(precision: str, tmp_path: Path) -> None:
    pytest.importorskip("ai_edge_litert", reason="pip install fer-edge[litert]")
    path = f"litert-{precision}/model.tflite"
    data = (
        Path(__file__).with_name("backends").joinpath("litert", f"{precision}.tflite").read_bytes()
    )
    temperature = json.loads(read_tflite_metadata(data, "fer_edge") or b"")["temperature"]
    variant = Variant("litert", precision, path, (listed(path, data),))
    bundle = Bundle(
        tmp_path / "x.fer", EMOTIONS, CropRule(48), temperature, 0.0, 32, {}, (variant,)
    )
    write_bundle(bundle, {path: data})
    (tmp_path / "run").mkdir()
    assert traced(USE, "litert", tmp_path / "run", bundle.path) == ("litert", [])


def test_the_trace_would_see_both(tmp_path: Path) -> None:
    assert len(traced(SURPRISE, "", tmp_path)[1]) >= (3 if shutil.which("strace") else 1)
