"""Engines bind no thread to a core: other processes, and the application, use the same cores."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Literal

import numpy as np
import pytest

from fer_edge import Predictor
from fer_edge.cores import usable_cores

pytestmark = [
    pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="needs Linux"),
    pytest.mark.skipif(usable_cores() < 2, reason="needs two cores"),
]


def bound() -> set[int]:
    """Return the threads of this process that may not use each of its cores."""
    own = os.sched_getaffinity(os.getpid())
    found = set()
    for thread in map(int, os.listdir("/proc/self/task")):
        with suppress(ProcessLookupError):
            if os.sched_getaffinity(thread) != own:
                found.add(thread)
    return found


@pytest.mark.parametrize("threads", [1, 2, None])
@pytest.mark.parametrize("hint", ["latency", "throughput"])
@pytest.mark.parametrize("target", ["onnxruntime", "openvino"])
def test_no_thread_is_bound_to_a_core(
    target: str, hint: Literal["latency", "throughput"], threads: int | None
) -> None:
    """Processes would all compute on the same first cores."""
    pytest.importorskip(target)
    before = bound()
    faces = np.random.default_rng(2).integers(0, 256, (32, 64, 64, 3), np.uint8)
    with Predictor(None, target, "fp32", threads=threads, hint=hint) as predictor:
        with ThreadPoolExecutor(1) as pool:
            answers = pool.submit(predictor.predict_batch, faces)
            seen = bound()
            while not answers.done():
                seen |= bound()
            answers.result()
        assert (seen | bound()) <= before
