"""What can run here: libraries, engines, the shipped model."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version
from typing import Any

from fer_edge.backends import tensorrt_compile as compiler
from fer_edge.backends import tensorrt_cuda as cuda
from fer_edge.errors import FerEdgeError, MissingDependencyError, TargetError
from fer_edge.monitor.fetch_detector import default_path
from fer_edge.predictor import Predictor

# part: (distribution, what it is for, extra)
_PARTS = {
    "onnxruntime": ("onnxruntime", "runs bundles on any CPU", None),
    "openvino": ("openvino", "runs bundles on Intel CPUs, faster", "openvino"),
    "coremltools": ("coremltools", "runs bundles on a Mac, and converts for one", "coreml"),
    "torch": ("torch", "trains and exports", "train"),
    "timm": ("timm", "has the backbones", "train"),
    "onnx": ("onnx", "carries the graph to the converters", "convert"),
    "nncf": ("nncf", "quantises for OpenVINO", "convert"),
    "cuda-python": ("cuda-python", "talks to NVIDIA GPUs for TensorRT", "tensorrt"),
    "psutil": ("psutil", "measures memory in bench", "bench"),
    "rich": ("rich", "draws progress and tables", "bench"),
    "fastapi": ("fastapi", "serves pictures and frames over HTTP", "serve"),
}


def diagnose() -> dict[str, Any]:
    """``parts``: what is installed and what for; ``default_model``: each variant, here."""
    parts = {}
    for part, (distribution, purpose, extra) in _PARTS.items():
        try:
            parts[part] = {"ok": True, "says": f"{version(distribution)}, {purpose}"}
        except PackageNotFoundError:
            line = f"pip install 'fer-edge[{extra}]'" if extra else "pip install fer-edge"
            parts[part] = {"ok": False, "says": f"not installed; {purpose}. Run: {line}"}
    parts["tensorrt"] = _tensorrt()
    parts["yunet"] = _yunet()
    try:
        with Predictor() as predictor:
            model = [str(choice) for choice in predictor.explain()]
    except FerEdgeError as error:
        model = [str(error)]
    return {"parts": parts, "default_model": model}


def _yunet() -> dict[str, Any]:
    path = default_path()
    if path.is_file():
        return {"ok": True, "says": f"{path}, finds faces for the monitor"}
    says = "not there; finds faces for the monitor. Run: fer-edge detector fetch"
    return {"ok": False, "says": says}


def _tensorrt() -> dict[str, Any]:
    """What it can compile for here, and whether it can run here: two different things."""
    trt = compiler.library()
    if trt is None:
        missing = MissingDependencyError("tensorrt", "tensorrt")
        return {"ok": False, "says": f"not installed; runs bundles on NVIDIA GPUs. {missing}"}
    known = compiler.known_gpus(trt)
    compiles = f"compiles here for {', '.join(known)}" if known else "compiles for the GPU here"
    try:
        gpu = cuda.gpu()
        runs = f"runs here on {gpu.name} ({gpu.capability}, driver {gpu.driver})"
    except TargetError as error:
        runs = f"does not run here: {error}"
    return {"ok": True, "says": f"{trt.__name__} {trt.__version__}, {compiles}; {runs}"}
