"""ONNX Runtime on the CPU, part of every installation.

``device="cuda"`` selects an NVIDIA GPU, for machines without TensorRT.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from fer_edge.backends.base import Batch, Options, Outputs, TargetFacts
from fer_edge.backends.cpu_parts import run_in_parts
from fer_edge.bundle import Variant
from fer_edge.cores import engine_threads, physical_cores, usable_cores
from fer_edge.errors import EngineError
from fer_edge.execution import Execution, Operation
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


_LAYERS = (
    "Conv",
    "FusedConv",
    "ConvTranspose",
    "Gemm",
    "FusedGemm",
    "MatMul",
    "FusedMatMul",
    "Attention",
    "MultiHeadAttention",
)
_INT8_LAYERS = (
    "QLinearConv",
    "QLinearMatMul",
    "QGemm",
    "ConvInteger",
    "MatMulInteger",
    "MatMulIntegerToFloat",
    "DynamicQuantizeMatMul",
    "QAttention",
)
_PRECISIONS = {"float": "fp32", "float16": "fp16", "bfloat16": "bf16"}
"""Our names of ONNX Runtime's types."""


def executed(
    variant: Variant, files: Mapping[str, bytes], options: Options, size_px: int
) -> Execution:
    """Profile one face, and read in the profile which provider ran which operation."""
    ort = import_without_telemetry("onnxruntime")
    with tempfile.TemporaryDirectory(prefix="fer_edge_") as folder:
        session = OnnxRuntimeSession(files[variant.entry], options, profile=Path(folder) / "run")
        try:
            session.run(np.zeros((1, size_px, size_px, 3), np.uint8))
        finally:
            profile = session.end_profile()
            session.close()
        events = json.loads(Path(profile).read_bytes())
    asked = _PROVIDERS[options.device or "cpu"]
    operations = [
        _operation(event["args"])
        for event in events
        if event.get("cat") == "Node" and event.get("name", "").endswith("_kernel_time")
    ]
    return Execution.of(f"ONNX Runtime {ort.__version__}", asked, operations)


def _operation(facts: Mapping[str, Any]) -> Operation:
    kind = str(facts["op_name"])
    types = [name for one in facts.get("input_type_shape", []) for name in one]
    precision = _PRECISIONS.get(types[0], types[0]) if types else "nothing"
    if kind in _INT8_LAYERS or kind.startswith("QLinear"):
        precision = "int8"
    return Operation(kind, str(facts["provider"]), precision, kind in (*_LAYERS, *_INT8_LAYERS))


class OnnxRuntimeSession:
    """Session of ONNX Runtime, whose ``run`` is thread-safe."""

    def __init__(self, model: bytes, options: Options, profile: Path | None = None) -> None:
        ort = import_without_telemetry("onnxruntime")
        settings = ort.SessionOptions()
        if profile is not None:
            settings.enable_profiling = True
            settings.profile_file_prefix = str(profile)
        settings.log_severity_level = 3  # errors only, which are raised as exceptions too
        # The same number as its own choice, without which it would bind each thread to a core.
        if (threads := engine_threads(options.threads) or physical_cores()) is not None:
            settings.intra_op_num_threads = threads
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
        on_cpu = (options.device or "cpu") == "cpu"
        self._cores = (options.threads or usable_cores()) if on_cpu else 0

    def run(self, batch: Batch) -> Outputs:
        return run_in_parts(self._run, batch, self._cores) if self._cores else self._run(batch)

    def _run(self, batch: Batch) -> Outputs:
        try:
            probabilities, embedding = self._session.run(None, {self._input: batch})
        except Exception as error:
            raise EngineError(f"onnxruntime failed on a batch {batch.shape}: {error}") from error
        return np.asarray(probabilities), np.asarray(embedding)

    def end_profile(self) -> str:
        """Return the path of the profile that was asked for."""
        return str(self._session.end_profiling())

    def close(self) -> None:
        del self._session
