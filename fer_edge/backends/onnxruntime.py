"""ONNX Runtime on the CPU, part of every installation.

``device="cuda"`` selects an NVIDIA GPU, for machines without TensorRT.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from fer_edge.backends.base import Batch, Options, Outputs, TargetFacts
from fer_edge.bundle import Variant
from fer_edge.errors import EngineError
from fer_edge.telemetry import engine_problem, import_without_telemetry

FACTS = TargetFacts(
    chips="any CPU",
    precisions=("fp32", "int8"),
    quantised=("int8",),
    libraries=("onnxruntime",),
    modules=("onnxruntime",),
    survives_fork=True,
)

_PROVIDERS = {"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider"}


def preflight(variant: Variant, options: Options) -> str | None:
    if problem := engine_problem("onnxruntime", FACTS.extra):
        return problem
    device = options.device or "cpu"
    if device not in _PROVIDERS:
        return f"this backend runs on device 'cpu' or 'cuda', not {device!r}"
    if _PROVIDERS[device] not in _available_providers():
        return (
            "this onnxruntime has no CUDA provider. "
            "Run: pip uninstall onnxruntime && pip install onnxruntime-gpu"
        )
    return None


def _available_providers() -> list[str]:
    return list(import_without_telemetry("onnxruntime").get_available_providers())


def load(variant: Variant, files: Mapping[str, bytes], options: Options) -> OnnxRuntimeSession:
    return OnnxRuntimeSession(files[variant.entry], options)


class OnnxRuntimeSession:
    """Session of ONNX Runtime, whose ``run`` is thread-safe."""

    def __init__(self, model: bytes, options: Options) -> None:
        ort = import_without_telemetry("onnxruntime")
        settings = ort.SessionOptions()
        settings.log_severity_level = 3  # errors only, which are raised as exceptions too
        if options.threads:
            settings.intra_op_num_threads = options.threads
        # A car's computer has other work: idle threads must sleep, not spin.
        settings.add_session_config_entry("session.intra_op.allow_spinning", "0")
        provider = _PROVIDERS[options.device or "cpu"]
        try:
            self._session = ort.InferenceSession(model, settings, providers=[provider])
        except Exception as error:  # onnxruntime raises a class per status code
            raise EngineError(f"onnxruntime cannot load this model: {error}") from error
        if provider not in self._session.get_providers():
            # onnxruntime falls back to the CPU when it cannot load CUDA's libraries.
            raise EngineError(
                "onnxruntime could not start CUDA. Read its warning, or run on device cpu"
            )
        inputs = self._session.get_inputs()
        if len(inputs) != 1 or len(self._session.get_outputs()) != 2:
            raise EngineError(
                "expected a model of one input and two outputs, got "
                f"{len(inputs)} and {len(self._session.get_outputs())}. Convert it with "
                "fer-edge convert"
            )
        self._input = inputs[0].name

    def run(self, batch: Batch) -> Outputs:
        try:
            probabilities, embedding = self._session.run(None, {self._input: batch})
        except Exception as error:
            raise EngineError(f"onnxruntime failed on a batch {batch.shape}: {error}") from error
        return np.asarray(probabilities), np.asarray(embedding)

    def close(self) -> None:
        del self._session
