"""Qualcomm HTP through ONNX Runtime's QNN provider.

On x86 the package brings Qualcomm's simulator of the HTP, which computes what a chip computes, far
more slowly. Nothing falls back to the CPU: an operation that the HTP does not take is an error.

The package onnxruntime-qnn is Qualcomm's. It is installed beside this one and never redistributed.
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
import importlib.util
import json
import os
import platform
import tempfile
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from fer_edge.backends.base import Batch, Options, Outputs, TargetFacts, not_installed
from fer_edge.backends.qnn_chips import CHIPS, DEFAULT_CHIP, Chip, unknown_chip
from fer_edge.bundle import Variant
from fer_edge.errors import EngineError
from fer_edge.execution import Execution, Operation
from fer_edge.one_at_a_time import one_at_a_time
from fer_edge.shown import first_line
from fer_edge.telemetry import engine_problem, import_without_telemetry

FACTS = TargetFacts(
    chips="Qualcomm HTP v68 and later",
    precisions=("fp16", "w8a16", "int8"),
    quantised=("w8a16", "int8"),
    calibrates_own_int8=True,  # the HTP computes nothing in float
    extra="qnn",
    libraries=("onnxruntime-qnn",),
    modules=("onnxruntime", "onnxruntime_qnn"),
)

_PROVIDER = "QNNExecutionProvider"
_BATCH = "batch"
"""Name of the batch's dimension in the exported graphs. The HTP knows fixed shapes alone."""


def simulates(options: Options) -> str | None:
    """Name the simulator that runs instead of a chip; None on a chip.

    Args:
        options: ``device`` names the chip to simulate.
    """
    if platform.machine().lower() not in ("x86_64", "amd64"):
        return None
    chip = _chip(options)
    return f"simulator of the HTP v{chip.htp} ({chip.name.upper()})"


def preflight(variant: Variant, options: Options) -> str | None:
    for package in ("onnxruntime", "onnxruntime_qnn"):
        if problem := engine_problem(package, FACTS.extra):
            return problem
    if variant.precision not in FACTS.precisions:
        return f"this backend does not know the precision {variant.precision!r}"
    device = options.device
    if device is not None and device not in CHIPS:
        return unknown_chip(device)
    if device is not None and simulates(options) is None:
        return "a chip is named to simulate it on x86; on a device, leave the device out"
    try:
        devices = _devices()
    except Exception as error:  # another C library, a missing library, another onnxruntime
        return (
            f"onnxruntime-qnn cannot start here ({first_line(error)}). "
            "Run: pip install --upgrade onnxruntime-qnn onnxruntime"
        )
    if not devices:
        return "onnxruntime-qnn finds no HTP on this machine. Choose another target"
    return None


def diagnose() -> tuple[bool, str]:
    """Report the chips that can be compiled for, and what runs on this machine."""
    if importlib.util.find_spec("onnxruntime_qnn") is None:
        return False, not_installed(FACTS)
    variant = Variant("qnn", FACTS.precisions[0], "model", ())
    if problem := preflight(variant, Options()):
        return False, f"runs bundles on {FACTS.chips}; does not run here: {problem}"
    package = import_without_telemetry("onnxruntime_qnn").__version__
    simulated = simulates(Options())
    if simulated is None:
        return True, f"{package}; runs here on an HTP"
    compiles = f"compiles here for {', '.join(CHIPS)}"
    return True, (
        f"{package}, {compiles}; does not run here: there is no HTP; the {simulated} stands in if "
        "it is asked for by name, and its speed is not that of a chip"
    )


def load(variant: Variant, files: Mapping[str, bytes], options: Options) -> QnnSession:
    try:
        return QnnSession(files[variant.entry], options)
    except EngineError:
        raise
    except Exception as error:  # onnxruntime raises a class per status code
        raise EngineError(_refusal(files[variant.entry], options, error)) from error


def _refusal(model: bytes, options: Options, error: Exception) -> str:
    """Name the operations that the HTP does not take: only the provider's trace has them."""
    with tempfile.TemporaryDirectory(prefix="fer_edge_") as folder:
        with contextlib.suppress(Exception):
            QnnSession(model, options, trace=Path(folder)).close()
        trace = _read_trace(Path(folder))
    # The roundings around an operation are left with it.
    left = [
        f"{node['node_name']} ({node['op_type']})"
        for node in trace["unsupported_nodes"]
        if node["op_type"] not in ("QuantizeLinear", "DequantizeLinear")
    ]
    if left:
        return (
            f"the HTP does not take {', '.join(left[:5])}{', ...' if len(left) > 5 else ''}, and "
            "nothing falls back to the CPU. Convert for another target"
        )
    return (
        f"the HTP cannot load this model: {first_line(error)}. Convert the checkpoint again with "
        "fer-edge convert --target qnn"
    )


def _read_trace(folder: Path) -> dict[str, Any]:
    path = folder / "qnn_op_trace.json"
    trace: dict[str, Any] = json.loads(path.read_bytes()) if path.exists() else {}
    return {"unsupported_nodes": [], **trace}


_LAYERS = ("Conv2d", "DepthWiseConv2d", "TransposeConv2d", "FullyConnected", "MatMul")
_TYPES = {
    0x216: "fp16",
    0x232: "fp16",  # float tensors: the graph is compiled with the precision fp16
    0x308: "int8",
    0x316: "w8a16",
    0x408: "int8",
    0x416: "w8a16",
}
"""Our names of QNN's data types, by the type of a layer's activations."""


