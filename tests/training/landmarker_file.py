"""Writes a small ``face_landmarker.task``: networks of chance with the interface of MediaPipe's."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path
from typing import Any

import flatbuffers
import numpy as np
import numpy.typing as npt

POOL, FULLY_CONNECTED, LOGISTIC, RESHAPE = 1, 9, 14, 22
_OPTIONS = {POOL: 5, FULLY_CONNECTED: 8, RESHAPE: 17}
"""Member of the union BuiltinOptions by operation (schema.fbs, version 3)."""
_CELL_PX = 64
Array = npt.NDArray[Any]


class Network:
    """TFLite file that grows by one operation at a time."""

    def __init__(self) -> None:
        self.fb = flatbuffers.Builder(1 << 16)
        self.tensors: list[int] = []
        self.buffers = [self.table(1)]
        self.operators: list[int] = []
        self.codes: list[int] = []

    def table(self, slots: int, **fields: tuple[str, int]) -> int:
        """Write a table; a field is its slot's name ``_3`` and (kind, value)."""
        self.fb.StartObject(slots)
        for name, (kind, value) in fields.items():
            getattr(self.fb, f"Prepend{kind}Slot")(int(name[1:]), value, 0)
        return int(self.fb.EndObject())

    def vector(self, values: list[int], kind: str = "Int32", size: int = 4) -> int:
        self.fb.StartVector(size, len(values), size)
        for value in reversed(values):
            getattr(self.fb, f"Prepend{kind}")(value)
        return int(self.fb.EndVector())

    def offsets(self, values: list[int]) -> int:
        return self.vector(values, "UOffsetTRelative")

    def tensor(self, shape: list[int], data: Array | None = None) -> int:
        """Add a tensor; the first size of one without data is free."""
        buffer = 0
        if data is not None:
            raw = self.fb.CreateByteVector(data.tobytes())
            buffer = len(self.buffers)
            self.buffers.append(self.table(1, _0=("UOffsetTRelative", raw)))
        name = self.fb.CreateString(f"t{len(self.tensors)}")
        sizes = self.vector(shape)
        signature = self.vector(shape if data is not None else [-1, *shape[1:]])
        kind = 2 if data is not None and data.dtype == np.int32 else 0
        offset = ("UOffsetTRelative", 0)
        self.tensors.append(
            self.table(
                8,
                _0=(offset[0], sizes),
                _1=("Int8", kind),
                _2=("Uint32", buffer),
                _3=(offset[0], name),
                _7=(offset[0], signature),
            )
        )
        return len(self.tensors) - 1

    def operation(self, code: int, inputs: list[int], shape: list[int], options: int = 0) -> int:
        """Add an operation; return its output."""
        out = self.tensor(shape)
        if code not in self.codes:
            self.codes.append(code)
        ins, outs = self.vector(inputs), self.vector([out])
        fields = {
            "_0": ("Uint32", self.codes.index(code)),
            "_1": ("UOffsetTRelative", ins),
            "_2": ("UOffsetTRelative", outs),
        }
        if options:
            fields |= {"_3": ("Uint8", _OPTIONS[code]), "_4": ("UOffsetTRelative", options)}
        self.operators.append(self.table(5, **fields))
        return out

    def flattened(self, tensor: int, width: int) -> int:
        shape = self.tensor([2], np.array([-1, width], np.int32))
        return self.operation(RESHAPE, [tensor, shape], [1, width], self.table(1))

    def connected(self, tensor: int, weights: Array, bias: Array) -> int:
        w, b = (self.tensor(list(a.shape), a.astype(np.float32)) for a in (weights, bias))
        options = self.table(3)
        return self.operation(FULLY_CONNECTED, [tensor, w, b], [1, len(weights)], options)

    def file(self, entry: int, outputs: list[int]) -> bytes:
        offset = "UOffsetTRelative"
        parts = [self.offsets(self.tensors), self.vector([entry]), self.vector(outputs)]
        operators = self.offsets(self.operators)
        graph = self.table(
            5, **{f"_{i}": (offset, part) for i, part in enumerate([*parts, operators])}
        )
        codes = self.offsets(
            [
                self.table(4, _0=("Int8", code), _2=("Int32", 1), _3=("Int32", code))
                for code in self.codes
            ]
        )
        graphs, buffers = self.offsets([graph]), self.offsets(self.buffers)
        model = self.table(
            5, _0=("Uint32", 3), _1=(offset, codes), _2=(offset, graphs), _4=(offset, buffers)
        )
        self.fb.Finish(model, b"TFL3")
        return bytes(self.fb.Output())


def landmarks_network() -> bytes:
    """Landmark 0 is the middle of the square; a picture below a tenth of white has no face."""
    rng = np.random.default_rng(1)
    net = Network()
    picture = net.tensor([1, 256, 256, 3])
    side = ("Int32", _CELL_PX)
    pool = net.table(6, _0=("Int8", 1), _1=side, _2=side, _3=side, _4=side)
    cells = net.flattened(net.operation(POOL, [picture], [1, 4, 4, 3], pool), 48)
    weights = rng.normal(0, 30, (478 * 3, 48))
    weights[:3] = 0
    points = net.connected(cells, weights, np.full(478 * 3, 128.0))
    present = net.connected(cells, np.full((1, 48), 100 / 48), np.array([-10.0]))
    return net.file(picture, [points, present])


def blendshapes_network() -> bytes:
    """The strength of each movement is the logistic of a sum of coordinates."""
    rng = np.random.default_rng(2)
    net = Network()
    points = net.tensor([1, 146, 2])
    weights = rng.normal(0, 2e-3, (52, 292))
    sums = net.connected(net.flattened(points, 292), weights, -128 * weights.sum(1))
    return net.file(points, [net.operation(LOGISTIC, [sums], [1, 52])])


def write_task(path: Path, **networks: bytes) -> Path:
    """Write the file; ``networks`` replaces members of the zip by name."""
    parts = {
        "face_landmarks_detector.tflite": landmarks_network(),
        "face_blendshapes.tflite": blendshapes_network(),
    }
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as task:
        for name, data in {**parts, **networks}.items():
            task.writestr(name, data)
    path.write_bytes(out.getvalue())
    return path
