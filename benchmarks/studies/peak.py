"""Arithmetic operations of a network, and the processor's peak rate."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from fer_edge.backends.openvino import ARITHMETIC, shared_core
from fer_edge.telemetry import import_without_telemetry
from fer_edge.training.deploy import DeployModule

_SIDE, _REPEATS = 2048, 12


def operations(module: DeployModule) -> int:
    """Count multiplications and additions of one face.

    torch's counter: convolutions and matrix products, including those of attention.
    """
    face = torch.zeros(1, module.size_px, module.size_px, 3, dtype=torch.uint8)
    # The counter knows only the plain form of attention.
    with torch.no_grad(), sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        module(face)
    return int(counter.get_total_flops())


def peak_per_s(precision: str) -> float:
    """Return operations per second of one large matrix product.

    Both matrices are 2,048 x 2,048.

    OpenVINO on this process's cores, best of twelve. int8 multiplies bytes and returns floats.
    """
    compiled = product(precision)
    request = compiled.create_infer_request()
    dtype = compiled.input(0).get_element_type().to_dtype()
    values = np.random.default_rng(0).integers(0, 256, (_SIDE, _SIDE)).astype(dtype)
    request.set_input_tensor(
        import_without_telemetry("openvino").Tensor(values, shared_memory=True)
    )
    seconds = []
    for _ in range(_REPEATS):
        began = time.perf_counter()
        request.infer()
        seconds.append(time.perf_counter() - began)
    return float(2 * _SIDE**3 / min(seconds))


def product(precision: str) -> Any:
    """Return the compiled model of the product."""
    openvino = import_without_telemetry("openvino")
    ops = openvino.opset13
    weight = ops.constant(np.random.default_rng(0).standard_normal((_SIDE, _SIDE), np.float32))
    if precision == "int8":
        inputs = ops.parameter([_SIDE, _SIDE], np.uint8)
        left = _eight_bits(ops.convert(inputs, "f32"), 0, 255, 256)
        weight = _eight_bits(weight, -4, 4, 255)
    else:
        inputs = left = ops.parameter([_SIDE, _SIDE], np.float32)
    model = openvino.Model([ops.matmul(left, weight, False, True)], [inputs])
    settings: dict[str, Any] = {
        "INFERENCE_PRECISION_HINT": ARITHMETIC[precision],
        "PERFORMANCE_HINT": "LATENCY",
    }
    return shared_core().compile_model(model, "CPU", settings)


def _eight_bits(value: Any, low: float, high: float, levels: int) -> Any:
    ops = import_without_telemetry("openvino").opset13
    ends = (ops.constant(np.float32(low)), ops.constant(np.float32(high)))
    return ops.fake_quantize(value, *ends, *ends, levels)
