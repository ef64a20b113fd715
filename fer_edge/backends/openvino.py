"""OpenVINO, on Intel CPUs (and its other devices, by name)."""

from __future__ import annotations

import functools
import importlib.util
from collections import deque
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from fer_edge.backends.base import Batch, Options, Outputs
from fer_edge.bundle import Variant
from fer_edge.errors import EngineError
from fer_edge.telemetry import import_without_telemetry

# What the arithmetic between the layers is done in. Left alone, OpenVINO takes bf16 wherever the
# CPU has it, and an "fp32" variant would not be one.
_ARITHMETIC = {"fp32": "f32", "int8": "f32", "bf16": "bf16", "fp16": "f16"}


@functools.cache
def _core() -> Any:
    """Making a Core loads the device plugins; once is enough."""
    return import_without_telemetry("openvino").Core()


def _device(options: Options) -> str:
    return (options.device or "cpu").upper()


def preflight(variant: Variant, options: Options) -> str | None:
    if importlib.util.find_spec("openvino") is None:
        return "openvino is not installed. Run: pip install 'fer-edge[openvino]'"
    if variant.precision not in _ARITHMETIC:
        return f"this backend does not know the precision {variant.precision!r}"
    core = _core()
    device = _device(options)
    if device.split(".")[0] not in {name.split(".")[0] for name in core.available_devices}:
        return f"OpenVINO finds no device {device} here, only {', '.join(core.available_devices)}"
    wanted = variant.needs.get("capability")
    offered = core.get_property(device, "OPTIMIZATION_CAPABILITIES")
    if wanted is not None and wanted not in offered:
        return f"{device} has no {wanted} arithmetic, only {', '.join(offered)}"
    return None


def load(variant: Variant, files: Mapping[str, bytes], options: Options) -> OpenVinoSession:
    weights = [data for path, data in files.items() if path.endswith(".bin")]
    return OpenVinoSession(
        files[variant.entry], weights[0] if weights else b"", variant.precision, options
    )


_FACES_IN_A_PART = 4
"""Small parts end together, so that no stream waits; smaller ones cost more in calls than that."""
_PARTS_IN_FLIGHT = 8


class OpenVinoSession:
    """Requests are kept in a pool: each caller takes one, so that threads never share buffers."""

    def __init__(self, model: bytes, weights: bytes, precision: str, options: Options) -> None:
        core = _core()
        settings: dict[str, Any] = {
            "PERFORMANCE_HINT": options.hint.upper(),
            "INFERENCE_PRECISION_HINT": _ARITHMETIC[precision],
        }
        if options.threads:
            settings["INFERENCE_NUM_THREADS"] = options.threads
        if options.cache_dir is not None:
            settings["CACHE_DIR"] = str(options.cache_dir)
        try:
            network = core.read_model(model=model, weights=weights)
            shapes = [output.partial_shape for output in network.outputs]
            if len(shapes) != 2 or any(len(s) != 2 or s[1].is_dynamic for s in shapes):
                raise EngineError(
                    "expected probabilities [N, classes] and embedding [N, D], the model gives "
                    + ", ".join(map(str, shapes))
                )
            self._widths = [shape[1].get_length() for shape in shapes]
            self._compiled = core.compile_model(network, _device(options), settings)
            self._streams = (
                self._compiled.get_property("OPTIMAL_NUMBER_OF_INFER_REQUESTS")
                if options.hint == "throughput"
                else 1
            )
        except RuntimeError as error:
            raise EngineError(f"OpenVINO cannot load this model: {error}") from error
        self._idle: deque[_Request] = deque()

    def run(self, batch: Batch) -> Outputs:
        parts = [batch]
        if self._streams > 1 and len(batch) > 1:
            count = max(self._streams, len(batch) // _FACES_IN_A_PART)
            count = min(count, self._streams * _PARTS_IN_FLIGHT, len(batch))
            parts = np.array_split(batch, count)
        requests = [self._take() for _ in parts]
        try:
            for request, part in zip(requests, parts, strict=True):
                request.start(part)
            outputs = [request.wait() for request in requests]
        except RuntimeError as error:
            raise EngineError(f"OpenVINO failed on a batch {batch.shape}: {error}") from error
        # Not those that failed: they may still be running, or bound to memory that was refused.
        self._idle.extend(requests)
        if len(outputs) == 1:
            return outputs[0]
        probabilities, embedding = zip(*outputs, strict=True)
        return np.concatenate(probabilities), np.concatenate(embedding)

    def _take(self) -> _Request:
        try:
            return self._idle.pop()
        except IndexError:
            compiled = self._compiled
        if compiled is None:
            raise EngineError("this session was closed")
        return _Request(compiled, self._widths)

    def close(self) -> None:
        self._compiled = None
        self._idle.clear()


class _Request:
    """An inference request on memory of ours, bound once for each batch size: binding, and asking
    for tensors, costs more than copying a face."""

    def __init__(self, compiled: Any, widths: list[int]) -> None:
        self._tensor = import_without_telemetry("openvino").Tensor
        self._request = compiled.create_infer_request()
        self._input = np.empty((0, 0, 0, 0), np.uint8)
        self._widths = widths
        self._outputs: list[npt.NDArray[np.float32]] = []

    def start(self, batch: Batch) -> None:
        if batch.shape != self._input.shape:
            self._input = np.empty(batch.shape, np.uint8)
            self._outputs = [np.empty((len(batch), width), np.float32) for width in self._widths]
            self._request.set_input_tensor(self._tensor(self._input, shared_memory=True))
            for i, output in enumerate(self._outputs):
                self._request.set_output_tensor(i, self._tensor(output, shared_memory=True))
        self._input[...] = batch
        self._request.start_async()

    def wait(self) -> Outputs:
        """Copies: the request's buffers belong to the next caller."""
        self._request.wait()
        probabilities, embedding = self._outputs
        return probabilities.copy(), embedding.copy()
