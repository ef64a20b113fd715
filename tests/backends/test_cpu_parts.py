"""Large batches on a CPU: the same answers, and memory that does not grow with the batch."""

from __future__ import annotations

import importlib.util
import subprocess
import sys

import numpy as np
import pytest

from fer_edge import Predictor
from fer_edge.backends.cpu_parts import cpu_parts

_GROWTH = """
import resource, sys
import numpy as np
from fer_edge import Predictor
faces = np.random.default_rng(0).integers(0, 256, (600, 48, 48, 3), np.uint8)
with Predictor(None, sys.argv[1], "fp32", hint=sys.argv[2], threads=2) as predictor:
    predictor.predict_batch(faces[:40])
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    predictor.predict_batch(faces)
    print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024)
"""


@pytest.mark.parametrize(
    ("faces", "side", "cores", "sizes"),
    [
        (1, 128, 1, [1]),
        (40, 128, 2, [16, 16, 8]),
        (16, 128, 2, [16]),
        (5, 512, 1, [1] * 5),
        (100, 80, 1, [20] * 5),
    ],
)
def test_a_core_computes_eight_faces_of_128_px_at_once(
    faces: int, side: int, cores: int, sizes: list[int]
) -> None:
    batch = np.zeros((faces, side, side, 3), np.uint8)
    assert [len(part) for part in cpu_parts(batch, cores)] == sizes


@pytest.mark.skipif(sys.platform != "linux", reason="ru_maxrss is in kB on Linux")
@pytest.mark.parametrize("hint", ["latency", "throughput"])
@pytest.mark.parametrize("target", ["onnxruntime", "openvino"])
def test_memory_does_not_grow_with_the_batch(target: str, hint: str) -> None:
    """600 faces at once took 1.6 GB more than 40."""
    if importlib.util.find_spec(target) is None:
        pytest.skip(f"{target} is not installed")
    command = [sys.executable, "-c", _GROWTH, target, hint]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) < 200


@pytest.mark.parametrize("target", ["onnxruntime", "openvino"])
def test_each_face_of_a_large_batch_gets_its_own_answer(target: str) -> None:
    pytest.importorskip(target)
    faces = np.random.default_rng(3).integers(0, 256, (50, 64, 64, 3), np.uint8)
    with Predictor(None, target, "fp32") as predictor:
        together = predictor.predict_batch(faces)
        alone = [predictor(face) for face in faces]
    for one, other in zip(together, alone, strict=True):
        np.testing.assert_allclose(one.embedding, other.embedding, atol=2e-3)
        assert one.label == other.label
