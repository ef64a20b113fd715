"""OpenVINO's CPU plugin must not leave a thread without a signal stack."""

from __future__ import annotations

import subprocess
import sys

import pytest

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="only Linux has such a stack")

END = """
box.clear()
thread = threading.Thread(target=gc.collect)  # whatever is left ends in another thread
thread.start()
thread.join()
signal.raise_signal(signal.SIGTERM)
sys.exit(7)
"""
START = """
import gc, signal, sys, threading
signal.signal(signal.SIGTERM, lambda *_: None)
gc.disable()
"""
PREDICT = """
from fer_edge import Predictor
box = [Predictor(target="openvino")]
box[0].close()
"""
QUANTISE = """
import numpy as np
from fer_edge.converters.base import ConversionInput
from fer_edge.converters.onnx_graph.export import export_onnx
from fer_edge.converters.openvino import build
from fer_edge.training.checkpoint import Checkpoint
from fer_edge.training.models.network import ExpressionNet, InputSpec, ModelSpec
spec = ModelSpec("test_resnet", ("anger", "fear"), InputSpec(48, "grey", (0.5,), (0.25,)))
faces = np.random.default_rng(0).integers(0, 256, (8, 48, 48, 3), np.uint8)
checkpoint = Checkpoint(ExpressionNet(spec).eval())
source = ConversionInput(checkpoint, export_onnx(checkpoint), faces)
box = [build(source, "int8", {"keep_float": "until accurate"})]
"""
PEAK = """
from fer_edge.benchmarks.studies.peak import peak_per_s
box = [peak_per_s("fp32")]
"""


@pytest.mark.parametrize(
    "work",
    [PREDICT, PEAK, pytest.param(QUANTISE, marks=pytest.mark.slow)],
    ids=("run", "peak", "quantise"),
)
def test_a_signal_after_openvino_reaches_its_handler(work: str) -> None:
    code = START + work + END
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 7, f"{done.returncode}: {done.stderr[-500:]}"
