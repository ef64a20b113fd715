"""OpenVINO on Intel and AMD CPUs, and on named other devices."""

from __future__ import annotations

import functools
import os
import threading
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from fer_edge.backends import openvino_cache as cache
from fer_edge.backends.base import Batch, Options, Outputs, TargetFacts
from fer_edge.backends.cpu_parts import cpu_parts
from fer_edge.bundle import Variant
from fer_edge.cores import engine_threads, usable_cores
from fer_edge.errors import EngineError
from fer_edge.execution import Execution, Operation
from fer_edge.one_at_a_time import one_at_a_time
from fer_edge.shown import first_line
from fer_edge.telemetry import engine_problem, import_without_telemetry

FACTS = TargetFacts(
    chips="Intel and AMD CPUs",
    precisions=("fp32", "fp16", "bf16", "int8"),
    quantised=("int8",),
    extra="openvino",
    libraries=("openvino",),
    modules=("openvino",),
)

# INFERENCE_PRECISION_HINT by precision. Without it, OpenVINO computes "fp32" in bf16 on CPUs that
# have it.
ARITHMETIC = {"fp32": "f32", "int8": "f32", "bf16": "bf16", "fp16": "f16"}


@one_at_a_time  # a second Core would be destroyed
@functools.cache
def shared_core() -> Any:
    """Return the one Core of this process, which is never destroyed.

    OpenVINO's CPU plugin takes the place of the signal stack of the thread that loads it, and frees
    that memory with its Core, in whatever thread. The next signal then ends the process (2026.4).
    """
    global _core_pid
    _core_pid = os.getpid()
    return import_without_telemetry("openvino").Core()


_core_pid: int | None = None
"""Process in which the Core was made."""


def _forked() -> bool:
    """Report whether a parent process made the Core, whose threads a fork lacks."""
    return _core_pid not in (None, os.getpid())


def _device(options: Options) -> str:
    return (options.device or "cpu").upper()


def preflight(variant: Variant, options: Options) -> str | None:
    if problem := engine_problem("openvino", FACTS.extra):
        return problem
    if _forked():
        return (
            "OpenVINO cannot run in a process that was forked from one that used it. Make the "
            "first Predictor in the child, or start children with spawn"
        )
    if variant.precision not in ARITHMETIC:
        return f"this backend does not know the precision {variant.precision!r}"
    try:
        core = shared_core()
    except Exception as error:  # a broken plugin, no memory
        return (
            f"OpenVINO cannot start: {first_line(error)}. "
            "Run: pip install --force-reinstall openvino"
        )
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
    settings = {"INFERENCE_PRECISION_HINT": ARITHMETIC[variant.precision]}
    if variant.needs.get("fusion") == "off":
        settings["SNIPPETS_MODE"] = "DISABLE"  # generated code for chains of small operations
    return OpenVinoSession(files[variant.entry], weights[0] if weights else b"", settings, options)


_PRECISIONS = {"f32": "fp32", "f16": "fp16", "bf16": "bf16", "i8": "int8", "u8": "int8"}
"""Our names of the precisions in an execution graph."""
_LAYERS = ("Convolution", "Deconvolution", "FullyConnected", "MatMul", "ScaledDotProductAttention")
_NO_WORK = ("Input", "Output", "Parameter", "Result")


def executed(
    variant: Variant, files: Mapping[str, bytes], options: Options, size_px: int
) -> Execution:
    """Read the execution graph, which is the network as the device compiled it."""
    session = load(variant, files, options)
    try:
        operations = session.operations()
    finally:
        session.close()
    device = _device(options)
    name = str(shared_core().get_property(device, "FULL_DEVICE_NAME"))
    build = import_without_telemetry("openvino").get_version()
    asked = f"{device} ({name})"
    mine = device.split(".")[0]
    placed = [
        replace(each, device=asked if each.device.split(".")[0] == mine else each.device)
        for each in operations
    ]
    return Execution.of(f"OpenVINO {build}", asked, placed)


def _operation(node: Any, device: str) -> Operation:
    facts = node.get_rt_info()

    def fact(key: str) -> str:
        value = facts[key] if key in facts else ""  # noqa: SIM401 - it has no get
        return str(getattr(value, "value", value))

    kind, precision = fact("layerType"), fact("runtimePrecision")
    return Operation(kind, device, _PRECISIONS.get(precision, precision), kind in _LAYERS)


