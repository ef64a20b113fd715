"""Use a face detector of your own.

    python examples/own_detector.py [PICTURE]

A detector is any object with ``detect(image) -> list[Face]``. This one takes the largest thing in
front of a plain wall, which suits a photo booth and nothing else: put your network in its place.
"""

import sys

import cv2
import numpy as np

from fer_edge import analyze, read_image
from fer_edge.monitor import DriverMonitor, Face, Frames
from fer_edge.shipped import FACES


class PlainWall:
    """Detector of the largest object in front of a wall of one colour."""

    def __init__(self, contrast: float = 30.0) -> None:
        self.contrast = contrast

    def detect(self, image: np.ndarray) -> list[Face]:
        """Find the object in uint8 ``[H, W, 3]`` BGR. Boxes are (x, y, width, height) in pixels."""
        wall = np.median(np.concatenate([image[0], image[-1], image[:, 0], image[:, -1]]), axis=0)
        away = (np.abs(image - wall).max(axis=2) > self.contrast).astype(np.uint8)
        away = cv2.morphologyEx(away, cv2.MORPH_CLOSE, np.ones((15, 15), np.uint8))
        _, _, rows, _ = cv2.connectedComponentsWithStats(away)
        x, y, width, height, area = max(rows[1:].tolist(), key=lambda row: row[4], default=[0] * 5)
        if area < 0.02 * away.size:
            return []
        return [Face((x, y, width, height), score=area / (width * height))]


def booth() -> np.ndarray:
    """Draw a composite face in front of a grey wall, uint8 [360, 640, 3]."""
    frame = np.full((360, 640, 3), 235, np.uint8)
    frame[80:280, 200:400] = cv2.resize(read_image(FACES / "surprise.png"), (200, 200))
    return frame


def main(paths: list[str]) -> None:
    picture = read_image(paths[0]) if paths else booth()
    detector = PlainWall()

    for face in analyze(picture, detector=detector):
        print(f"photo: {face.prediction.label} {face.prediction.confidence:.2f} in {face.box}")

    # The monitor takes the same object. An exception in detect() becomes a finding of its health.
    with DriverMonitor(None, Frames([picture] * 10, hz=10), detector=detector) as monitor:
        state = list(monitor)[-1]
    print("clip:", state.driver.label if state.driver else "no face")


if __name__ == "__main__":
    main(sys.argv[1:])
