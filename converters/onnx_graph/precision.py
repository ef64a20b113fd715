"""Graphs whose precision is written into them: a body in fp16, or explicit int8 Q/DQ.

TensorRT 11 compiles what the graph says and nothing else. Both forms keep the input side (colour,
normalisation) and the softmax in float32, take uint8 and give float32.
"""

from __future__ import annotations

import contextlib
import math
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper, shape_inference

from fer_edge.converters.base import QuantizationRecipe
from fer_edge.converters.onnx_graph.export import INPUT, PROBABILITIES
from fer_edge.errors import ConversionError

_FLOAT, _HALF = TensorProto.FLOAT, TensorProto.FLOAT16
_HALF_MAX = 65504.0
_ALWAYS_FLOAT = {"Resize": (1, 2)}
"""Inputs by position that ONNX wants in float32 whatever the data is."""
_AFTER_LOGITS = {"Softmax", "Div", "Mul"}


def folded(graph: bytes) -> bytes:
    """The graph with casts and batch norms folded into the weights, in float32: what is rounded
    next is then what an engine computes with.

    Raises ConversionError if onnxruntime cannot.
    """
    from onnxruntime.quantization.shape_inference import quant_pre_process

    with tempfile.TemporaryDirectory() as folder:
        given, result = Path(folder, "given.onnx"), Path(folder, "folded.onnx")
        given.write_bytes(graph)
        try:
            quant_pre_process(str(given), str(result), skip_symbolic_shape=True)
        except Exception as error:  # onnxruntime raises many kinds, none of them ours
            raise ConversionError(f"onnxruntime could not fold the graph: {error}") from error
        model = onnx.load(str(result))
    for entry in [entry for entry in model.opset_import if entry.domain]:
        model.opset_import.remove(entry)  # onnxruntime lists its own, used or not
    for node in [node for node in model.graph.node if node.op_type == "Constant"]:
        value = next(a.t for a in node.attribute if a.name == "value")
        value.name = node.output[0]
        model.graph.initializer.append(value)
        model.graph.node.remove(node)
    data: bytes = model.SerializeToString(deterministic=True)
    return data


_WEIGHTED = ("Conv", "Gemm", "MatMul")

RANGES = {"minmax": "MinMax", "percentile": "Percentile", "entropy": "Entropy"}
"""How activation ranges are estimated from the calibration faces: onnxruntime's names for them.
Extremes keep every value; a percentile (99.999) and the least relative entropy let go of outliers,
which in transformers are a hundred times the rest."""


_HELD_BYTES = 2 << 30


def quantised(
    graph: bytes, faces: npt.NDArray[np.uint8], recipe: QuantizationRecipe, **settings: Any
) -> bytes:
    """A folded graph in Q/DQ form, int8 per-channel weights, calibrated on faces.

    Products of two activations stay float: attention loses more by rounding than it gains, and with
    both sides rounded onnxruntime 1.31 turns the softmax between them into QLinearSoftmax, whose
    answers are noise (16 % of the decisions where 96 % agree without).

    faces: uint8 ``[N, S, S, 3]`` BGR. recipe: ``ranges``, one of RANGES, and ``keep_float``, how
    many of the layers that lose most by rounding stay as they are. settings: of onnxruntime's
    ``quantize_static``. Raises ConversionError if it cannot.
    """
    from onnxruntime.quantization import CalibrationMethod, QuantFormat, QuantType, quantize_static

    with tempfile.TemporaryDirectory() as folder:
        given, result = Path(folder, "folded.onnx"), Path(folder, "int8.onnx")
        given.write_bytes(graph)
        model = onnx.load_from_string(graph)
        spared = before_first_convolution(model) + products_of_activations(model)

        ranges = recipe.get("ranges", "minmax")
        # Extremes are taken in the graph; for histograms it holds all values until the end.
        operations = settings["op_types_to_quantize"]

        def run(exclude: list[str], held: npt.NDArray[np.uint8]) -> None:
            quantize_static(
                str(given),
                str(result),
                _Faces(held),
                quant_format=QuantFormat.QDQ,
                weight_type=QuantType.QInt8,
                per_channel=True,
                nodes_to_exclude=exclude,
                calibrate_method=CalibrationMethod[RANGES[ranges]],
                **settings,
            )

        try:
            # The quantiser prints, and standard output is for what was asked for.
            with contextlib.redirect_stdout(None):
                held = faces if ranges == "minmax" else few_enough(given, operations, faces)
                run(spared, held)
                if count := recipe.get("keep_float", 0):
                    run([*spared, *_worst_layers(given, result, faces)[:count]], held)
        except Exception as error:  # the quantiser raises many kinds, none of them ours
            raise ConversionError(f"onnxruntime could not quantise the graph: {error}") from error
        check_rounded(rounded_layers(onnx.load(str(result))))
        return result.read_bytes()


