"""Predict many faces in one call, as crops and as boxes.

    python examples/batch_of_faces.py

The faces are the composites that ship with the package, placed side by side in one frame.
``predict_faces`` widens each box by the bundle's margin, as for the boxes of a face detector, so
that its probabilities differ a little from those of the bare crops.
"""

import cv2
import numpy as np

from fer_edge import EMOTIONS, Predictor, read_image
from fer_edge.shipped import FACES

SIZE_PX = 96


def main() -> None:
    crops = [cv2.resize(read_image(FACES / f"{name}.png"), (SIZE_PX, SIZE_PX)) for name in EMOTIONS]
    frame = np.concatenate(crops, axis=1)  # uint8 [H, W, 3], BGR
    boxes = [(i * SIZE_PX, 0, SIZE_PX, SIZE_PX) for i in range(len(crops))]

    # "throughput" spreads a batch over the cores; "latency", the default, is for one face.
    with Predictor(hint="throughput") as predictor:
        from_crops = predictor.predict_batch(crops)
        from_boxes = predictor.predict_faces(frame, boxes)

    for name, crop, box in zip(EMOTIONS, from_crops, from_boxes, strict=True):
        print(f"{name:10} crop: {crop.label:10} {crop.confidence:.2f}  ", end="")
        print(f"box: {box.label:10} {box.confidence:.2f}")
    times = from_crops[0].times
    print(f"{len(crops)} faces in {times.infer_ms:.1f} ms")


if __name__ == "__main__":
    main()
