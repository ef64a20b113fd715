"""Saved programs are run as declared, and damaged ones are refused."""

from __future__ import annotations

import gc
import math
import weakref
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fer_edge.backends.coreml import coremltools
from fer_edge.converters.coreml_evaluator.program import Program
from fer_edge.errors import ConversionError


class Layers(nn.Module):
    """Three results of a face; the convolution's weights are in weight.bin."""

    def __init__(self, weights: Callable[..., Tensor]) -> None:
        super().__init__()
        self.kernel = nn.Buffer(weights(16, 3, 3, 3))
        self.shift = nn.Buffer(weights(3, 1, 1))

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        x = (images - 127.5) / 80
        return x + self.shift, F.silu(F.conv2d(x, self.kernel, padding=1)), x.relu()


@pytest.fixture(scope="module")
def package(save: Callable[..., Any], weights: Callable[..., Tensor]) -> Any:
    return save(Layers(weights), 3)


# --- half precision ------------------------------------------------------------------------------


class Sums(nn.Module):
    """In half precision 2048 + 1 is 2048, and 300 squared is beyond the largest number."""

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        x = images * 0
        return (x + 2048) + 1, (x + 300).square() * 1.5


def test_every_fp16_result_is_rounded_to_half_precision(
    save: Callable[..., Any], face: Any
) -> None:
    package = save(Sums(), 2, half=True)
    seen: dict[str, Tensor] = {}
    one, infinite = Program(package.model, package.weights)(face, seen.__setitem__)
    assert "face" in seen
    for value in seen.values():
        assert torch.equal(value, value.half().float())
    assert set(one.unique().tolist()) == {2048.0}
    assert set(infinite.unique().tolist()) == {math.inf}


# --- files that are not what they should be ------------------------------------------------------


def changed(package: Any, change: Callable[[Any, Any], None]) -> Any:
    """The package with something done to its description and its operations."""
    spec = package.spec
    function = spec.mlProgram.functions["main"]
    change(spec, function.block_specializations[function.opset].operations)
    return replace(package, model=spec.SerializeToString())


def first(operations: Any, kind: str) -> Any:
    return next(operation for operation in operations if operation.type == kind)


def test_an_unknown_operation_is_refused_by_name(package: Any) -> None:
    def rename(spec: Any, operations: Any) -> None:
        first(operations, "silu").type = "swoosh"

    damaged = changed(package, rename)
    with pytest.raises(ConversionError, match=r"does not know the operation 'swoosh'.*its test"):
        Program(damaged.model, damaged.weights)


def test_an_unknown_parameter_is_refused(package: Any, face: Any) -> None:
    def add(spec: Any, operations: Any) -> None:
        operation = first(operations, "silu")
        operation.inputs["wobble"].CopyFrom(operation.inputs["x"])

    damaged = changed(package, add)
    with pytest.raises(ConversionError, match=r"'silu'.*wobble"):
        Program(damaged.model, damaged.weights)(face)


def test_a_result_of_another_shape_than_declared_is_refused(package: Any, face: Any) -> None:
    def widen(spec: Any, operations: Any) -> None:
        output = first(operations, "relu").outputs[0]
        output.type.tensorType.dimensions[3].constant.size = 9

    damaged = changed(package, widen)
    with pytest.raises(ConversionError, match=r"\[1, 3, 8, 9\] as the .* gives \[1, 3, 8, 8\]"):
        Program(damaged.model, damaged.weights)(face)


def test_a_picture_of_another_size_is_refused(package: Any, face: Any) -> None:
    with pytest.raises(ConversionError, match=r"face to be \[1, 3, 8, 8\].*\[1, 3, 9, 8\]"):
        Program(package.model, package.weights)(np.zeros((9, 8, 3), np.uint8))


def test_nothing_that_a_face_made_outlives_its_answer(package: Any, face: Any) -> None:
    """A cycle would keep it until the collector comes by: a large network once took 21 GB."""
    program = Program(package.model, package.weights)
    made: list[weakref.ref[Tensor]] = []
    gc.collect()
    gc.disable()
    try:
        program(face, observe=lambda _, result: made.append(weakref.ref(result)))
        alive = sum(tensor() is not None for tensor in made)
    finally:
        gc.enable()
    assert len(made) > 3
    assert alive == 0


def test_the_order_of_the_colours_is_the_packages(package: Any, face: Any) -> None:
    def blue_first(spec: Any, operations: Any) -> None:
        image = spec.description.input[0].type.imageType
        image.colorSpace = coremltools().proto.FeatureTypes_pb2.ImageFeatureType.BGR

    damaged = changed(package, blue_first)
    program = Program(damaged.model, damaged.weights)
    again = dict(zip(program.outputs, program(face[..., ::-1].copy()), strict=True))
    expected = Program(package.model, package.weights)(face)[program.outputs.index("result0")]
    assert torch.equal(again["result0"], expected)
    assert not torch.equal(program(face)[program.outputs.index("result0")], expected)


def test_a_grey_picture_is_not_what_bundles_hold(package: Any) -> None:
    def grey(spec: Any, operations: Any) -> None:
        image = spec.description.input[0].type.imageType
        image.colorSpace = coremltools().proto.FeatureTypes_pb2.ImageFeatureType.GRAYSCALE

    damaged = changed(package, grey)
    with pytest.raises(ConversionError, match="BGR or RGB"):
        Program(damaged.model, damaged.weights)


@pytest.mark.parametrize("length", [0, 100, 1000])
def test_a_weight_file_that_is_too_short_is_refused(package: Any, length: int) -> None:
    with pytest.raises(ConversionError, match=r"weight\.bin"):
        Program(package.model, package.weights[:length])


def test_bytes_that_are_no_model_are_refused(package: Any) -> None:
    with pytest.raises(ConversionError, match="not a Core ML model"):
        Program(b"\xff" * 64, package.weights)
