"""Find the stored faces nearest to a new one, by embedding.

    python examples/embeddings_search.py [IMAGE ...]

The stored faces are the composites of the package. Embeddings are features of a face: treat them
as personal data. Nothing here identifies a person.
"""

import sys

import numpy as np

from fer_edge import EMOTIONS, Predictor, read_image
from fer_edge.shipped import FACES


def unit(vectors: np.ndarray) -> np.ndarray:
    """Scale vectors, float32 ``[N, D]``, to length 1.

    A dot product of two is their cosine.
    """
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def main(paths: list[str]) -> None:
    with Predictor() as predictor:
        stored = predictor.predict_batch([FACES / f"{name}.png" for name in EMOTIONS])
        gallery = unit(np.stack([prediction.embedding for prediction in stored]))
        # Without arguments, search for the mirror images of the stored faces.
        queries = [read_image(path) for path in paths] or [
            np.ascontiguousarray(read_image(FACES / f"{name}.png")[:, ::-1]) for name in EMOTIONS
        ]
        answers = predictor.predict_batch(queries)

    cosines = unit(np.stack([prediction.embedding for prediction in answers])) @ gallery.T
    for name, row in zip(paths or EMOTIONS, cosines, strict=True):
        nearest = row.argsort()[::-1][:3]
        print(name, "->", ", ".join(f"{EMOTIONS[i]} {row[i]:.2f}" for i in nearest))


if __name__ == "__main__":
    main(sys.argv[1:])
