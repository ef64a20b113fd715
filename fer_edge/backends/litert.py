"""LiteRT, the successor of TensorFlow Lite, on Arm and x86 CPUs through XNNPACK."""

from __future__ import annotations

import platform
import sys
from collections import deque
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from fer_edge.backends.base import Batch, Options, Outputs, TargetFacts
from fer_edge.backends.cpu_parts import run_in_parts
from fer_edge.bundle import Variant
from fer_edge.cores import usable_cores
from fer_edge.errors import EngineError
from fer_edge.execution import Execution, Operation
from fer_edge.telemetry import engine_problem, import_without_telemetry

FACTS = TargetFacts(
    chips="Arm and x86 CPUs, Android",
    precisions=("fp32", "fp16", "int8"),
    quantised=("int8",),
    extra="litert",
    libraries=("ai-edge-litert",),
    modules=("ai_edge_litert",),
)

_INTERPRETER = "ai_edge_litert.interpreter"
_ENGINE = "ai_edge_litert"


def preflight(variant: Variant, options: Options) -> str | None:
    if problem := engine_problem(_ENGINE, FACTS.extra):
        return problem
    if (options.device or "cpu") != "cpu":
        return f"this backend runs on device 'cpu', not {options.device!r}. Leave the device out"
    if variant.precision == "fp16" and not has_fp16():
        return "XNNPACK computes in fp16 on Arm CPUs with FEAT_FP16, and this CPU is none"
    return None


def has_fp16() -> bool:
    """Report whether XNNPACK computes in fp16 on this CPU without being forced to."""
    if platform.machine() not in ("aarch64", "arm64"):
        return False
    if sys.platform == "darwin":  # every Mac with an Arm CPU
        return True
    try:
        return "asimdhp" in Path("/proc/cpuinfo").read_text()
    except OSError:
        return False


def load(variant: Variant, files: Mapping[str, bytes], options: Options) -> LiteRtSession:
    return LiteRtSession(files[variant.entry], options, variant.needs.get("faces") == 1)


def executed(
    variant: Variant, files: Mapping[str, bytes], options: Options, size_px: int
) -> Execution:
    """Ask LiteRT which operations its delegate took, and measure the arithmetic of float layers."""
    session = load(variant, files, options)
    try:
        operations, delegated = session.operations()
        half = variant.precision == "fp16" and _computes_in_half(session, files[variant.entry])
    finally:
        session.close()
    placed = [_operation(each, half) for each in operations]
    left = [each["op_name"] for each in operations if each["index"] not in delegated]
    taken = "fully accelerated"
    if left:
        names = ", ".join(sorted(set(left)))
        taken = f"{len(delegated)} of {len(operations)} operations, not {names}"
    engine = f"LiteRT {version('ai-edge-litert')} (XNNPACK: {taken})"
    return Execution.of(engine, "CPU", placed)


_LAYERS = ("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED", "BATCH_MATMUL", "TRANSPOSE_CONV")
_PRECISIONS = {"float32": "fp32", "float16": "fp16", "int8": "int8"}
"""Our names of LiteRT's types."""
_HALF_STEP = 1e-5
"""Largest difference of embeddings, relative to their largest value, within fp32 arithmetic."""


def _operation(details: Mapping[str, Any], half: bool) -> Operation:
    types = [np.dtype(kind).name for kind in details["operand_types"]]
    precision = _PRECISIONS.get(types[0], types[0]) if types else "nothing"
    kind = str(details["op_name"])
    if precision == "fp32" and kind in _LAYERS and "int8" in types:
        precision = "int8"  # it rounds its input by the range of the moment
    elif half and precision == "fp32":
        precision = "fp16"
    return Operation(kind, "CPU", precision, kind in _LAYERS)


def _computes_in_half(session: LiteRtSession, model: bytes) -> bool:
    """Compare answers to noise with those of LiteRT's own kernels, which compute in fp32."""
    noise = np.random.default_rng(0).integers(0, 256, session.face_shape, np.uint8)
    plain = LiteRtSession(model, Options(threads=1), one_by_one=True, delegate=False)
    try:
        ours, theirs = session.run(noise)[1], plain.run(noise)[1]
    finally:
        plain.close()
    return bool(np.abs(ours - theirs).max() > _HALF_STEP * max(1.0, float(np.abs(theirs).max())))


