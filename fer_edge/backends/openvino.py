"""OpenVINO, on Intel CPUs (and its other devices, by name)."""

from __future__ import annotations

import functools
import importlib.util
from collections import deque
from collections.abc import Mapping
from typing import Any

import numpy as np

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


class OpenVinoSession:
    """Requests are kept in a pool: each caller takes one, so that threads never share buffers."""

    def __init__(self, model: bytes, weights: bytes, precision: str, options: Options) -> None:
        self._tensor = import_without_telemetry("openvino").Tensor
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
            self._compiled = core.compile_model(network, _device(options), settings)
            self._streams = (
                self._compiled.get_property("OPTIMAL_NUMBER_OF_INFER_REQUESTS")
                if options.hint == "throughput"
                else 1
            )
        except RuntimeError as error:
            raise EngineError(f"OpenVINO cannot load this model: {error}") from error
        self._idle: deque[Any] = deque()

    def run(self, batch: Batch) -> Outputs:
        if self._streams > 1 and len(batch) > 1:
            return self._run_split(batch)
        request = self._take()
        try:
            request.set_input_tensor(self._tensor(batch, shared_memory=True))
            request.infer(share_outputs=True)
            return self._outputs(request)
        except RuntimeError as error:
            raise EngineError(f"OpenVINO failed on a batch {batch.shape}: {error}") from error
        finally:
            self._idle.append(request)

    def _run_split(self, batch: Batch) -> Outputs:
        """One part of the batch on each stream, all in flight together."""
        parts = [p for p in np.array_split(batch, min(self._streams, len(batch))) if len(p)]
        requests = [self._take() for _ in parts]
        try:
            for request, part in zip(requests, parts, strict=True):
                request.set_input_tensor(self._tensor(part, shared_memory=True))
                request.start_async()
            for request in requests:
                request.wait()
            outputs = [self._outputs(request) for request in requests]
        except RuntimeError as error:
            raise EngineError(f"OpenVINO failed on a batch {batch.shape}: {error}") from error
        finally:
            self._idle.extend(requests)
        probabilities, embedding = zip(*outputs, strict=True)
        return np.concatenate(probabilities), np.concatenate(embedding)

    def _take(self) -> Any:
        try:
            return self._idle.pop()
        except IndexError:
            compiled = self._compiled
        if compiled is None:
            raise EngineError("this session was closed")
        return compiled.create_infer_request()

    @staticmethod
    def _outputs(request: Any) -> Outputs:
        """Copies: the request's buffers belong to the next caller."""
        return (
            request.get_output_tensor(0).data.copy(),
            request.get_output_tensor(1).data.copy(),
        )

    def close(self) -> None:
        self._compiled = None
        self._idle.clear()
