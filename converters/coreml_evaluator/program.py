"""Evaluator of saved Core ML programs, which verifies them without a Mac.

It reads only the bytes that are shipped: operations and small constants from ``model.mlmodel``,
weights from ``weight.bin``, which this module parses instead of the library that wrote it. Floats
are torch float32, rounded to half precision for each result that the program declares as fp16; sums
inside one operation are in fp32.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from fer_edge.backends.base import Batch, Outputs
from fer_edge.backends.coreml import EMBEDDING, PROBABILITIES, coremltools, label_names
from fer_edge.converters.coreml_evaluator.operations import OPERATIONS
from fer_edge.errors import ConversionError

_NUMPY = {
    "FLOAT16": "<f2",
    "FLOAT32": "<f4",
    "INT8": "i1",
    "INT16": "<i2",
    "INT32": "<i4",
    "UINT8": "u1",
    "UINT16": "<u2",
    "UINT32": "<u4",
}
"""numpy types by MIL type, all little-endian. Palette indices are packed in uint8."""
_BLOB_SENTINEL = 0xDEADBEEF
"""First four bytes of a weight's metadata in storage format 2."""

Observe = Callable[[str, Tensor], None]


@dataclass(frozen=True)
class Declared:
    """Declaration of one result.

    Attributes:
        name: Name of the result.
        dtype: Type in MIL's words.
        shape: Shape; None for a result that is not a tensor.
    """

    name: str
    dtype: str
    shape: tuple[int, ...] | None


@dataclass(frozen=True)
class Operation:
    """One operation of the program.

    Attributes:
        kind: Name of the operation in MIL.
        inputs: By parameter: a constant, the name of a result, or a list of names.
        outputs: Declarations of the results.
    """

    kind: str
    inputs: Mapping[str, Any]
    outputs: tuple[Declared, ...]


@dataclass(frozen=True)
class _Name:
    """Reference to a result, as opposed to a string constant."""

    text: str


class Program:
    """Interpreter of a saved ML Program's ``main`` function.

    The function takes one BGR or RGB picture.

    Args:
        model: Content of ``model.mlmodel``.
        weights: Content of ``weight.bin``.

    Raises:
        ConversionError: The file cannot be read, or an operation is not in ``operations.py``.
    """

    def __init__(self, model: bytes, weights: bytes) -> None:
        ct = coremltools()
        self._types = ct.proto.MIL_pb2.DataType
        self._colours = ct.proto.FeatureTypes_pb2.ImageFeatureType
        spec = ct.proto.Model_pb2.Model()
        try:
            spec.ParseFromString(model)
        except Exception as error:  # protobuf's DecodeError has no stable address
            raise ConversionError(f"this is not a Core ML model: {error}") from error
        images = [feature.type.imageType for feature in spec.description.input]
        if [image.colorSpace in (self._colours.BGR, self._colours.RGB) for image in images] != [
            True
        ]:
            raise ConversionError("expected a Core ML model that takes one BGR or RGB picture")
        (picture,), (image,) = spec.description.input, images
        self.picture = picture.name
        self.bgr = image.colorSpace == self._colours.BGR
        self.size_px = (image.height, image.width)
        function = spec.mlProgram.functions["main"]
        block = function.block_specializations[function.opset]
        self.outputs = [output.name for output in spec.description.output]
        self.labels = label_names(spec.description.metadata.userDefined["labels"])
        if sorted(self.outputs) != sorted(block.outputs):
            raise ConversionError("the program's outputs are not those that the model describes")
        self._weights = np.frombuffer(weights, np.uint8)
        self._picture = self._declared(function.inputs[0])
        self._constants: dict[str, Any] = {}
        self.operations: list[Operation] = []
        for entry in block.operations:
            self._add(entry)

    def _add(self, entry: Any) -> None:
        """Add an operation; compute constants, and results of constants alone, once."""
        inputs = {key: self._argument(value) for key, value in entry.inputs.items()}
        inputs |= {k: self._value(v) for k, v in entry.attributes.items() if k != "name"}
        outputs = tuple(self._declared(output) for output in entry.outputs)
        operation = Operation(entry.type, inputs, outputs)
        if entry.type == "const":
            self._constants[outputs[0].name] = inputs["val"]
        elif entry.type.startswith("constexpr_"):
            self._run(operation, self._constants)
        elif entry.type not in OPERATIONS:
            raise ConversionError(
                f"the Core ML evaluator does not know the operation {entry.type!r}, so it cannot "
                "verify this program. Add it to converters/coreml_evaluator/operations.py, "
                "with its test"
            )
        else:
            self.operations.append(operation)

    def __call__(self, face: npt.NDArray[np.uint8], observe: Observe | None = None) -> list[Any]:
        """Run the program on one face.

        Args:
            face: uint8 ``[S, S, 3]`` BGR.
            observe: Receives the name and value of each float result, the picture included.

        Returns:
            Results in the order of ``self.outputs``.

        Raises:
            ConversionError: A result is not as the program declares it.
        """
        planes = torch.from_numpy(np.ascontiguousarray(face if self.bgr else face[..., ::-1]))
        values = dict(self._constants)
        values[self.picture] = planes.permute(2, 0, 1)[None].to(torch.float32)
        self._check(values[self.picture], self._picture)
        if observe is not None:
            observe(self.picture, values[self.picture])
        with torch.inference_mode():
            for operation in self.operations:
                self._run(operation, values)
                if observe is not None:
                    for result in operation.outputs:
                        if result.dtype in ("FLOAT16", "FLOAT32"):
                            observe(result.name, values[result.name])
        return [values[name] for name in self.outputs]

    def _run(self, operation: Operation, values: dict[str, Any]) -> None:
        kind = operation.kind
        try:
            result = OPERATIONS[kind](
                **{k: _resolved(v, values) for k, v in operation.inputs.items()}
            )
        except (KeyError, TypeError, ValueError, RuntimeError, IndexError) as error:
            raise ConversionError(
                f"the Core ML operation {kind!r} ({operation.outputs[0].name}) cannot be "
                f"computed as the program states it: {error}"
            ) from error
        results = result if isinstance(result, tuple | list) else (result,)
        for value, declared in zip(results, operation.outputs, strict=True):
            values[declared.name] = self._as_declared(value, declared)

    def _as_declared(self, result: Any, declared: Declared) -> Any:
        if declared.shape is None or declared.dtype == "STRING":
            return result
        self._check(result, declared)
        if declared.dtype == "FLOAT16":
            return result.half().float()
        kinds = {"FLOAT32": torch.float32, "INT32": torch.int32, "BOOL": torch.bool}
        return result.to(kinds.get(declared.dtype, result.dtype))

    @staticmethod
    def _check(result: Tensor, declared: Declared) -> None:
        if tuple(result.shape) != declared.shape:
            raise ConversionError(
                f"expected {declared.name} to be {list(declared.shape or ())} as the Core ML "
                f"program declares, computing it gives {list(result.shape)}"
            )

    # --- reading -------------------------------------------------------------------------------

    def _declared(self, value: Any) -> Declared:
        kind = value.type.WhichOneof("type")
        if kind != "tensorType":
            return Declared(value.name, kind, None)
        tensor = value.type.tensorType
        return Declared(value.name, self._types.Name(tensor.dataType), _shape(tensor, value.name))

    def _argument(self, argument: Any) -> Any:
        bound = [
            _Name(binding.name)
            if binding.WhichOneof("binding") == "name"
            else self._value(binding.value)
            for binding in argument.arguments
        ]
        return bound[0] if len(bound) == 1 else bound

    def _value(self, value: Any) -> Any:
        """Read a constant: a tensor, a string, or a list of them."""
        if value.type.WhichOneof("type") == "listType":
            return [self._value(item) for item in value.immediateValue.list.values]
        tensor = value.type.tensorType
        dtype, shape = self._types.Name(tensor.dataType), _shape(tensor, "a constant")
        if value.WhichOneof("value") == "blobFileValue":
            return self._blob(dtype, shape, value.blobFileValue.offset)
        stored = value.immediateValue.tensor
        form = stored.WhichOneof("value")
        if dtype == "STRING":
            return stored.strings.values[0]
        if form == "bytes":
            return _tensor(np.frombuffer(stored.bytes.values, _numpy(dtype)), shape)
        kind = bool if dtype == "BOOL" else _numpy(dtype)
        return _tensor(np.array(getattr(stored, form).values if form else [], kind), shape)

    def _blob(self, dtype: str, shape: tuple[int, ...], offset: int) -> Tensor:
        """Read a weight in storage format 2: 64 bytes of metadata, then the data.

        The metadata holds a sentinel, the type, the size and the offset of the data.
        """
        metadata = self._weights[offset : offset + 24]
        if metadata.size != 24 or metadata[:4].view("<u4")[0] != _BLOB_SENTINEL:
            raise ConversionError(f"weight.bin holds no weight at {offset}: it is damaged")
        size, start = (int(n) for n in metadata[8:24].view("<u8"))
        data = self._weights[start : start + size]
        expected = prod(shape) * np.dtype(_numpy(dtype)).itemsize
        if data.size != size or size != expected:
            raise ConversionError(
                f"expected {expected} bytes for a weight {list(shape)} at {offset} of weight.bin, "
                f"got {min(size, data.size)}"
            )
        return _tensor(np.frombuffer(data.tobytes(), _numpy(dtype)), shape)


