"""TensorRT: a strongly typed ONNX graph, and compiled engines.

``tensorrt_rtx`` compiles ahead of time without a GPU; the full ``tensorrt`` compiles for the GPU in
this machine. For any other GPU the variant holds the typed ONNX, which the device compiles.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from importlib.metadata import version
from typing import Any

from fer_edge.backends import tensorrt_compile as compiler
from fer_edge.backends import tensorrt_cuda as cuda
from fer_edge.backends.base import Options
from fer_edge.backends.onnxruntime import OnnxRuntimeSession
from fer_edge.backends.tensorrt import FACTS
from fer_edge.backends.tensorrt_compile import Profile
from fer_edge.converters.base import Artifact, ConversionInput, QuantizationRecipe
from fer_edge.converters.onnx_graph.export import graph_path
from fer_edge.converters.onnx_graph.fp16 import half_precision
from fer_edge.converters.onnx_graph.int8 import RANGES, symmetric_int8
from fer_edge.errors import ConversionError, EngineError, MissingDependencyError, TargetError

PRECISIONS = FACTS.precisions

GPUS = {
    "sm_75": "Turing",
    "sm_80": "A100",
    "sm_86": "RTX 30 and A series",
    "sm_87": "Jetson Orin, DRIVE Orin",
    "sm_89": "RTX 40 and L series",
    "sm_90": "Hopper",
    "sm_100": "B200",
    "sm_103": "B300",
    "sm_110": "Jetson Thor, DRIVE Thor",
    "sm_120": "RTX 50",
    "sm_121": "DGX Spark",
}
"""Compute capabilities that a release of TensorRT runs on."""


def recipes(source: ConversionInput, precision: str) -> tuple[QuantizationRecipe, ...]:
    """Return the recipes of int8: range estimators, then layers in float."""
    if precision != "int8" or source.int8 is not None:
        return ()
    return (
        *({"ranges": name} for name in RANGES),
        *({"keep_float": count} for count in (2, 4, 8)),
    )


def check_chips(gpus: Sequence[str], socs: Sequence[str]) -> None:
    """Raise TargetError for a GPU that no release of TensorRT runs on."""
    if unknown := [gpu for gpu in gpus if gpu not in GPUS]:
        raise TargetError(
            f"unknown GPU {', '.join(unknown)}. Known: "
            + ", ".join(f"{name} ({what})" for name, what in GPUS.items())
        )


def build(source: ConversionInput, precision: str, recipe: QuantizationRecipe) -> Artifact:
    """Build one variant; see converters.base.

    It holds an engine and a builder log for each requested GPU that the installed library can
    compile for. ``fer-edge build`` compiles the others on the device. Without a request, the GPU in
    this machine counts as requested.
    """
    trt = compiler.library()
    if trt is None:
        raise MissingDependencyError("tensorrt", "tensorrt")
    here = _gpu_here()
    gpus = tuple(dict.fromkeys(source.gpus)) or ((here,) if here else ())
    check_chips(gpus, ())
    known = compiler.known_gpus(trt)
    ahead = [gpu for gpu in gpus if (gpu in known if known is not None else gpu == here)]
    sizes = source.batch_sizes
    folder = f"tensorrt-{precision}"
    try:
        profile = Profile(min(sizes), sizes[0], max(sizes))
        entry, model = _typed(source, precision, recipe, folder)
        files, engines = {entry: model}, {}
        for gpu in ahead:
            compiled = compiler.compile_engine(
                trt, model, profile, gpu, workspace_mib=source.workspace_mib
            )
            path = f"{folder}/{gpu.replace('_', '')}.engine"
            files[path] = compiled.engine
            files[path.replace(".engine", ".log")] = compiled.log.encode()
            engines[gpu] = {"path": path, **compiler.system()}
    except EngineError as error:
        raise ConversionError(f"tensorrt/{precision}: {error}") from error
    needs: dict[str, Any] = {
        "library": trt.__name__,
        "version": trt.__version__,
        "engines": engines,
        "build_on_device": [gpu for gpu in gpus if gpu not in ahead],
        "profile": asdict(profile),
    }
    return Artifact(
        entry,
        files,
        tools={
            "tensorrt": trt.__version__,
            **{name: version(name) for name in ("onnx", "onnxruntime", "torch")},
        },
        needs=needs,
        # The backend pads smaller batches and splits larger ones.
        batch={"min": 1, "max": None},
        reference_session=lambda: OnnxRuntimeSession(model, Options()),
        verified_by="onnxruntime",  # it runs the same strongly typed graph
    )


def _typed(
    source: ConversionInput, precision: str, recipe: QuantizationRecipe, folder: str
) -> tuple[str, bytes]:
    """Return path and bytes of the ONNX in a precision. fp32 is the exported graph itself."""
    if precision == "fp32":
        return graph_path(source.graph), source.graph
    if precision == "fp16":
        return f"{folder}/model.onnx", half_precision(source.graph)
    if source.int8 is not None:
        return graph_path(source.int8.graph), source.int8.graph
    return f"{folder}/model.onnx", symmetric_int8(source.graph, source.calibration, recipe)


def _gpu_here() -> str | None:
    try:
        return cuda.gpu().capability
    except TargetError:
        return None
