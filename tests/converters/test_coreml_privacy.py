"""Conversion to Core ML opens no connection, prints nothing, and writes nothing at home."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

_CONVERT = """
import sys
seen = []
sys.addaudithook(lambda event, args: seen.append(event) if event == "socket.connect" else None)
import numpy as np
from fer_edge.converters.base import ConversionInput
from fer_edge.converters.coreml import build
from fer_edge.training.checkpoint import Checkpoint
from fer_edge.training.models.network import ExpressionNet, InputSpec, ModelSpec
spec = ModelSpec("test_resnet", ("anger", "fear"), InputSpec(48, "grey", (0.5,), (0.25,)))
faces = np.random.default_rng(0).integers(0, 256, (4, 48, 48, 3), np.uint8)
artifact = build(ConversionInput(Checkpoint(ExpressionNet(spec).eval()), b"", faces), "w8a8", {})
artifact.reference_session().run(faces)
assert not seen, seen
"""


def test_converting_opens_no_connection_says_nothing_and_writes_nothing_home(
    tmp_path: Path,
) -> None:
    """Of a network whose branches end at zero: a range of no width is a scale of none."""
    done = subprocess.run(
        [sys.executable, "-c", _CONVERT],
        env=os.environ | {"HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert list(tmp_path.rglob("*")) == []
