"""Rewriting of a graph for an HTP, with the same answers: input, pooling, temperature."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

from fer_edge.converters.onnx_graph.export import INPUT, PROBABILITIES
from fer_edge.converters.onnx_graph.inspect import first_convolution
from fer_edge.converters.onnx_graph.prune import prune
from fer_edge.errors import ConversionError
from fer_edge.training.models.network import InputSpec

PIXELS, PLANES, NORMALISED, WEIGHT = "pixels", "planes", "normalised", "normalise_weight"
"""Names of the new input's tensors: pixels, planes, network input, weight. The weight is that of
the convolution between the planes and the network's input."""
_BIAS = "normalise_bias"
_BT_601 = np.array([0.114, 0.587, 0.299])
"""Shares of blue, green and red in grey (ITU-R BT.601)."""
_GREY_STEPS, _COLOUR_STEPS = range(100, 217), range(100, 128)
"""Possible sums of the weights of grey, and of one colour. A single weight has at most 127
steps."""
_MOST_OFF_BT_601 = 0.002
"""Largest error of a share; a grey pixel keeps its value exactly."""
_MOST_OFF_PX = 2
"""Levels (0..255) by which shares with this error, and rounded grey, can be off, rounded up."""


def network_input(model: onnx.ModelProto, spec: InputSpec) -> str:
    """Return the name of the normalised image, after which the network begins.

    A network may change the image before its first convolution, so the values of a random face
    tell the tensor.

    Raises:
        ConversionError: There is no convolution, or no tensor before the first has these values.
    """
    place = first_convolution(model)
    if place == len(model.graph.node):
        raise ConversionError("expected a convolution in the graph. Convert for another target")
    made_by = {name: node for node in model.graph.node for name in node.output}
    path: list[str] = []
    name: str = model.graph.node[place].input[0]
    while name in made_by:
        path.insert(0, name)
        name = made_by[name].input[0]
    face = np.random.default_rng(0).integers(0, 256, (1, spec.size_px, spec.size_px, 3), np.uint8)
    weight, bias = normalisation(spec)
    expected = np.einsum("nhwc,kc->nkhw", face.astype(np.float32), weight[:, :, 0, 0])
    expected += bias[:, None, None]
    most_off = _MOST_OFF_PX / (255 * np.array(spec.std)[:, None, None])
    for name, value in zip(path, _values(model, path, face), strict=True):
        if value.shape == expected.shape and (np.abs(value - expected) <= most_off).all():
            return name
    raise ConversionError(
        "expected the normalised image before the first convolution, found no such tensor. "
        "Convert for another target"
    )


def _values(
    model: onnx.ModelProto, names: list[str], face: npt.NDArray[np.uint8]
) -> list[npt.NDArray[np.float32]]:
    """Compute tensors before the first convolution for one face."""
    part = onnx.ModelProto()
    part.CopyFrom(model)
    del part.graph.output[:]
    part.graph.output.extend(
        helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in names
    )
    prune(part)
    try:
        return list(ReferenceEvaluator(part).run(names, {INPUT: face}))
    except Exception as error:  # it raises many kinds, none of them ours
        raise ConversionError(
            f"the operations before the first convolution cannot be computed: {error}. "
            "Convert for another target"
        ) from error


def with_pixel_input(model: onnx.ModelProto, spec: InputSpec) -> onnx.ModelProto:
    """Replace colour and normalisation by one convolution on the cast pixels.

    Raises:
        ConversionError: The graph has no convolution, or no normalised image before it.
    """
    graph = model.graph
    first = network_input(model, spec)
    weight, bias = normalisation(spec)
    for name, values in ((WEIGHT, weight), (_BIAS, bias)):
        graph.initializer.append(numpy_helper.from_array(values, name))
    for node in graph.node:
        for i, name in enumerate(node.input):
            if name == first:
                node.input[i] = NORMALISED
    before = [
        helper.make_node("Cast", [INPUT], [PIXELS], PIXELS, to=TensorProto.FLOAT),
        helper.make_node("Transpose", [PIXELS], [PLANES], PLANES, perm=[0, 3, 1, 2]),
        helper.make_node("Conv", [PLANES, WEIGHT, _BIAS], [NORMALISED], NORMALISED),
    ]
    nodes = [*before, *graph.node]
    del graph.node[:]
    graph.node.extend(nodes)
    prune(model)
    return model


def dequantise_pixels(model: onnx.ModelProto) -> None:
    """Dequantise the pixels instead of casting them: QNN 2.51 misreads uint8 cast to fp16."""
    graph = model.graph
    names = [f"{PIXELS}_scale", f"{PIXELS}_zero"]
    for name, value in zip(names, (np.float32(1), np.uint8(0)), strict=True):
        graph.initializer.append(numpy_helper.from_array(np.asarray(value), name))
    node = next(node for node in graph.node if PIXELS in node.output)
    node.CopyFrom(helper.make_node("DequantizeLinear", [INPUT, *names], [PIXELS], PIXELS))


def normalisation(spec: InputSpec) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """Return weight and bias of the convolution from BGR to the network's normalised channels."""
    mean, std = (255 * np.array(value, np.float32) for value in (spec.mean, spec.std))
    if spec.colour == "grey":
        grey = _grey_steps(float(mean[0]))
        mix = grey[None].astype(np.float32) / np.float32(grey.sum())
    else:
        mix = np.eye(3, dtype=np.float32)[:, ::-1]  # BGR to RGB
    weight = (mix / std[:, None])[:, :, None, None]
    return np.ascontiguousarray(weight, np.float32), (-mean / std).astype(np.float32)