def _resolved(value: Any, values: dict[str, Any]) -> Any:
    if isinstance(value, list):
        return [_resolved(item, values) for item in value]
    return values[value.text] if isinstance(value, _Name) else value


def _numpy(dtype: str) -> str:
    try:
        return _NUMPY[dtype]
    except KeyError:
        raise ConversionError(f"the Core ML evaluator does not know the type {dtype}") from None


def _shape(tensor: Any, name: str) -> tuple[int, ...]:
    if any(d.WhichOneof("dimension") != "constant" for d in tensor.dimensions):
        raise ConversionError(f"expected fixed shapes in a Core ML program, {name} has none")
    return tuple(d.constant.size for d in tensor.dimensions)


def _tensor(values: npt.NDArray[Any], shape: tuple[int, ...]) -> Tensor:
    if values.dtype in (np.float16, np.uint16, np.uint32):
        values = values.astype(np.float32 if values.dtype == np.float16 else np.int64)
    return torch.from_numpy(values.copy().reshape(shape))


class ProgramSession:
    """Session that runs a saved program face by face.

    Core ML does the same; see backends.base.

    Running changes no state, so several threads may call it.
    """

    def __init__(self, model: bytes, weights: bytes) -> None:
        self.program = Program(model, weights)

    def run(self, batch: Batch) -> Outputs:
        probabilities, embeddings = [], []
        for face in batch:
            results = dict(zip(self.program.outputs, self.program(face), strict=True))
            shares, embedding = results[PROBABILITIES], results[EMBEDDING]
            if set(shares) != set(self.program.labels):
                raise ConversionError(
                    f"expected the labels {', '.join(self.program.labels)} of the metadata in the "
                    f"Core ML program, it has {', '.join(shares)}. Run fer-edge convert again"
                )
            probabilities.append([shares[name] for name in self.program.labels])
            embeddings.append(embedding[0].numpy())
        return np.array(probabilities, np.float32), np.stack(embeddings)

    def close(self) -> None:
        pass
