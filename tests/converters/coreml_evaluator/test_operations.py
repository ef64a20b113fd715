"""Operations of the Core ML evaluator against torch, through coremltools and a saved file.

One module holds a case per operation, each with its own output, so that one conversion serves all:
that coremltools chose the operation, stored its parameters and that the evaluator reads and
computes them as torch does is then proven together.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fer_edge.converters.coreml_evaluator.operations import OPERATIONS
from fer_edge.converters.coreml_evaluator.program import Program


@functools.cache
def weights(*shape: int) -> Tensor:
    """Always the same ones. Made before the export, which cannot carry a generator."""
    return torch.randn(shape, generator=torch.Generator().manual_seed(sum(shape)))


class Norms(nn.Module):
    """A batch norm on its own, so that no convolution swallows it."""

    def __init__(self) -> None:
        super().__init__()
        self.batch = nn.BatchNorm2d(3)
        self.batch.running_mean.copy_(weights(3))
        self.batch.running_var.copy_(weights(3).square() + 0.5)

    def forward(self, x: Tensor) -> Tensor:
        return self.batch(x.tanh())


# case: (operation that it has to become, what torch computes from x [1, 3, 8, 8] around 0)
CASES: dict[str, tuple[str, Callable[[Tensor], Tensor]]] = {
    "add": ("add", lambda x: x + weights(3, 1, 1)),
    "sub": ("sub", lambda x: x.exp() - x.square()),
    "mul": ("mul", lambda x: x * x.sigmoid()[:, :, :1]),
    "real_div": ("real_div", lambda x: x / (2 + x.tanh())),
    "pow": ("pow", lambda x: x.abs() ** 1.5),
    "maximum": ("maximum", lambda x: torch.maximum(x, x.flip(3))),
    "minimum": ("minimum", lambda x: torch.minimum(x, x.flip(3))),
    "abs": ("abs", lambda x: x.abs()),
    "sqrt": ("sqrt", lambda x: (x.abs() + 0.1).sqrt()),
    "rsqrt": ("rsqrt", lambda x: (x.abs() + 0.1).rsqrt()),
    "exp": ("exp", lambda x: x.exp()),
    "log": ("log", lambda x: (x.abs() + 0.5).log()),
    "erf": ("erf", lambda x: x.erf()),
    "clip": ("clip", lambda x: x.clamp(-0.5, 0.7)),
    "round": ("round", lambda x: (3 * x).round()),
    "conv": ("conv", lambda x: F.conv2d(x, weights(5, 3, 3, 3), weights(5), padding=1)),
    "conv strided": ("conv", lambda x: F.conv2d(x, weights(4, 3, 3, 3), stride=(2, 1))),
    "conv dilated": ("conv", lambda x: F.conv2d(x, weights(4, 3, 3, 3), dilation=2, padding=2)),
    "conv depthwise": ("conv", lambda x: F.conv2d(x, weights(6, 1, 3, 3), weights(6), groups=3)),
    "conv of a row": ("conv", lambda x: F.conv1d(x[:, :, 0], weights(4, 3, 3), padding=1)),
    "avg_pool of a row": ("avg_pool", lambda x: F.avg_pool1d(x[:, 0], 3, 2, 1)),
    "max_pool of a row": ("max_pool", lambda x: F.max_pool1d(x[:, 0], 3, 2, 1)),
    "linear": ("linear", lambda x: F.linear(x, weights(5, 8), weights(5))),
    "matmul": ("matmul", lambda x: x @ x.tanh()),
    "matmul transposed": ("matmul", lambda x: x[..., :5] @ x.tanh()[..., :5].mT),
    "avg_pool": ("avg_pool", lambda x: F.avg_pool2d(x, 2)),
    "avg_pool padded": ("avg_pool", lambda x: F.avg_pool2d(x, 3, 2, 1)),
    "avg_pool bare": ("avg_pool", lambda x: F.avg_pool2d(x, 3, 2, 1, count_include_pad=False)),
    "avg_pool ceil": ("avg_pool", lambda x: F.avg_pool2d(x, 3, 2, 1, True, False)),
    "max_pool ceil": ("max_pool", lambda x: F.max_pool2d(x, 3, 2, ceil_mode=True)),
    "max_pool": ("max_pool", lambda x: F.max_pool2d(x, 3, 2, 1)),
    "batch_norm": ("batch_norm", Norms().eval()),
    "layer_norm": ("layer_norm", lambda x: F.layer_norm(x, (8,), weights(8), weights(8), 1e-6)),
    "layer_norm planes": ("layer_norm", lambda x: F.layer_norm(x, (3, 8, 8), eps=1e-3)),
    "reduce_mean": ("reduce_mean", lambda x: x.mean((2, 3))),
    "reduce_sum": ("reduce_sum", lambda x: x.sum(1, keepdim=True)),
    "reduce_max": ("reduce_max", lambda x: x.amax(-1)),
    "normalize": ("reduce_l2_norm", lambda x: F.normalize(x)),
    "relu": ("relu", lambda x: x.relu()),
    "relu6": ("relu6", lambda x: F.relu6(5 * x)),
    "leaky_relu": ("leaky_relu", lambda x: F.leaky_relu(x, 0.2)),
    "prelu": ("prelu", lambda x: F.prelu(x, weights(3))),
    "elu": ("elu", lambda x: F.elu(x, 0.7)),
    "selu": ("elu", F.selu),
    "selu in place": ("elu", lambda x: F.selu(x * 1, inplace=True)),
    "celu": ("elu", lambda x: F.celu(x, 0.7)),
    "celu in place": ("elu", lambda x: F.celu(x * 1, 0.7, inplace=True)),
    "softplus": ("softplus", lambda x: F.softplus(9 * x)),
    "mish": ("softplus", F.mish),
    "softplus with beta": ("softplus_parametric", lambda x: F.softplus(x, 2.5)),
    "sigmoid": ("sigmoid", lambda x: x.sigmoid()),
    "sigmoid_hard": ("sigmoid_hard", lambda x: F.hardsigmoid(3 * x)),
    "hard swish": ("thresholded_relu", lambda x: F.hardswish(3 * x)),
    "silu": ("silu", F.silu),
    "gelu": ("gelu", F.gelu),
    "gelu tanh": ("gelu", lambda x: F.gelu(x, approximate="tanh")),
    "tanh": ("tanh", lambda x: x.tanh()),
    "softmax": ("softmax", lambda x: x.softmax(1)),
    "reshape": ("reshape", lambda x: x.reshape(1, 6, 32)),
    "transpose": ("transpose", lambda x: x.permute(0, 2, 1, 3) * 1),
    "expand_dims": ("expand_dims", lambda x: x[:, 1:2].unsqueeze(2) + weights(3, 1, 1, 1)),
    "squeeze": ("squeeze", lambda x: x.mean(1, keepdim=True).squeeze(1)),
    "concat": ("concat", lambda x: torch.cat((x, x.tanh()), 2)),
    "split": ("split", lambda x: torch.mul(*x.chunk(2, 3))),
    "split uneven": ("split", lambda x: x.split((3, 5), 2)[1].exp()),
    "stack": ("stack", lambda x: torch.stack((x, x.relu()), 1)),
    "slice": ("slice_by_index", lambda x: x[:, :, 1:7:2, -3:] * 1),
    "select": ("slice_by_index", lambda x: x[:, 1] * 1),
    "gather": ("gather", lambda x: x.index_select(2, torch.tensor([5, 0, 5, 2]))),
    "pad": ("pad", lambda x: F.pad(x, (1, 2, 0, 3), value=0.5)),
    "pad reflect": ("pad", lambda x: F.pad(x, (1, 2, 3, 0), mode="reflect")),
    "tile": ("tile", lambda x: x.repeat(1, 2, 1, 3)),
    "reverse": ("reverse", lambda x: x.flip(2)),
    "roll": ("concat", lambda x: x.roll((2, -3), (2, 3))),
}


class AllCases(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.norms = CASES["batch_norm"][1]  # registered, so that its buffers are exported
        self(torch.zeros(1, 3, 8, 8))  # makes the weights

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        x = (images - 127.5) / 80
        return tuple(compute(x) for _, compute in CASES.values())


@pytest.fixture(scope="module")
def cases(save: Callable[..., Any]) -> Any:
    return save(AllCases(), len(CASES))


@pytest.fixture(scope="module")
def results(cases: Any, face: Any) -> dict[str, Tensor]:
    program = Program(cases.model, cases.weights)
    found = dict(zip(program.outputs, program(face), strict=True))
    return {name: found[f"result{i}"] for i, name in enumerate(CASES)}


@pytest.fixture(scope="module")
def expected(face: Any) -> dict[str, Tensor]:
    picture = torch.from_numpy(face[..., ::-1].copy()).permute(2, 0, 1)[None].float()
    with torch.inference_mode():
        return dict(zip(CASES, AllCases().eval()(picture), strict=True))


@pytest.fixture(scope="module")
def kinds(cases: Any) -> set[str]:
    return {operation.kind for operation in Program(cases.model, cases.weights).operations}


@pytest.mark.parametrize("name", CASES)
def test_an_operation_computes_what_torch_does(
    name: str, results: dict[str, Tensor], expected: dict[str, Tensor], kinds: set[str]
) -> None:
    assert CASES[name][0] in kinds, sorted(kinds)
    torch.testing.assert_close(results[name], expected[name], rtol=1e-5, atol=1e-5)


# --- what coremltools does not write here, straight against torch --------------------------------

X = weights(2, 3, 8, 8)


def in_steps(x: Tensor, scale: float, zero: int, low: int, high: int) -> Tensor:
    return (torch.fake_quantize_per_tensor_affine(x, scale, zero, low, high) / scale + zero).round()


BITS = torch.tensor([0b11_01_00_10, 0b00000011], dtype=torch.uint8)

STRAIGHT: dict[str, tuple[str, dict[str, Any], Any]] = {
    "inverse": ("inverse", {"x": X.abs() + 1}, 1 / (X.abs() + 1 + 1e-4)),
    "square": ("square", {"x": X}, X * X),
    "softsign": ("softsign", {"x": X}, X / (1 + X.abs())),
    "identity": ("identity", {"x": X}, X),
    "gelu sigmoid": (
        "gelu",
        {"x": X, "mode": "SIGMOID_APPROXIMATION"},
        X * torch.sigmoid(1.702 * X),
    ),
    "cast to fp16": ("cast", {"x": X, "dtype": "fp16"}, X.half().float()),
    "cast to int32": ("cast", {"x": X, "dtype": "int32"}, X.trunc().to(torch.int32)),
    "cast to bool": ("cast", {"x": X.relu(), "dtype": "bool"}, X > 0),
    "conv same": (
        "conv",
        {"x": X, "weight": weights(4, 3, 3, 3), "pad_type": "same"},
        F.conv2d(X, weights(4, 3, 3, 3), padding="same"),
    ),
    "conv same strided": (
        "conv",
        {
            "x": X,
            "weight": weights(4, 3, 3, 3),
            "pad_type": "same",
            "strides": torch.tensor([2, 2]),
        },
        F.conv2d(F.pad(X, (0, 1, 0, 1)), weights(4, 3, 3, 3), stride=2),
    ),
    "conv same lower": (
        "conv",
        {
            "x": X,
            "weight": weights(4, 3, 3, 3),
            "pad_type": "same_lower",
            "strides": torch.tensor([2, 2]),
        },
        F.conv2d(F.pad(X, (1, 0, 1, 0)), weights(4, 3, 3, 3), stride=2),
    ),
    "quantize": (
        "quantize",
        {"input": X, "scale": torch.tensor(0.02), "output_dtype": "int8"},
        in_steps(X, 0.02, 0, -128, 127).to(torch.int8),
    ),
    "quantize with zero point": (
        "quantize",
        {
            "input": X,
            "scale": torch.tensor(0.02),
            "output_dtype": "uint8",
            "zero_point": torch.tensor(40, dtype=torch.uint8),
        },
        in_steps(X, 0.02, 40, 0, 255).to(torch.uint8),
    ),
    "dequantize per channel": (
        "dequantize",
        {
            "input": torch.tensor([[1, -2], [3, 127]], dtype=torch.int8),
            "scale": torch.tensor([0.5, 2.0]),
            "axis": torch.tensor(0),
            "zero_point": torch.tensor([1, -1], dtype=torch.int8),
        },
        torch.tensor([[0.0, -1.5], [8.0, 256.0]]),
    ),
    "constexpr_affine_dequantize": (
        "constexpr_affine_dequantize",
        {
            "quantized_data": torch.tensor([[1, -2], [3, 127]], dtype=torch.int8),
            "zero_point": torch.tensor(0, dtype=torch.int8),
            "scale": torch.tensor([0.5, 2.0]),
            "axis": torch.tensor(1),
        },
        torch.tensor([[0.5, -4.0], [1.5, 254.0]]),
    ),
    # MIL's own example: two bits an index, the least significant first.
    "constexpr_lut_to_dense": (
        "constexpr_lut_to_dense",
        {"indices": BITS, "lut": torch.tensor([1.0, 2.0, 3.0, 4.0]), "shape": torch.tensor([5])},
        torch.tensor([3.0, 1.0, 2.0, 4.0, 4.0]),
    ),
    "constexpr_cast": (
        "constexpr_cast",
        {"source_val": X.half().float(), "output_dtype": "fp32"},
        X.half().float(),
    ),
    "classify": (
        "classify",
        {"probabilities": torch.tensor([[0.25, 0.75]]), "classes": ["fear", "anger"]},
        ("anger", {"fear": 0.25, "anger": 0.75}),
    ),
}


@pytest.mark.parametrize("name", STRAIGHT)
def test_an_operation_computes_what_its_definition_says(name: str) -> None:
    kind, inputs, expected = STRAIGHT[name]
    found = OPERATIONS[kind](**inputs)
    if isinstance(expected, Tensor):
        torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-6)
    else:
        assert found == expected


def test_no_operation_is_in_the_table_without_a_test() -> None:
    tested = {kind for kind, _ in CASES.values()} | {kind for kind, *_ in STRAIGHT.values()}
    assert set(OPERATIONS) == tested
