"""Detector whose answer serves all monitors of a frame."""

from __future__ import annotations

from fer_edge.monitor.detector import Detector, Face, find_faces
from fer_edge.preprocess import Image


class DetectedOnce:
    """Detector for monitors that take turns at the same frames.

    A frame is the same if it is the same array. That holds for clips: no source of theirs writes
    to an array again.

    Args:
        detector: The detector. If it raises, the next monitor asks it again.
    """

    def __init__(self, detector: Detector) -> None:
        self._detector = detector
        self._image: Image | None = None
        self._faces: list[Face] = []

    def detect(self, image: Image) -> list[Face]:
        """Return the faces. The detector runs if the frame is another than before."""
        if image is not self._image:
            self._image = None
            self._faces = find_faces(self._detector, image)
            self._image = image
        return self._faces