_FACES_IN_A_PART = 4
"""Faces per request in throughput mode. Few faces keep the streams balanced; below 4, call overhead
dominates."""
_PARTS_IN_FLIGHT = 8
"""Largest number of requests that wait, per stream."""


class OpenVinoSession:
    """Session with two graphs of one network.

    The fixed graph has the usual batch size: OpenVINO knows its shapes and computes it faster. The
    graph for any size is compiled when the first other batch arrives.
    """

    def __init__(
        self, model: bytes, weights: bytes, properties: Mapping[str, str], options: Options
    ) -> None:
        core, device = shared_core(), _device(options)
        settings: dict[str, Any] = {**properties, "PERFORMANCE_HINT": options.hint.upper()}
        threads = options.threads
        if device == "CPU":
            threads = engine_threads(threads)
            # It would take the same first cores in every session and process.
            settings["ENABLE_CPU_PINNING"] = "NO"
        if threads is not None:
            settings["INFERENCE_NUM_THREADS"] = threads
        self._cores = (options.threads or usable_cores()) if device == "CPU" else 0
        folder = options.cache_dir and cache.place(options.cache_dir, (model, weights))
        throughput = options.hint == "throughput"
        self._usual = _FACES_IN_A_PART if throughput else 1
        try:
            network = core.read_model(model=model, weights=weights)
            shapes = [output.partial_shape for output in network.outputs]
            if len(shapes) != 2 or any(len(s) != 2 or s[1].is_dynamic for s in shapes):
                raise EngineError(
                    "expected probabilities [N, classes] and embedding [N, D], the model gives "
                    + ", ".join(map(str, shapes))
                )
            widths = [shape[1].get_length() for shape in shapes]

            def compiled(faces: int, *, wait: bool = False) -> _Graph:
                """Compile the network for batches of ``faces``; -1 is any size.

                An answer does not wait for the cache: that holds up more than compiling does.
                """
                shape = network.input(0).partial_shape
                shape[0] = faces
                network.reshape({0: shape})

                def made(more: dict[str, str]) -> Any:
                    return core.compile_model(network, device, {**settings, **more})

                if folder is None:
                    return _Graph(made({}), widths)
                return _Graph(cache.through(folder, made, wait=wait), widths)

            self._fixed: _Graph | None = compiled(self._usual, wait=True)
            self._fixed.check_precision(properties.get("INFERENCE_PRECISION_HINT"))
            self._streams = self._fixed.streams() if throughput else 1
        except RuntimeError as error:
            raise EngineError(f"OpenVINO cannot load this model: {error}") from error
        self._any: _Graph | None = None
        self._compiled: Callable[[int], _Graph] | None = compiled
        self._lock = threading.Lock()

    def run(self, batch: Batch) -> Outputs:
        parts = self._parts(batch)
        try:
            if len(parts) == 1:
                return self._graph(len(batch)).answer(batch)
            answers = self._answers(parts)
        except RuntimeError as error:
            raise EngineError(f"OpenVINO failed on a batch {batch.shape}: {error}") from error
        probabilities, embedding = zip(*answers, strict=True)
        return np.concatenate(probabilities), np.concatenate(embedding)

    def _answers(self, parts: list[Batch]) -> list[Outputs]:
        """Run several parts at once.

        After an error, the requests do not return to the pool: they may still be running.
        """
        running: deque[tuple[_Graph, _Request]] = deque()
        answers: list[Outputs] = []
        for part in parts:
            if len(running) == self._streams * _PARTS_IN_FLIGHT:
                answers.append(_answer(*running.popleft()))
            graph = self._graph(len(part))
            request = graph.take()
            request.start(part)
            running.append((graph, request))
        return answers + [_answer(*one) for one in running]

    def _parts(self, batch: Batch) -> list[Batch]:
        if len(batch) == 1:
            return [batch]
        if self._streams == 1:
            return cpu_parts(batch, self._cores) if self._cores else [batch]
        if len(batch) < self._streams * self._usual:  # a part for each stream
            return np.array_split(batch, min(self._streams, len(batch)))
        return [batch[i : i + self._usual] for i in range(0, len(batch), self._usual)]

    def _graph(self, faces: int) -> _Graph:
        graph = self._fixed if faces == self._usual else self._any
        if graph is None:
            with self._lock:  # the fixed graph needs no lock: it answers while this compiles
                if self._compiled is None:
                    raise EngineError("this session was closed")
                graph = self._any = self._any or self._compiled(-1)
        return graph

    def operations(self) -> list[Operation]:
        """Return the operations of the graph for the usual batch size."""
        if self._fixed is None:
            raise EngineError("this session was closed")
        return self._fixed.operations()

    def close(self) -> None:
        with self._lock:
            self._any = self._fixed = self._compiled = None


