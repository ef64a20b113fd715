"""Stand-in for Arm CPUs: XNNPACK forced to compute in fp16, on any CPU."""

from __future__ import annotations

import contextlib
import os
import sys
import threading
from collections.abc import Iterator
from typing import Any

import numpy as np

from fer_edge.backends.base import Batch, Outputs
from fer_edge.backends.litert import FACTS
from fer_edge.errors import EngineError
from fer_edge.libraries import needed

_FORCE_FP16 = 0x4
"""TFLITE_XNNPACK_DELEGATE_FLAG_FORCE_FP16. The flags that XNNPACK sets itself must come too."""
_QUANTISED = 0x1 | 0x2


class ForcedHalfSession:
    """Session that runs a .tflite file in fp16, face by face.

    The ordinary interpreter has no such switch, and this one writes many lines to stderr. So a car
    never runs it.
    """

    def __init__(self, model: bytes) -> None:
        self._lock = threading.Lock()
        try:
            with _silent_stderr():  # the first face starts an environment of its own
                self._engine: Any = _compiled(model)
                self._inputs = self._engine.create_input_buffers(0)
                self._outputs = self._engine.create_output_buffers(0)
                (name,) = self._engine.get_signature_list()
                details = self._engine.get_output_tensor_details(name)
                outputs = _names(self._engine, name)
                self._widths = [int(details[output]["shape"][1]) for output in outputs]
                (picture,) = self._engine.get_input_tensor_details(name).values()
                self._one(np.zeros(tuple(picture["shape"])[1:], np.uint8))
        except (RuntimeError, ValueError) as error:
            raise EngineError(f"LiteRT cannot load this model: {error}") from error

    def run(self, batch: Batch) -> Outputs:
        """Run a batch; see backends.base.Session."""
        answers = [self._one(face) for face in batch]
        return np.stack([a for a, _ in answers]), np.stack([e for _, e in answers])

    def _one(self, face: Batch) -> tuple[Any, Any]:
        with self._lock:
            if self._engine is None:
                raise EngineError("this session was closed")
            try:
                self._inputs[0].write(np.ascontiguousarray(face[None]))
                self._engine.run_by_index(0, self._inputs, self._outputs)
                pairs = zip(self._outputs, self._widths, strict=True)
                first, second = (np.array(out.read(width, np.float32)) for out, width in pairs)
            except (RuntimeError, ValueError) as error:
                raise EngineError(f"LiteRT failed on a face {face.shape}: {error}") from error
        return first, second

    def close(self) -> None:
        """Release the engine."""
        with self._lock, _silent_stderr():
            self._inputs = self._outputs = []
            self._engine = None


def _compiled(model: bytes) -> Any:
    with needed("ai-edge-litert", FACTS.extra or "litert"):
        from ai_edge_litert.compiled_model import CompiledModel
        from ai_edge_litert.cpu_options import CpuOptions
        from ai_edge_litert.hardware_accelerator import HardwareAccelerator
        from ai_edge_litert.options import Options
    cpu = CpuOptions(num_threads=1, xnnpack_flags=_FORCE_FP16 | _QUANTISED)
    options = Options(hardware_accelerators=HardwareAccelerator.CPU, cpu_options=cpu)
    return CompiledModel.from_buffer(model, options=options)


def _names(engine: Any, signature: str) -> list[str]:
    names: list[str] = engine.get_signature_list()[signature]["outputs"]
    return names


@contextlib.contextmanager
def _silent_stderr() -> Iterator[None]:
    """Discard what native code writes to stderr."""
    if sys.stderr is None:  # closed before the start
        yield
        return
    sys.stderr.flush()
    kept, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)