class LiteRtSession:
    """Session with a pool of interpreters, so that threads never share tensors.

    Args:
        model: Content of a .tflite file.
        options: How to use the machine.
        one_by_one: Run a batch face by face, for graphs that cannot be resized.
        delegate: Let XNNPACK run what it can; False runs LiteRT's own kernels.
    """

    def __init__(
        self, model: bytes, options: Options, one_by_one: bool, delegate: bool = True
    ) -> None:
        self._model, self._one_by_one, self._delegate = model, one_by_one, delegate
        self._threads = options.threads or usable_cores()
        self._idle: deque[_Graph] = deque()
        self._closed = False
        graph = self._graph()
        graph.check()
        self.face_shape: tuple[int, ...] = (1, *graph.shape[1:])
        self._idle.append(graph)

    def run(self, batch: Batch) -> Outputs:
        if batch.shape[1:] != self.face_shape[1:]:  # LiteRT 2.1 resizes its graph to any size
            raise EngineError(
                f"LiteRT failed on a batch {batch.shape}: expected {self.face_shape[1:]} a face"
            )
        try:
            graph = self._idle.pop()
        except IndexError:
            graph = self._graph()
        try:
            outputs = self._answers(graph, batch)
        except (RuntimeError, ValueError) as error:  # the graph does not return to the pool
            raise EngineError(f"LiteRT failed on a batch {batch.shape}: {error}") from error
        if not self._closed:
            self._idle.append(graph)
        return outputs

    def _answers(self, graph: _Graph, batch: Batch) -> Outputs:
        if not self._one_by_one:
            return run_in_parts(graph.run, batch, self._threads)
        answers = [graph.run(batch[i : i + 1]) for i in range(len(batch))]
        probabilities, embedding = zip(*answers, strict=True)
        return np.concatenate(probabilities), np.concatenate(embedding)

    def operations(self) -> tuple[list[dict[str, Any]], set[int]]:
        """Return the details of each operation, and the numbers of those that XNNPACK runs."""
        return self._graph().operations()

    def close(self) -> None:
        self._closed = True
        self._idle.clear()

    def _graph(self) -> _Graph:
        if self._closed:
            raise EngineError("this session was closed")
        return _Graph(self._model, self._threads, self._delegate)


class _Graph:
    """Interpreter of one thread."""

    def __init__(self, model: bytes, threads: int, delegate: bool) -> None:
        library = import_without_telemetry(_INTERPRETER)
        kinds = library.OpResolverType
        try:
            self._engine = library.Interpreter(
                model_content=model,
                num_threads=threads,
                experimental_op_resolver_type=kinds.AUTO
                if delegate
                else kinds.BUILTIN_WITHOUT_DEFAULT_DELEGATES,
            )
            self._engine.allocate_tensors()
            self._inputs = self._engine.get_input_details()
            self._outputs = self._engine.get_output_details()
        except (RuntimeError, ValueError) as error:
            raise EngineError(f"LiteRT cannot load this model: {error}") from error

    def check(self) -> None:
        """Refuse a model that does not take pictures or give two outputs."""
        inputs = [(one["dtype"], len(one["shape"])) for one in self._inputs]
        outputs = [(one["dtype"], len(one["shape"])) for one in self._outputs]
        if inputs != [(np.uint8, 4)] or outputs != [(np.float32, 2)] * 2:
            raise EngineError(
                "expected a model of uint8 pictures [N, S, S, 3] with probabilities and embedding, "
                f"got {_shown(self._inputs)} and {_shown(self._outputs)}. Convert it with "
                "fer-edge convert"
            )
        self.shape = tuple(int(side) for side in self._inputs[0]["shape"])

    def run(self, batch: Batch) -> Outputs:
        index = self._inputs[0]["index"]
        if tuple(self._inputs[0]["shape"]) != batch.shape:
            self._engine.resize_tensor_input(index, batch.shape)
            self._engine.allocate_tensors()
            self._inputs = self._engine.get_input_details()
        self._engine.set_tensor(index, batch)
        self._engine.invoke()
        probabilities, embedding = (self._engine.get_tensor(o["index"]) for o in self._outputs)
        return probabilities, embedding

    def operations(self) -> tuple[list[dict[str, Any]], set[int]]:
        everything = self._engine._get_ops_details()
        operations = [one for one in everything if one["op_name"] != "DELEGATE"]
        makers = {int(tensor): one for one in operations for tensor in one["outputs"]}
        delegated: set[int] = set()
        for part in (one for one in everything if one["op_name"] == "DELEGATE"):
            inputs = {int(tensor) for tensor in part["inputs"]}
            reached = [int(tensor) for tensor in part["outputs"]]
            while reached:
                tensor = reached.pop()
                maker = makers.get(tensor)
                if maker is None or tensor in inputs or maker["index"] in delegated:
                    continue
                delegated.add(maker["index"])
                reached += [int(one) for one in maker["inputs"]]
        return operations, delegated


def _shown(tensors: list[dict[str, Any]]) -> str:
    each = (f"{np.dtype(one['dtype']).name} {list(map(int, one['shape']))}" for one in tensors)
    return ", ".join(each) or "nothing"