def few_enough(
    graph: Path, operations: Sequence[str], faces: npt.NDArray[np.uint8]
) -> npt.NDArray[np.uint8]:
    """As many of the faces, evenly taken, as 2 GiB hold of what these operations take and give:
    onnxruntime keeps those of every face until it makes their histograms (7 GB of 300 faces in
    MobileNetV2 at 128 px). One face is run to see how much it is: shapes are not all known before.
    """
    from onnxruntime.quantization import qdq_loss_debug as debug

    with_values = str(graph.with_name("values.onnx"))
    debug.modify_model_output_intermediate_tensors(str(graph), with_values, operations)
    values = debug.collect_activations(with_values, _Faces(faces[:1]))
    a_face = sum(array.nbytes for arrays in values.values() for array in arrays)
    return faces[:: math.ceil(len(faces) / max(_HELD_BYTES // max(a_face, 1), 1))]


def check_rounded(layers: int) -> None:
    """Raises ConversionError for a network without a layer in int8: its answers would be exact,
    and its name a lie."""
    if not layers:
        raise ConversionError("this recipe gives every layer back to float: nothing is int8")


def rounded_layers(model: onnx.ModelProto) -> int:
    """How many convolutions and matrix products of a Q/DQ graph work on rounded values."""
    rounded = {n.output[0] for n in model.graph.node if n.op_type == "DequantizeLinear"}
    return sum(
        node.op_type in _WEIGHTED and not rounded.isdisjoint(node.input)
        for node in model.graph.node
    )


def _worst_layers(given: Path, quantised: Path, faces: npt.NDArray[np.uint8]) -> list[str]:
    """Names of the quantised layers, those whose input loses most by its own rounding first.

    By the signal-to-noise ratio of each activation before and after its Q/DQ pair, on few faces,
    one after another: those of all at once took 18 GB of Swin-Base.
    """
    import onnxruntime

    model = onnx.load(str(quantised))
    weights = {weight.name for weight in model.graph.initializer}
    rounded = {n.input[0]: n.output[0] for n in model.graph.node if n.op_type == "DequantizeLinear"}
    pairs = {
        node.input[0]: rounded[node.output[0]]
        for node in model.graph.node
        if node.op_type == "QuantizeLinear" and node.input[0] not in weights
    }
    known = {value.name for value in model.graph.output}
    names = [name for pair in pairs.items() for name in pair]
    model.graph.output.extend(
        helper.make_tensor_value_info(name, _FLOAT, None) for name in names if name not in known
    )
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    signal, noise = dict.fromkeys(pairs, 0.0), dict.fromkeys(pairs, 1e-30)
    for face in _Faces(faces[:16]):
        values = dict(zip(names, session.run(names, dict(face)), strict=True))
        for before, after in pairs.items():
            signal[before] += float(np.square(values[before], dtype=np.float64).sum())
            lost = np.subtract(values[before], values[after], dtype=np.float64)
            noise[before] += float(np.square(lost).sum())
    # An output of the graph keeps its name behind the pair, everything else before it.
    ratio = {
        name: signal[before] / noise[before] for before, after in pairs.items()
        for name in (before, after)
    }  # fmt: skip
    layers = [
        (min(ratio[name] for name in node.input if name in ratio), node.name)
        for node in onnx.load(str(given)).graph.node
        if node.op_type in _WEIGHTED and any(name in ratio for name in node.input)
    ]
    return [name for _, name in sorted(layers)]


def symmetric_int8(graph: bytes, faces: npt.NDArray[np.uint8], recipe: QuantizationRecipe) -> bytes:
    """Q/DQ with zero points of 0 for weights and activations, the only kind TensorRT takes.

    Biases stay float (int32 ones are ONNX Runtime's own form), and so does what a layer gives:
    TensorRT rounds it as it writes it where the next layer wants it rounded, and else it need not
    be. Otherwise as ``quantised``.
    """
    from onnxruntime.quantization import QuantType

    return quantised(
        folded(graph),
        faces,
        recipe,
        activation_type=QuantType.QInt8,
        op_types_to_quantize=list(_WEIGHTED),
        extra_options={
            "ActivationSymmetric": True,
            "WeightSymmetric": True,
            "QuantizeBias": False,
            "OpTypesToExcludeOutputQuantization": list(_WEIGHTED),
        },
    )


def half_precision(graph: bytes) -> bytes:
    """The graph with everything from the first convolution to the logits in fp16.

    Raises ConversionError for a graph that has no convolution or whose types are not known.
    """
    model = onnx.load_from_string(folded(graph))
    nodes = list(model.graph.node)
    first = len(before_first_convolution(model))
    if first == len(nodes):
        raise ConversionError("expected a convolution to begin fp16 at, the graph has none")
    body = {id(node) for node in nodes[first:]} - _after_logits(nodes)
    work = _Retyping(model)
    for node in nodes:
        work.add(node, _HALF if id(node) in body else _FLOAT)
    del model.graph.node[:], model.graph.initializer[:], model.graph.value_info[:]
    model.graph.node.extend(work.nodes)
    model.graph.initializer.extend(work.weights.values())
    try:
        onnx.checker.check_model(model, full_check=True)
    except (onnx.checker.ValidationError, shape_inference.InferenceError) as error:
        raise ConversionError(f"the graph has no valid fp16 form: {error}") from error
    data: bytes = model.SerializeToString(deterministic=True)
    return data


def before_first_convolution(model: onnx.ModelProto) -> list[str]:
    """Names of the nodes that do colour and normalisation."""
    names = []
    for node in model.graph.node:
        if node.op_type == "Conv":
            break
        names.append(node.name)
    return names


def products_of_activations(model: onnx.ModelProto) -> list[str]:
    """Names of the matrix products without a weight. The quantiser's ``MatMulConstBOnly`` does not
    spare them in Q/DQ form."""
    weights = {weight.name for weight in model.graph.initializer}
    return [
        node.name
        for node in model.graph.node
        if node.op_type == "MatMul" and weights.isdisjoint(node.input)
    ]


def has_attention(graph: bytes) -> bool:
    """Whether the graph takes a softmax anywhere but at its end."""
    kinds = [node.op_type for node in onnx.load_from_string(graph).graph.node]
    return kinds.count("Softmax") > 1


def weighted_layers(graph: bytes) -> tuple[int, int]:
    """How many convolutions and matrix products there are, and how many of them are depthwise."""
    nodes = onnx.load_from_string(graph).graph.node
    groups = [a.i for n in nodes if n.op_type == "Conv" for a in n.attribute if a.name == "group"]
    return sum(n.op_type in _WEIGHTED for n in nodes), sum(count > 1 for count in groups)


def _after_logits(nodes: list[onnx.NodeProto]) -> set[int]:
    """Temperature and softmax: ids of the nodes up from the probabilities to the last product."""
    producer = {output: node for node in nodes for output in node.output}
    found, name = set(), PROBABILITIES
    while (node := producer.get(name)) is not None and node.op_type in _AFTER_LOGITS:
        found.add(id(node))
        name = node.input[0]
    return found


class _Retyping:
    """Rebuilds a graph node by node, with casts where a float changes its type."""

    def __init__(self, model: onnx.ModelProto) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.weights: dict[str, onnx.TensorProto] = {}
        self._outputs = {value.name for value in model.graph.output}
        self._given = {weight.name: weight for weight in model.graph.initializer}
        self._float = _float_names(model)
        self._now: dict[str, tuple[str, int]] = {}  # tensor: its name and type by now
        self._casts: dict[tuple[str, int], str] = {}

    def add(self, node: onnx.NodeProto, wanted: int) -> None:
        new = onnx.NodeProto()
        new.CopyFrom(node)
        for attribute in new.attribute:
            if node.op_type == "Cast" and attribute.name == "to" and attribute.i == _FLOAT:
                attribute.i = wanted
            if node.op_type == "ConstantOfShape" and attribute.t.data_type == _FLOAT:
                attribute.t.CopyFrom(_as_type(attribute.t, wanted))
        exempt = _ALWAYS_FLOAT.get(node.op_type, ())
        for i, name in enumerate(node.input):
            new.input[i] = self._as(name, _FLOAT if i in exempt else wanted)
        casts = []
        for i, name in enumerate(node.output):
            if name not in self._float:
                continue
            self._now[name] = (name, wanted)
            if name in self._outputs and wanted != _FLOAT:
                new.output[i] = f"{name}.half"
                self._now[name] = (new.output[i], wanted)
                casts.append(_cast(new.output[i], name, _FLOAT))
        self.nodes += [new, *casts]

    def _as(self, name: str, wanted: int) -> str:
        """The name under which a tensor is there in the wanted type; others keep theirs."""
        if name in self._given:
            weight = self._given[name]
            if name not in self._float or wanted == _FLOAT:
                self.weights[name] = weight
                return name
            half = f"{name}.half"
            self.weights[half] = _as_type(weight, wanted)
            self.weights[half].name = half
            return half
        if name not in self._float:
            return name
        now, kind = self._now[name]
        if kind == wanted:
            return now
        if (now, wanted) not in self._casts:
            self._casts[now, wanted] = f"{now}.{'float' if wanted == _FLOAT else 'half'}"
            self.nodes.append(_cast(now, self._casts[now, wanted], wanted))
        return self._casts[now, wanted]


def _cast(name: str, result: str, to: int) -> onnx.NodeProto:
    return helper.make_node("Cast", [name], [result], f"{result}.cast", to=to)


def _as_type(tensor: onnx.TensorProto, to: int) -> onnx.TensorProto:
    values = numpy_helper.to_array(tensor)
    if to == _HALF:  # masks hold the lowest float32, which would become an infinity
        values = np.clip(values, -_HALF_MAX, _HALF_MAX).astype(np.float16)
    return numpy_helper.from_array(values, tensor.name)


def _float_names(model: onnx.ModelProto) -> set[str]:
    """Names of all float32 tensors. Raises ConversionError where one's type is not known."""
    kinds = {weight.name: weight.data_type for weight in model.graph.initializer}
    graph = shape_inference.infer_shapes(model, strict_mode=True, data_prop=True).graph
    for value in (*graph.input, *graph.value_info, *graph.output):
        kinds[value.name] = value.type.tensor_type.elem_type
    unknown = {name for node in graph.node for name in node.output if name} - set(kinds)
    if unknown:
        raise ConversionError(f"the types of {', '.join(sorted(unknown))} are not known")
    return {name for name, kind in kinds.items() if kind == _FLOAT}


class _Faces:
    """onnxruntime's CalibrationDataReader: one face at a time."""

    def __init__(self, faces: npt.NDArray[np.uint8]) -> None:
        self._faces = iter([{INPUT: face} for face in faces[:, None]])

    def __iter__(self) -> Iterator[Mapping[str, Any]]:
        return self._faces

    def get_next(self) -> Mapping[str, Any] | None:
        return next(self._faces, None)