def executed(
    variant: Variant, files: Mapping[str, bytes], options: Options, size_px: int
) -> Execution:
    """Read the graph that the HTP compiled, and the operations left to the CPU."""
    with tempfile.TemporaryDirectory(prefix="fer_edge_") as folder:
        session = QnnSession(files[variant.entry], options, trace=Path(folder))
        session.close()
        device = simulates(options) or "HTP"
        elsewhere = [
            Operation(str(node["op_type"]), "CPU", "fp32", is_layer=False)
            for node in _read_trace(Path(folder))["unsupported_nodes"]
        ]
        operations = [
            operation
            for path in Path(folder).glob(f"{_PROVIDER}*.json")
            if "graph" in (content := json.loads(path.read_bytes()))
            for operation in _operations(content["graph"], device)
        ]
    qnn = import_without_telemetry("onnxruntime_qnn")
    return Execution.of(f"onnxruntime-qnn {qnn.__version__}", device, [*operations, *elsewhere])


def _operations(graph: Mapping[str, Any], device: str) -> Iterator[Operation]:
    tensors = graph["tensors"]
    for node in graph["nodes"].values():
        kind = str(node["type"])
        # Inputs come in the operation's order: the activations of a layer are the first.
        number = int(tensors[node["input_names"][0]]["data_type"]) if node["input_names"] else 0
        precision = _TYPES.get(number, f"type {number}")
        yield Operation(kind, device, precision, kind in _LAYERS)


def _chip(options: Options) -> Chip:
    return CHIPS.get(options.device or DEFAULT_CHIP, CHIPS[DEFAULT_CHIP])


@one_at_a_time  # a second registration fails
@functools.cache
def _devices() -> list[Any]:
    """Register the provider with ONNX Runtime, once, and return its NPU or its simulator.

    Registration changes no session but those that name these devices.
    """
    ort = import_without_telemetry("onnxruntime")
    qnn = import_without_telemetry("onnxruntime_qnn")

    def known() -> list[Any]:
        return [device for device in ort.get_ep_devices() if device.ep_name == _PROVIDER]

    if not known():  # an application may have registered it
        ort.register_execution_provider_library(_PROVIDER, qnn.get_library_path())
    npu = [each for each in known() if each.device.type == ort.OrtHardwareDeviceType.NPU]
    return (npu or known())[:1]


class QnnSession:
    """Session on the HTP, one face at a time.

    Args:
        model: ONNX with quantised or float layers and a free batch.
        options: ``device`` is the chip to simulate.
        trace: Folder for the provider's trace and the compiled graph; None writes nothing.
        context: Path of the ONNX that shall hold the compiled context; None writes nothing.
    """

    def __init__(
        self,
        model: bytes,
        options: Options,
        trace: Path | None = None,
        context: Path | None = None,
    ) -> None:
        ort = import_without_telemetry("onnxruntime")
        qnn = import_without_telemetry("onnxruntime_qnn")
        settings = ort.SessionOptions()
        settings.log_severity_level = 4  # errors are raised as exceptions too
        settings.add_session_config_entry("session.disable_cpu_ep_fallback", "1")
        settings.add_free_dimension_override_by_name(_BATCH, 1)
        choices = {
            "backend_path": qnn.get_qnn_htp_path(),
            "offload_graph_io_quantization": "0",  # else the CPU rounds the input
            "enable_htp_fp16_precision": "1",
        }
        self.simulated = simulates(options)
        if self.simulated is not None:
            choices["soc_model"] = str(_chip(options).soc)
        if trace is not None:
            choices |= {
                "enable_framework_op_trace": "1",
                "framework_op_trace_dir": str(trace),
                "dump_json_qnn_graph": "1",
                "json_qnn_graph_dir": str(trace),
            }
        if context is not None:
            settings.add_session_config_entry("ep.context_enable", "1")
            settings.add_session_config_entry("ep.context_embed_mode", "1")
            settings.add_session_config_entry("ep.context_file_path", str(context))
        settings.add_provider_for_devices(_devices(), choices)
        with _silent_simulator() if self.simulated else contextlib.nullcontext():
            session = ort.InferenceSession(model, settings)
        inputs, outputs = session.get_inputs(), session.get_outputs()
        if len(inputs) != 1 or len(outputs) != 2:
            raise EngineError(
                f"expected a model of one input and two outputs, got {len(inputs)} and "
                f"{len(outputs)}. Convert it with fer-edge convert"
            )
        self._session, self._input = session, inputs[0].name
        self._widths = [int(output.shape[1]) for output in outputs]
        self._lock = threading.Lock()

    def run(self, batch: Batch) -> Outputs:
        probabilities, embedding = (np.empty((len(batch), w), np.float32) for w in self._widths)
        for i in range(len(batch)):
            try:
                with self._lock:  # one HTP: faces wait for each other anyway
                    face = self._session.run(None, {self._input: batch[i : i + 1]})
            except Exception as error:
                raise EngineError(f"the HTP failed on a face of {batch.shape}: {error}") from error
            probabilities[i], embedding[i] = face[0][0], face[1][0]
        return probabilities, embedding

    def close(self) -> None:
        del self._session


_loading = threading.Lock()


@contextlib.contextmanager
def _silent_simulator() -> Iterator[None]:
    """Send what the simulator prints to standard error: standard output holds our results.

    It prints a line on its threads as it starts (QNN 2.51), through C's buffered output.
    """
    with _loading:
        try:
            saved = os.dup(1)
        except OSError:  # no standard output
            yield
            return
        try:
            os.dup2(2, 1)
            yield
        finally:
            ctypes.CDLL(None).fflush(None)
            os.dup2(saved, 1)
            os.close(saved)