class _Graph:
    """Compiled graph and its pool of requests, so that threads never share buffers."""

    def __init__(self, compiled: Any, widths: list[int]) -> None:
        self._compiled, self._widths = compiled, widths
        self._idle: deque[_Request] = deque()
        self._callers: set[object] = set()
        self._has_one_thread = _has_one_thread(compiled)

    def answer(self, batch: Batch) -> Outputs:
        """Run one batch.

        A single thread of the engine would leave the caller's thread waiting: the caller computes
        instead. Callers that come meanwhile wait in the engine's queue, which is fair.
        """
        request, caller = self.take(), object()
        try:  # before the caller is counted: an interrupt in between would count it for good
            self._callers.add(caller)
            if self._has_one_thread and len(self._callers) == 1:
                request.compute(batch)
            else:
                request.start(batch)
            return _answer(self, request)
        finally:
            self._callers.discard(caller)

    def take(self) -> _Request:
        try:
            return self._idle.pop()
        except IndexError:
            return _Request(self._compiled, self._widths)

    def streams(self) -> int:
        """Return the number of requests that keep the device busy."""
        return int(self._compiled.get_property("OPTIMAL_NUMBER_OF_INFER_REQUESTS"))

    def check_precision(self, asked: str | None) -> None:
        """Raise EngineError if the device took another arithmetic than the one asked for.

        A CPU with bf16 takes it for fp16, without a word.
        """
        try:
            taken = self._compiled.get_property("INFERENCE_PRECISION_HINT").get_type_name()
        except (AttributeError, RuntimeError):
            return  # a device without this property
        if asked is not None and taken != asked:
            raise EngineError(
                f"{asked} was asked for, and this device would compute in {taken}. Choose another "
                "precision for this machine"
            )

    def operations(self) -> list[Operation]:
        """Return the operations of the execution graph that do work for a face."""
        devices = self._compiled.get_property("EXECUTION_DEVICES")
        device = "+".join(devices) if isinstance(devices, list) else str(devices)
        ready: set[str] = set()  # constants, and weights that were reordered as the graph loaded
        operations = []
        for node in self._compiled.get_runtime_model().get_ordered_ops():
            operation = _operation(node, device)
            sources = {each.get_source_output().get_node().get_name() for each in node.inputs()}
            if operation.kind == "Const" or (sources and sources <= ready):
                ready.add(node.get_name())
            elif operation.kind not in _NO_WORK:
                operations.append(operation)
        return operations

    def release(self, request: _Request) -> None:
        self._idle.append(request)


def _has_one_thread(compiled: Any) -> bool:
    """Report whether a compiled network computes in one thread of the CPU."""
    try:
        return int(compiled.get_property("INFERENCE_NUM_THREADS")) == 1
    except RuntimeError:  # not a CPU
        return False


def _answer(graph: _Graph, request: _Request) -> Outputs:
    outputs = request.wait()
    graph.release(request)
    return outputs


class _Request:
    """Inference request on arrays of its own, bound once for each batch size.

    Binding, or asking OpenVINO for its tensors, costs more than copying a face.
    """

    def __init__(self, compiled: Any, widths: list[int]) -> None:
        self._tensor = import_without_telemetry("openvino").Tensor
        self._request = compiled.create_infer_request()
        self._input = np.empty((0, 0, 0, 0), np.uint8)
        self._widths = widths
        self._outputs: list[npt.NDArray[np.float32]] = []

    def start(self, batch: Batch) -> None:
        self._read(batch)
        self._request.start_async()

    def compute(self, batch: Batch) -> None:
        """Compute a batch in the thread that calls."""
        self._read(batch)
        self._request.infer(share_outputs=True)

    def _read(self, batch: Batch) -> None:
        if batch.shape != self._input.shape:
            self._input = np.empty(batch.shape, np.uint8)
            self._outputs = [np.empty((len(batch), width), np.float32) for width in self._widths]
            self._request.set_input_tensor(self._tensor(self._input, shared_memory=True))
            for i, output in enumerate(self._outputs):
                self._request.set_output_tensor(i, self._tensor(output, shared_memory=True))
        self._input[...] = batch

    def wait(self) -> Outputs:
        """Return copies: the buffers belong to the next caller."""
        self._request.wait()
        probabilities, embedding = self._outputs
        return probabilities.copy(), embedding.copy()
