"""A start imports the engine that runs, and no other one of its bundle."""

from __future__ import annotations

import subprocess
import sys

import pytest

_START = """
import sys
from fer_edge import Predictor
with Predictor() as predictor:
    print(predictor.variant.name, "onnxruntime" in sys.modules)
    reasons = [choice.reason or "taken" for choice in predictor.explain()]
    print(" | ".join(reasons))
"""


def test_a_start_imports_no_engine_of_a_later_variant() -> None:
    pytest.importorskip("openvino")
    done = subprocess.run(
        [sys.executable, "-c", _START], capture_output=True, text=True, check=True
    )
    first, reasons = done.stdout.splitlines()
    assert first in ("openvino/bf16 False", "openvino/fp32 False")
    assert reasons.endswith(f"would run too, but {first.split()[0]} comes first in the bundle"), (
        reasons
    )
    assert reasons.count("taken") == 1
