"""Predict the expression of one face crop.

    python examples/predict_face.py [IMAGE ...]

Without IMAGE, the composite faces that ship with the package are read. They are averages of many
faces and show nobody.
"""

import sys

from fer_edge import EMOTIONS, Predictor
from fer_edge.shipped import FACES


def main(paths: list[str]) -> None:
    with Predictor() as predictor:
        print("running", predictor.variant.name)
        for path in paths or [FACES / f"{name}.png" for name in EMOTIONS]:
            prediction = predictor(path)
            if prediction.uncertain:
                print(f"{path}: no answer, {prediction.reason}")
            else:
                print(f"{path}: {prediction.label}, confidence {prediction.confidence:.2f}")
        print("\nWhy this variant:")
        for choice in predictor.explain():
            print(" ", choice)


if __name__ == "__main__":
    main(sys.argv[1:])
