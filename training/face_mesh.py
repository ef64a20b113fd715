"""Face mesh and blendshapes of MediaPipe's face landmarker, run by OpenVINO.

``face_landmarker.task`` is a zip of TFLite networks. Two of them are used: one finds 478 landmarks
on a face, and one reads 52 blendshapes, the strength of facial movements, from 146 of them.
"""

from __future__ import annotations

import tempfile
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from fer_edge.backends.openvino import FACTS, shared_core
from fer_edge.errors import BundleError, DataError, TargetError
from fer_edge.model_files.tflite_check import check_tflite
from fer_edge.preprocess import Image
from fer_edge.telemetry import engine_problem

LANDMARKS, BLENDSHAPES = 478, 52
"""Numbers of landmarks and of blendshapes."""
SIDE_PX = 256
"""Side of the square that the network of landmarks sees."""
PRESENT = 0.5
"""Least probability (0..1) of a face at which its mesh counts; MediaPipe's own default."""
_BATCH = 16
_MOST_BYTES = 64 << 20
"""Bytes of the largest network that is read. MediaPipe's largest has 2.6 MB."""
_PARTS = ("face_landmarks_detector.tflite", "face_blendshapes.tflite")
_SUBSET = (
    0, 1, 4, 5, 6, 7, 8, 10, 13, 14, 17, 21, 33, 37, 39, 40, 46, 52, 53, 54, 55, 58, 61, 63, 65, 66,
    67, 70, 78, 80, 81, 82, 84, 87, 88, 91, 93, 95, 103, 105, 107, 109, 127, 132, 133, 136, 144,
    145, 146, 148, 149, 150, 152, 153, 154, 155, 157, 158, 159, 160, 161, 162, 163, 168, 172, 173,
    176, 178, 181, 185, 191, 195, 197, 234, 246, 249, 251, 263, 267, 269, 270, 276, 282, 283, 284,
    285, 288, 291, 293, 295, 296, 297, 300, 308, 310, 311, 312, 314, 317, 318, 321, 323, 324, 332,
    334, 336, 338, 356, 361, 362, 365, 373, 374, 375, 377, 378, 379, 380, 381, 382, 384, 385, 386,
    387, 388, 389, 390, 397, 398, 400, 402, 405, 409, 415, 454, 466, 468, 469, 470, 471, 472, 473,
    474, 475, 476, 477,
)  # fmt: skip
"""Landmarks that the network of blendshapes reads (MediaPipe, face_blendshapes_graph.cc)."""

_EYE_CORNERS = (33, 263)
"""Outer corners of the right and the left eye; MediaPipe levels a face by them."""
_MARGIN = 1.5
"""Side of the square around a face, in longer sides of its landmarks' box.

The value is MediaPipe's own. A regression on the blendshapes of 2,000 faces of FER2013 has 48.0 %
with it, 44.8 % with 1.33, and 41.1 % if the network sees the complete picture.
"""

Floats = npt.NDArray[np.float32]
Square = npt.NDArray[np.float64]
"""Affine map ``[2, 3]`` from pixels of a picture to those of a square."""


@dataclass(frozen=True)
class Meshes:
    """Meshes of N faces.

    Attributes:
        landmarks: x, y and depth in pixels of the picture, float32 ``[N, 478, 3]``.
        presence: Probability (0..1) that the picture shows a face, float32 ``[N]``.
        blendshapes: Strength (0..1) of each movement, float32 ``[N, 52]``.
    """

    landmarks: Floats
    presence: Floats
    blendshapes: Floats


