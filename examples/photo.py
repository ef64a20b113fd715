"""Find the faces of a photo, print the expression of each, and draw them.

    python examples/photo.py [PHOTO] [--save drawn.png]

Without a photo, a composite face of the package is the picture. ``pip install 'fer-edge[detect]'``
or ``fer-edge detector fetch`` brings the face detector.
"""

import argparse
import sys

from fer_edge import FerEdgeError, analyze
from fer_edge.shipped import FACES


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("photo", nargs="?", default=FACES / "happiness.png")
    parser.add_argument("--save", default="drawn.png", help="write the drawn photo to this file")
    words = parser.parse_args()

    try:
        faces = analyze(words.photo)  # also takes bytes, an array or a Pillow image
        faces.save(words.save)
    except FerEdgeError as error:
        sys.exit(f"photo: {error}")
    for face in faces:
        answer = face.prediction
        doubt = f", uncertain: {answer.reason}" if answer.uncertain else ""
        print(f"box {face.box}: {answer.label} {answer.confidence:.2f}{doubt}")
    print(f"{len(faces)} faces, drawn into {words.save}")


if __name__ == "__main__":
    main()