def normalisation_scales(spec: InputSpec) -> npt.NDArray[np.float32]:
    """Return the scale of each channel's weights, float32 ``[C]``.

    The HTP rounds the bias to whole products of pixel and weight. Half a product moves every pixel
    between two steps of the network's input. With a mean of 0.5 and 217 steps of grey, level 128
    became level 127. So the number of steps is chosen for a bias that is nearly whole.
    """
    weight, _ = normalisation(spec)
    if spec.colour == "grey":
        most = [int(_grey_steps(255 * spec.mean[0]).max())]
    else:
        most = [min(_COLOUR_STEPS, key=lambda n: _from_whole(255 * m * n)) for m in spec.mean]
    return np.asarray(np.abs(weight).max((1, 2, 3)) / np.array(most), np.float32)


def _grey_steps(mean_px: float) -> npt.NDArray[np.int64]:
    """Return whole weights of blue, green and red for a mean in 0..255."""
    rounded = [np.rint(total * _BT_601).astype(np.int64) for total in _GREY_STEPS]
    near = [
        weights
        for weights in rounded
        if np.abs(weights / weights.sum() - _BT_601).max() <= _MOST_OFF_BT_601
    ]
    return min(near, key=lambda weights: _from_whole(mean_px * float(weights.sum())))


def _from_whole(number: float) -> float:
    """Return the distance to the nearest whole number, without the noise of floats."""
    return round(abs(number - round(number)), 3)


def pool_with_explicit_padding(model: onnx.ModelProto) -> None:
    """Write the padding that ``ceil_mode`` implies into each pooling.

    QNN 2.51 pools an odd side with ``ceil_mode`` wrongly, without an error.

    Raises:
        ConversionError: An average counts its own padding and not that of ``ceil_mode``.
    """
    inferred = onnx.shape_inference.infer_shapes(model, data_prop=True).graph
    shapes = {
        value.name: [each.dim_value for each in value.type.tensor_type.shape.dim]
        for value in inferred.value_info
    }
    for node in model.graph.node:
        facts = {a.name: helper.get_attribute_value(a) for a in node.attribute}
        if node.op_type not in ("AveragePool", "MaxPool") or not facts.get("ceil_mode"):
            continue
        sides = shapes.get(node.input[0], [])[2:]
        if not sides or not all(sides) or facts.get("auto_pad", b"NOTSET") != b"NOTSET":
            continue
        ones = [1] * len(sides)
        spread = facts.get("dilations", ones)
        reach = [(k - 1) * d + 1 for k, d in zip(facts["kernel_shape"], spread, strict=True)]
        before = list(facts.get("pads", [0] * 2 * len(sides)))
        after = before[: len(sides)]
        after += _ends(sides, reach, list(facts.get("strides", ones)), before)
        changed = {"ceil_mode", "pads"}
        if facts.get("count_include_pad") and after != before:
            if any(before):
                raise ConversionError(
                    f"the average pooling {node.name!r} counts its padding and has windows that "
                    "end beyond it, which an HTP cannot do. Convert for another target"
                )
            changed.add("count_include_pad")  # there is only the new padding, which never counts
        for attribute in [a for a in node.attribute if a.name in changed]:
            node.attribute.remove(attribute)
        node.attribute.append(helper.make_attribute("pads", after))


def _ends(sides: list[int], reach: list[int], strides: list[int], pads: list[int]) -> Iterator[int]:
    """Yield the padding after each side that makes the last window complete."""
    for i, side in enumerate(sides):
        before, after = pads[i], pads[i + len(sides)]
        count = -(-(side + before + after - reach[i]) // strides[i]) + 1
        if (count - 1) * strides[i] >= side + before:  # no window starts in the padding
            count -= 1
        yield max(after, (count - 1) * strides[i] + reach[i] - side - before)


def fold_temperature(model: onnx.ModelProto) -> tuple[tuple[str, ...], float]:
    """Divide the last layer's weights instead of its logits: one rounding less on the way.

    Returns:
        Names of the weights that changed, none if the graph has no such division, and the divisor.
    """
    graph = model.graph
    made_by = {name: node for node in graph.node for name in node.output}
    stored = {tensor.name: tensor for tensor in graph.initializer}
    softmax = made_by[PROBABILITIES]
    division = made_by.get(softmax.input[0])
    layer = None if division is None else made_by.get(division.input[0])
    if division is None or layer is None or (division.op_type, layer.op_type) != ("Div", "Gemm"):
        return (), 1.0
    divisor = stored.get(division.input[1])
    if divisor is None or np.prod(divisor.dims) != 1 or not set(layer.input[1:]) <= set(stored):
        return (), 1.0
    temperature = float(numpy_helper.to_array(divisor).reshape(()))
    for name in layer.input[1:]:
        values = numpy_helper.to_array(stored[name]) / np.float32(temperature)
        stored[name].CopyFrom(numpy_helper.from_array(values, name))
    softmax.input[0] = layer.output[0]
    prune(model)
    return tuple(layer.input[1:]), temperature


def tensor_names(model: onnx.ModelProto) -> set[str]:
    made = {name for node in model.graph.node for name in node.output}
    return made | {tensor.name for tensor in model.graph.initializer}
