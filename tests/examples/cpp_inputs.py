"""Images and small OpenVINO bundles for the tests of the C++ example."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from fer_edge.bundle import Bundle, Variant, listed, write_bundle
from fer_edge.preprocess import CropRule, Image


def write_pnm(path: Path, image: Image) -> Path:
    """Write uint8 BGR as PPM, and grey ``[H, W]`` as PGM."""
    magic = b"P5" if image.ndim == 2 else b"P6"
    content = image if image.ndim == 2 else image[:, :, ::-1]
    header = b"%s\n# a comment\n%d %d\n255\n" % (magic, image.shape[1], image.shape[0])
    path.write_bytes(header + np.ascontiguousarray(content).tobytes())
    return path


def write_ir_bundle(path: Path, size_px: int) -> Path:
    """Write a bundle with a small IR: the mean colour, a product and a softmax."""
    from openvino import opset13 as ops

    image = ops.parameter([-1, size_px, size_px, 3], np.uint8)
    mean = ops.reduce_mean(ops.convert(image, "f32"), [1, 2])
    weights = np.random.default_rng(0).normal(0, 0.05, (3, 3)).astype(np.float32)
    shares = ops.softmax(ops.matmul(mean, weights, False, False), 1)
    return write_graph_bundle(path, size_px, image, shares, mean)


def write_graph_bundle(path: Path, size_px: int, image: Any, *outputs: Any) -> Path:
    """Write a bundle of an OpenVINO graph with three labels and an embedding of three."""
    import openvino as ov

    ov.save_model(ov.Model(list(outputs), [image]), path.parent / "model.xml", False)
    contents = {
        f"openvino-fp32/{name}": (path.parent / name).read_bytes()
        for name in ("model.xml", "model.bin")
    }
    files = tuple(listed(name, data) for name, data in contents.items())
    write_bundle(
        Bundle(
            path=path,
            labels=("awake", 'a "nap"', "müde"),
            crop=CropRule(size_px, margin=0.25),
            temperature=1.0,
            abstain_below=0.5,
            embedding_dim=3,
            provenance={},
            variants=(Variant("openvino", "fp32", files[0].path, files),),
        ),
        contents,
    )
    return path


def write_answer_bundle(path: Path, shares: Sequence[float], embedding: Sequence[float]) -> Path:
    """Write a bundle whose network gives one answer to every face."""
    from openvino import opset13 as ops

    image = ops.parameter([-1, 8, 8, 3], np.uint8)
    zero = ops.multiply(ops.reduce_mean(ops.convert(image, "f32"), [1, 2]), np.float32(0))
    outputs = [ops.add(zero, np.array([row], np.float32)) for row in (shares, embedding)]
    return write_graph_bundle(path, 8, image, *outputs)