class FaceMesh:
    """The two networks of a face landmarker file.

    Args:
        file: ``face_landmarker.task``.

    Raises:
        DataError: The file cannot be read, or has other networks.
        TargetError: OpenVINO is not installed.
    """

    def __init__(self, file: str | Path) -> None:
        if problem := engine_problem("openvino", FACTS.extra):
            raise TargetError(problem)
        landmarks, blendshapes = (_compiled(data, file) for data in _networks(Path(file)))
        widths = [_values(landmarks, 0), _values(blendshapes, 0)]
        if widths != [3 * LANDMARKS, BLENDSHAPES] or len(landmarks.outputs) < 2:
            raise DataError(
                f"expected {LANDMARKS} landmarks, a score and {BLENDSHAPES} blendshapes from "
                f"{file}. Give MediaPipe's face_landmarker.task"
            )
        self._landmarks = landmarks.create_infer_request()
        self._blendshapes = blendshapes.create_infer_request()

    def read(self, faces: Sequence[Image]) -> Meshes:
        """Return the meshes of face crops, uint8 BGR ``[H, W, 3]`` of any size."""
        parts = [self._read(faces[i : i + _BATCH]) for i in range(0, len(faces), _BATCH)]
        return Meshes(*(np.concatenate(rows) for rows in zip(*parts, strict=True)))

    def _read(self, faces: Sequence[Image]) -> tuple[Floats, Floats, Floats]:
        """Find each face in its picture, then its mesh in an upright square around it."""
        coarse, _ = self._meshes(faces, [_whole(face) for face in faces])
        points, presence = self._meshes(faces, [_around(mesh) for mesh in coarse])
        shapes = [
            self._blendshapes.infer({0: mesh[None, list(_SUBSET), :2]})[0].reshape(-1).copy()
            for mesh in points
        ]
        return points, presence, np.stack(shapes)

    def _meshes(self, faces: Sequence[Image], squares: Sequence[Square]) -> tuple[Floats, Floats]:
        """Return landmarks in pixels of the pictures, and presence, of a square of each."""
        crops = [
            cv2.warpAffine(
                face,
                square,
                (SIDE_PX, SIDE_PX),
                flags=cv2.INTER_CUBIC,
                borderMode=cv2.BORDER_REPLICATE,
            )
            for face, square in zip(faces, squares, strict=True)
        ]
        pixels = np.stack([crop[:, :, ::-1] for crop in crops]).astype(np.float32) / 255
        out = self._landmarks.infer({0: pixels})
        points = out[0].reshape(len(faces), LANDMARKS, 3).copy()
        for mesh, square in zip(points, squares, strict=True):
            back = cv2.invertAffineTransform(square)
            mesh[:, :2] = mesh[:, :2] @ back[:, :2].T + back[:, 2]
            mesh[:, 2] *= np.hypot(*back[0, :2])
        presence = 1 / (1 + np.exp(-out[1].reshape(-1).astype(np.float64)))
        return points, presence.astype(np.float32)


def _whole(face: Image) -> Square:
    """Return the square of a complete picture."""
    height, width = face.shape[:2]
    return _square(width / 2, height / 2, max(height, width), 0.0)


def _around(mesh: Floats) -> Square:
    """Return the square around a mesh whose eyes are level in it."""
    points = mesh[:, :2].astype(np.float64)
    low, high = points.min(0), points.max(0)
    across = points[_EYE_CORNERS[1]] - points[_EYE_CORNERS[0]]
    side = max(_MARGIN * float((high - low).max()), 1.0)
    x, y = (low + high) / 2
    return _square(x, y, side, float(np.arctan2(across[1], across[0])))


def _square(x: float, y: float, side: float, angle: float) -> Square:
    """Return the map from a picture to a square in it.

    Args:
        x: Column of the square's middle, in pixels.
        y: Row of the middle.
        side: Side in pixels.
        angle: Angle of the square's rows in the picture, in radians.
    """
    cos, sin = np.cos(angle) * SIDE_PX / side, np.sin(angle) * SIDE_PX / side
    turn = np.array([[cos, sin], [-sin, cos]])
    middle = np.full(2, SIDE_PX / 2) - turn @ [x, y]
    return np.hstack([turn, middle[:, None]])


def _networks(file: Path) -> list[bytes]:
    """Return the two networks of a file. Raises DataError."""
    try:
        with zipfile.ZipFile(file) as task:
            sizes = {info.filename: info.file_size for info in task.infolist()}
            if missing := [name for name in _PARTS if name not in sizes]:
                raise DataError(
                    f"expected {' and '.join(missing)} in {file}. Give MediaPipe's "
                    "face_landmarker.task"
                )
            if max(sizes[name] for name in _PARTS) > _MOST_BYTES:
                raise DataError(
                    f"expected networks of at most {_MOST_BYTES >> 20} MiB in {file}. Give "
                    "MediaPipe's face_landmarker.task"
                )
            networks = [task.read(name) for name in _PARTS]
    except DataError:
        raise
    except Exception as error:  # zipfile and what it decompresses with raise many kinds
        raise DataError(
            f"cannot read {file}: {error}. Give MediaPipe's face_landmarker.task"
        ) from error
    for name, data in zip(_PARTS, networks, strict=True):
        try:
            check_tflite(data, f"{file}/{name}")
        except (BundleError, ValueError) as error:
            raise DataError(f"{error}. Give MediaPipe's face_landmarker.task") from error
    return networks


def _compiled(data: bytes, file: str | Path) -> Any:
    """Return a network for the CPU in fp32. Raises DataError."""
    core = shared_core()
    try:
        with tempfile.TemporaryDirectory() as folder:  # OpenVINO reads TFLite from files alone
            path = Path(folder) / "network.tflite"
            path.write_bytes(data)
            return core.compile_model(
                core.read_model(path), "CPU", {"INFERENCE_PRECISION_HINT": "f32"}
            )
    except (RuntimeError, ValueError) as error:
        raise DataError(
            f"OpenVINO cannot load {file}: {error}. Give MediaPipe's face_landmarker.task"
        ) from error


def _values(network: Any, output: int) -> int:
    """Return the number of values of an output for one face. 0 if it is unknown."""
    if len(network.outputs) <= output:
        return 0
    shape = list(network.outputs[output].partial_shape)
    return int(np.prod([side.get_length() for side in shape if side.is_static]))
