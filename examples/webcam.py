"""Recognise the faces in front of a webcam, one frame after the other.

    python examples/webcam.py [CAMERA] [--save drawn.avi]

CAMERA is the index of a camera, or a clip. Ctrl-C ends the loop. This is the bare loop: it neither
smooths nor tracks. ``in_car.py`` does, and keeps running when the camera fails.
"""

import argparse
import sys
import time

import cv2

from fer_edge import Predictor, analyze
from fer_edge.monitor import default_detector


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("camera", nargs="?", default="0")
    parser.add_argument("--save", help="write the drawn frames to this AVI file")
    words = parser.parse_args()

    camera = cv2.VideoCapture(int(words.camera) if words.camera.isdigit() else words.camera)
    if not camera.isOpened():
        sys.exit(f"{words.camera} cannot be opened. Is it plugged in, and free?")
    detector = default_detector(width_px=320)  # shrunk further than for photos: faces are near
    if detector is None:
        sys.exit("There is no face detector. Run: fer-edge detector fetch")

    frames, start, writer, before = 0, time.monotonic(), None, None
    with Predictor() as predictor:
        try:
            while (read := camera.read())[0]:  # a camera that fails ends the loop
                faces = analyze(read[1], predictor, detector)
                labels = [
                    "unsure" if face.prediction.uncertain else face.prediction.label
                    for face in faces
                ]
                if labels != before:
                    print(f"{time.monotonic() - start:5.1f} s: {', '.join(labels) or 'no face'}")
                if words.save:
                    drawn = faces.plot()
                    if writer is None:
                        size, codec = drawn.shape[1::-1], cv2.VideoWriter_fourcc(*"MJPG")
                        writer = cv2.VideoWriter(words.save, codec, 15.0, size)
                    writer.write(drawn)
                frames, before = frames + 1, labels
        except KeyboardInterrupt:
            pass
    camera.release()
    if writer is not None:
        writer.release()
    print(f"{frames} frames, {frames / (time.monotonic() - start):.0f} a second")


if __name__ == "__main__":
    main()
