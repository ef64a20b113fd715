"""Bundles, pictures and calls that the tests of the Predictor share."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from fer_edge.bundle import Bundle, Variant, listed, write_bundle
from fer_edge.labels import EMOTIONS
from fer_edge.predictor import Predictor
from fer_edge.preprocess import CropRule, Image
from fer_edge.results import Prediction

Call = Callable[[Predictor, Any], object]


CALLS: dict[str, Call] = {
    "one face": lambda predictor, image: predictor(image),
    "one box": lambda predictor, image: predictor(image, (0, 0, 20, 20)),
    "batch": lambda predictor, image: predictor.predict_batch([image]),
    "faces": lambda predictor, image: predictor.predict_faces(image, [(0, 0, 20, 20)]),
}


def bundle_of(path: Path, variants: dict[str, bytes], embedding_dim: int = 3) -> Path:
    """Write a bundle of ``target/precision`` variants with one file each."""
    contents, listing = {}, []
    for name, data in variants.items():
        target, precision = name.split("/")
        file = listed(f"{target}-{precision}/model.onnx", data)
        contents[file.path] = data
        listing.append(Variant(target, precision, file.path, (file,)))
    bundle = Bundle(
        path=path,
        labels=EMOTIONS,
        crop=CropRule(48),
        temperature=1.0,
        abstain_below=0.0,
        embedding_dim=embedding_dim,
        provenance={},
        variants=tuple(listing),
    )
    write_bundle(bundle, contents)
    return path


def answers(row: Sequence[float]) -> bytes:
    """Return a network file for the fake engine, which answers one row."""
    return json.dumps({"row": row, "latency_ms": 0, "fail_after": None}).encode()


def tinted(channel: int, size: int = 60) -> Image:
    """A noisy picture, brightest in blue (0), green (1) or red (2)."""
    image = np.random.default_rng(channel).integers(0, 80, (size, size, 3), dtype=np.uint8)
    image[:, :, channel] += 150
    return image


SEEN = ("fear", "disgust", "anger")


TINTED = [tinted(channel) for channel in range(3)]


def labels(predictions: list[Prediction]) -> list[str]:
    return [prediction.label for prediction in predictions]


FLAT = {
    "black": np.zeros((60, 80, 3), np.uint8),
    "white": np.full((60, 80, 3), 255, np.uint8),
    "grey": np.full((60, 80), 128, np.uint8),
    "blue": np.full((60, 80, 3), (200, 40, 0), np.uint8),
    "dark noise": np.random.default_rng(0).integers(0, 4, (60, 80, 3), dtype=np.uint8),
    "saturated": np.random.default_rng(0).integers(250, 256, (60, 80, 3), dtype=np.uint8),
}
