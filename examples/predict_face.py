"""Find the faces in pictures and predict their expressions.

    python examples/predict_face.py [IMAGE ...] [--save FOLDER]

Without IMAGE, the composite faces that ship with the package are read. They are averages of many
faces and show nobody. Photos need a face detector: pip install 'fer-edge[detect]'.
"""

import argparse
from pathlib import Path

from fer_edge import EMOTIONS, Predictor, analyze
from fer_edge.monitor import default_detector
from fer_edge.shipped import FACES


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("images", nargs="*", type=Path)
    parser.add_argument("--save", type=Path, help="draw the pictures into this folder")
    arguments = parser.parse_args()
    detector = default_detector()
    with Predictor() as predictor:
        print("running", predictor.variant.name)
        for path in arguments.images or [FACES / f"{name}.png" for name in EMOTIONS]:
            faces = analyze(path, predictor, detector)
            if not faces:
                print(f"{path}: no face found")
            for face in faces:
                prediction = face.prediction
                if prediction.uncertain:
                    print(f"{path}: no answer, {prediction.reason}")
                else:
                    print(f"{path}: {prediction.label}, confidence {prediction.confidence:.2f}")
            if arguments.save:
                arguments.save.mkdir(parents=True, exist_ok=True)
                faces.save(arguments.save / f"{path.stem}.png")
        print("\nWhy this variant:")
        for choice in predictor.explain():
            print(" ", choice)


if __name__ == "__main__":
    main()
