"""Composite faces: averages of many training faces of one class, which may be shipped.

A composite shows nobody in particular and still shows the expression, so that a fresh
installation has something to predict, calibrate and judge on. It is blurred, and about as hard as
a real face: a network is less sure of it. Figures measured on composites say so, and are no
substitute for faces of one's own.

    python -m fer_edge.training.composites DATA OUT_FOLDER
"""

from __future__ import annotations

import sys
from pathlib import Path

import cv2
import numpy as np
import pyarrow
import pyarrow.parquet

from fer_edge.labels import EMOTIONS, SOURCE_ORDERS
from fer_edge.training.data import Face, load_faces, pixel_hash

AVERAGED = 24
"""Faces in one composite: enough that no single one can be made out."""
PER_CLASS = {"train": 48, "val": 48}
_SEED = 2026


def clear_faces(faces: list[Face], label: str) -> list[Face]:
    """The faces of a class on which FER+'s ten voters agreed most, where there are votes."""
    column = SOURCE_ORDERS["ferplus"].index(label)
    # FER2013 repeats pictures; a twin would weigh twice, and in a small class show somebody.
    distinct = {pixel_hash(face): face for face in faces if face.label == label}
    own = list(distinct.values())
    votes = [face.votes[column] if face.votes else 0 for face in own]
    ranked = sorted(zip(votes, range(len(own)), strict=True), key=lambda pair: (-pair[0], pair[1]))
    return [own[i] for _, i in ranked[: max(len(own) // 2, AVERAGED)]]


def composite(faces: list[Face]) -> bytes:
    """The mean of the faces as grey PNG, stretched to the contrast that single faces have."""
    grey = [cv2.cvtColor(face.read(), cv2.COLOR_BGR2GRAY).astype(np.float64) for face in faces]
    mean = np.mean([(g - g.mean()) / max(g.std(), 1.0) for g in grey], axis=0)
    image = np.clip(128 + 58 * mean / mean.std(), 0, 255).astype(np.uint8)
    return cv2.imencode(".png", image, [cv2.IMWRITE_PNG_COMPRESSION, 9])[1].tobytes()


def make(source: Path, out: Path) -> None:
    """Write ``faces-train.parquet``, ``faces-val.parquet`` and one PNG per class into ``out``."""
    faces = load_faces(source, "train", EMOTIONS)
    rng = np.random.default_rng(_SEED)
    out.mkdir(parents=True, exist_ok=True)
    rows: dict[str, list[tuple[str, bytes]]] = {split: [] for split in PER_CLASS}
    for label in EMOTIONS:
        pool = clear_faces(faces, label)
        (out / f"{label}.png").write_bytes(composite(pool))
        for split, count in PER_CLASS.items():
            for _ in range(count):
                picked = rng.choice(len(pool), AVERAGED, replace=False)
                rows[split].append((label, composite([pool[i] for i in picked])))
    for split, content in rows.items():
        table = pyarrow.table(
            {
                "name": [f"composite-{split}-{i:03d}" for i in range(len(content))],
                "image": [{"bytes": data, "path": None} for _, data in content],
                "label": [label for label, _ in content],
            }
        )
        pyarrow.parquet.write_table(table, out / f"faces-{split}.parquet", compression="zstd")


if __name__ == "__main__":
    make(Path(sys.argv[1]), Path(sys.argv[2]))
