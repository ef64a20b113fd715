"""Converting reports to nobody, and leaves nothing in the user's home."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

_QUANTISE = """
import sys
seen = []
sys.addaudithook(lambda event, args: seen.append(event) if event == "socket.connect" else None)
import numpy as np
from pathlib import Path
from fer_edge.converters.base import ConversionInput
from fer_edge.converters.onnx_graph.export import export_onnx
from fer_edge.converters.openvino import build
from fer_edge.training.checkpoint import Checkpoint
from fer_edge.training.models.network import ExpressionNet, InputSpec, ModelSpec
spec = ModelSpec("test_resnet", ("anger", "fear"), InputSpec(48, "grey", (0.5,), (0.25,)))
faces = np.random.default_rng(0).integers(0, 256, (8, 48, 48, 3), np.uint8)
checkpoint = Checkpoint(ExpressionNet(spec).eval())
build(ConversionInput(checkpoint, export_onnx(checkpoint), faces), "int8", {})
assert not seen, seen
"""


def test_quantising_opens_no_connection_and_writes_nothing_home(tmp_path: Path) -> None:
    env = {k: v for k, v in os.environ.items() if k != "CI"} | {"HOME": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", _QUANTISE], env=env, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert [p.name for p in tmp_path.rglob("*") if "intel" in p.name or "cid" in p.name] == []
