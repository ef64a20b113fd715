"""Range of an HTP's logits: no face may exceed it, whatever faces calibrated."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx

Overrides = dict[str, list[dict[str, Any]]]
"""Quantisation of tensors by name, in the form of onnxruntime's ``TensorQuantOverrides``."""

_STEPS = 128
"""Steps of a tensor with own scales from 0 to its end, at most."""
_MEANS = ("ReduceMean", "GlobalAveragePool", "AveragePool", "Squeeze", "Reshape", "Flatten")


def largest_logit(
    layer: onnx.NodeProto,
    weights: Mapping[str, npt.NDArray[Any]],
    made_by: Mapping[str, onnx.NodeProto],
    overrides: Overrides,
) -> float | None:
    """Return the largest logit that the scales allow; None if calibration has to tell.

    A range that was seen on calibration faces clips the logits of surer ones. Sixteen bits have
    room for all.

    Args:
        layer: Last layer, a Gemm.
        weights: Values of the graph's constants.
        made_by: Node that makes each tensor.
        overrides: Own scales of the network.
    """
    scale = _scale_of(layer.input[0], made_by, overrides)
    weight = weights.get(layer.input[1])
    if weight is None or scale is None:
        return None
    bias = weights.get(layer.input[2]) if len(layer.input) > 2 else None
    sums = np.abs(weight).sum(1) * scale * _STEPS + (0.0 if bias is None else np.abs(bias))
    return float(sums.max())


def _scale_of(
    name: str, made_by: Mapping[str, onnx.NodeProto], overrides: Overrides
) -> float | None:
    """Return the scale of a tensor.

    A mean without a scale has that of its input, whose range contains it.
    """
    while "scale" not in (overrides.get(name) or [{}])[0]:
        node = made_by.get(name)
        if node is None or node.op_type not in _MEANS:
            return None
        name = node.input[0]
    return float(overrides[name][0]["scale"])
