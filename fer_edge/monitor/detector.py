"""Face detectors: YuNet, Haar, boxes of the caller, or the complete frame."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import cv2
import numpy as np
import numpy.typing as npt

from fer_edge.errors import EngineError, InputError, TargetError
from fer_edge.monitor.fetch_detector import check_fetched
from fer_edge.monitor.opencv_names import opencv_name
from fer_edge.monitor.typed_fields import is_number
from fer_edge.one_at_a_time import own_lock
from fer_edge.opencv_log import quiet_opencv
from fer_edge.paths import absolute, as_path
from fer_edge.preprocess import MIN_SIDE_PX, Box, Image, as_bgr, box_numbers
from fer_edge.shown import shown

MAX_MODEL_BYTES = 64 * 1024 * 1024
"""Largest size of a model file, in bytes. YuNet has 0.2 MB."""
_MOST_WIDTH_PX = 4096
"""Largest width in pixels to which frames are shrunk."""
MAX_FACES = 50
"""Most faces per frame, in case a detector fires everywhere. No cabin holds more."""
_MOST_PX = 1e6
"""Largest place and size of a box in pixels. No frame has more."""


@dataclass(frozen=True, slots=True)
class Face:
    """One detected face.

    Attributes:
        box: ``(x, y, width, height)`` in pixels of the frame, clipped to it.
        score: The detector's confidence, 0..1.
        landmarks: float32 ``[5, 2]`` in pixels of the frame: the person's right eye (left in the
            picture), left eye, nose tip, right and left corner of the mouth. None if the detector
            has no landmarks.
    """

    box: Box
    score: float
    landmarks: npt.NDArray[np.float32] | None = field(default=None, compare=False)


class Detector(Protocol):
    """Protocol of a face detector.

    The monitor calls it from one thread at a time, not always the same. An exception, or a face
    without a usable box or landmarks, counts as a failed detection: health reports it, and the next
    frame is tried. Of more than 50 faces, the monitor takes the first 50.
    """

    def detect(self, image: Image) -> list[Face]:
        """Find faces in uint8 ``[H, W, 3]`` BGR, the most confident first."""


def check_detector(detector: object) -> None:
    """Raise InputError for anything but a detector."""
    if isinstance(detector, type) or not callable(getattr(detector, "detect", None)):
        raise InputError(
            f"expected a detector with a method 'detect', got {type(detector).__name__}. Pass "
            "default_detector(), WholeFrame() or Boxes(function)"
        )


def find_faces(detector: Detector, image: Image) -> list[Face]:
    """Run a detector that an application may have written, and check its answer.

    Args:
        detector: The detector; it may also return another iterable than a list.
        image: uint8 ``[H, W, 3]`` BGR.

    Raises:
        EngineError: The answer holds anything but faces with a usable box and landmarks.
        Exception: The detector raises it.
    """
    answer: Any = detector.detect(image)
    if not isinstance(answer, Iterable):
        raise EngineError(f"expected a list of Face, got {shown(answer)}. {_MEND}")
    faces = list(answer)
    for face in faces:
        if not isinstance(face, Face):
            raise EngineError(f"expected a list of Face, got {shown(face)} in it. {_MEND}")
        if not _is_box(face.box):
            raise EngineError(
                "expected the box of a Face as finite numbers (x, y, width, height) with a size, "
                f"at least 1 pixel and at most {_MOST_PX:g}, got {shown(face.box)}. {_MEND}"
            )
        if face.landmarks is not None and not _finite(face.landmarks, (5, 2)):
            got = " ".join(shown(face.landmarks).split())  # an array has several lines
            raise EngineError(
                f"expected the landmarks of a Face as finite numbers [5, 2], got {got}. {_MEND}"
            )
    return faces


_MEND = "Mend the detector"


def _is_box(box: Box) -> bool:
    if not _finite(box, (4,)) or max(map(abs, box)) > _MOST_PX:
        return False
    return min(box[2:]) > 0 and max(box[2:]) >= 1


def _finite(values: object, shape: tuple[int, ...]) -> bool:
    """Return True for finite numbers of a shape."""
    try:
        numbers = np.asarray(values)
    except (TypeError, ValueError):  # rows of different lengths
        return False
    return (
        numbers.shape == shape and numbers.dtype.kind in "iuf" and bool(np.isfinite(numbers).all())
    )


def clip_box(x: float, y: float, w: float, h: float, width: int, height: int) -> Box | None:
    """Clip a box to a picture and round it to integers.

    Args:
        x: Left edge, in pixels.
        y: Upper edge, in pixels.
        w: Width of the box, in pixels.
        h: Height of the box, in pixels.
        width: Width of the picture, in pixels.
        height: Height of the picture, in pixels.

    Returns:
        The clipped box, or None if less than 8 pixels a side are left.
    """
    if not np.isfinite((x, y, w, h)).all():
        return None
    left, top = max(round(x), 0), max(round(y), 0)
    right, bottom = min(round(x + w), width), min(round(y + h), height)
    if right - left < MIN_SIDE_PX or bottom - top < MIN_SIDE_PX:
        return None
    return left, top, right - left, bottom - top


def check_width(width_px: object, most_px: int) -> None:
    """Raise InputError unless frames can be shrunk to this width.

    Args:
        width_px: Longer side in pixels.
        most_px: Largest value.
    """
    if not (is_number(width_px) and 32 <= width_px <= most_px):
        raise InputError(
            f"expected width_px from 32 to {most_px}, got {shown(width_px)}. Choose another"
        )


def check_min_score(min_score: object) -> None:
    """Raise InputError unless the smallest confidence of a face is between 0 and 1."""
    if not (is_number(min_score) and 0 < min_score < 1):
        raise InputError(
            f"expected min_score between 0 and 1, got {shown(min_score)}. Choose another"
        )


class YuNet:
    """YuNet of OpenCV Zoo, run by ``cv2.FaceDetectorYN``.

    Several threads may call ``detect``; they take turns. A pickled copy loads the file again.

    Args:
        path: The file ``face_detection_yunet_2023mar.onnx``; ``fer-edge detector fetch`` gets it.
        width_px: Longer side in pixels to which frames are shrunk for detection. YuNet finds faces
            from about 10 px, so 320 finds faces from about 40 px in a frame of 1280 px.
        min_score: Smallest confidence (0..1) of a face.
        nms: Overlap (intersection over union, 0..1) above which two detections are one face.

    Raises:
        InputError: The file is missing or not YuNet, or a value is out of range.
        TargetError: OpenCV was built without ``FaceDetectorYN``.
    """

    def __init__(
        self, path: str | Path, *, width_px: int = 320, min_score: float = 0.6, nms: float = 0.3
    ) -> None:
        check_width(width_px, _MOST_WIDTH_PX)
        check_min_score(min_score)
        if not (is_number(nms) and 0 <= nms <= 1):
            raise InputError(f"expected nms from 0 to 1, got {shown(nms)}. Choose another")
        self._width_px = width_px
        self._lock = own_lock(self)
        path = as_path(path, "YuNet's file")
        self._path, self._min_score, self._nms = absolute(path), min_score, nms
        self._net = _load_yunet(path, min_score, nms)
        try:
            self.detect(np.zeros((32, 32, 3), np.uint8))
        except EngineError as error:
            raise InputError(f"{path} is an ONNX file, but not YuNet. {_FETCH}") from error

    def __getstate__(self) -> dict[str, Any]:
        return _without(self, "_net", "_lock")

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._lock = own_lock(self)
        self._net = _load_yunet(self._path, self._min_score, self._nms)

    def detect(self, image: Image) -> list[Face]:
        """Find faces in uint8 ``[H, W, 3]`` BGR, most confident first."""
        image = as_bgr(image)
        height, width = image.shape[:2]
        scale = min(1.0, self._width_px / max(height, width))
        if scale < 1.0:
            size = max(round(width * scale), 1), max(round(height * scale), 1)
            # Linear sampling without averaging: faces that the network can find are large.
            image = np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_LINEAR), np.uint8)
        back = np.array([width / image.shape[1], height / image.shape[0]], np.float32)
        try:
            with self._lock:
                self._net.setInputSize((image.shape[1], image.shape[0]))
                _, rows = self._net.detect(image)
        except cv2.error as error:
            raise EngineError(f"YuNet failed on a frame {width}x{height}: {error.err}") from error
        faces = []
        for row in () if rows is None else np.asarray(rows, np.float32):
            x, y, w, h = (row[:4].reshape(2, 2) * back).ravel().tolist()
            box = clip_box(x, y, w, h, width, height)
            if box is not None and np.isfinite(row).all():
                landmarks = row[4:14].reshape(5, 2) * back
                faces.append(Face(box, min(float(row[14]), 1.0), landmarks))
        return sorted(faces, key=lambda face: -face.score)


def _without(detector: object, *names: str) -> dict[str, Any]:
    """Return what a detector holds, but for what no pickle can hold."""
    return {name: value for name, value in vars(detector).items() if name not in names}


_FETCH = "Get it with: fer-edge detector fetch"


def _load_yunet(path: Path, min_score: float, nms: float) -> Any:
    if not hasattr(cv2, "FaceDetectorYN"):
        raise TargetError(
            f"YuNet needs cv2.FaceDetectorYN, which OpenCV {cv2.__version__} was built without. "
            "Run: pip install 'opencv-python-headless>=4.8'"
        )
    try:
        if not path.is_file() or path.stat().st_size > MAX_MODEL_BYTES:
            raise InputError(f"expected YuNet's ONNX file, got {path}. {_FETCH}")
        data = path.read_bytes()
        check_fetched(path, data)
        model = np.frombuffer(data, np.uint8)
    except (OSError, ValueError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"cannot read {path}: {error}. {_FETCH}") from error
    options = (32, 32), min_score, nms, MAX_FACES
    create: Any = cv2.FaceDetectorYN.create
    try:
        # OpenCV 5 prints a useless warning about its default target.
        with quiet_opencv():
            try:
                return create("onnx", model, np.empty(0, np.uint8), *options)
            except TypeError:  # OpenCV 4.8 reads files only, and knows them by their suffix
                if path.suffix != ".onnx":
                    raise InputError(
                        f"OpenCV {cv2.__version__} expects a name that ends in .onnx, got "
                        f"{path}. Rename the file"
                    ) from None
                return create(opencv_name(path), "", *options)
    except cv2.error as error:
        raise InputError(f"{path} is not an ONNX file that OpenCV can read. {_FETCH}") from error


class Haar:
    """Frontal-face cascade of OpenCV 4.

    It needs no file, and misses many more faces than YuNet.

    It has no landmarks and no confidence: all faces have the same score.

    Args:
        width_px: Longer side in pixels to which frames are shrunk for detection.

    Raises:
        InputError: The width is out of range.
        TargetError: OpenCV has no cascades. Version 5 dropped them.
    """

    SCORE = 0.5
    """Score of every face."""

    def __init__(self, *, width_px: int = 320) -> None:
        check_width(width_px, _MOST_WIDTH_PX)
        self._width_px = width_px
        self._load()

    def _load(self) -> None:
        if not hasattr(cv2, "CascadeClassifier"):
            raise TargetError(
                f"OpenCV {cv2.__version__} has no CascadeClassifier; version 5 dropped it. Use "
                "YuNet (fer-edge detector fetch), or run: pip install 'opencv-python-headless<5'"
            )
        self._lock = own_lock(self)
        folder: str = cv2.data.haarcascades  # type: ignore[attr-defined]  # not in the stubs of 5
        file = Path(folder) / "haarcascade_frontalface_default.xml"
        self._cascade = cv2.CascadeClassifier(str(file))
        if self._cascade.empty():
            raise TargetError(f"OpenCV's face cascade is not at {file}. Install OpenCV again")

    def __getstate__(self) -> dict[str, Any]:
        return _without(self, "_cascade", "_lock")

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._load()

    def detect(self, image: Image) -> list[Face]:
        """Find faces in uint8 ``[H, W, 3]`` BGR, the largest first."""
        image = as_bgr(image)
        height, width = image.shape[:2]
        scale = min(1.0, self._width_px / max(height, width))
        grey = cv2.cvtColor(image, cv2.COLOR_BGR2GRAY)
        if scale < 1.0:
            grey = cv2.resize(grey, None, fx=scale, fy=scale, interpolation=cv2.INTER_LINEAR)
        with self._lock:
            rows = self._cascade.detectMultiScale(grey, 1.1, 5, minSize=(20, 20))
        boxes = [
            clip_box(x / scale, y / scale, w / scale, h / scale, width, height)
            for x, y, w, h in np.asarray(rows, np.float64).reshape(-1, 4).tolist()
        ]
        faces = [Face(box, self.SCORE) for box in boxes if box is not None]
        return sorted(faces, key=lambda face: -face.box[2] * face.box[3])


class Boxes:
    """Detector from a function of the caller.

    For known boxes: ``Boxes(lambda _: boxes)``.

    Args:
        find: Takes the frame, uint8 ``[H, W, 3]`` BGR. Returns boxes ``(x, y, width, height)`` in
            pixels, the most confident first. They are clipped to the frame.
    """

    def __init__(self, find: Callable[[Image], Iterable[Box]]) -> None:
        self._find = find

    def detect(self, image: Image) -> list[Face]:
        """Return the faces at the boxes.

        Raises InputError for anything but a box.
        """
        height, width = image.shape[:2]
        faces = []
        for item in self._find(image):
            try:
                x, y, w, h = box_numbers(item)
            except (TypeError, ValueError, OverflowError):
                raise InputError(
                    f"expected a box (x, y, width, height), got {shown(item)}"
                ) from None
            if not np.isfinite((x, y, w, h)).all():
                raise InputError(f"expected a box of finite numbers in pixels, got {shown(item)}")
            box = clip_box(x, y, w, h, width, height)
            if box is not None:
                faces.append(Face(box, 1.0))
        return faces


class WholeFrame:
    """Detector that takes each frame as one face, for face crops."""

    def detect(self, image: Image) -> list[Face]:
        """Return one face that covers the frame."""
        height, width = image.shape[:2]
        return [Face((0, 0, width, height), 1.0)]
