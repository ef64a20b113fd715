"""Composite faces: averages of many training faces of one class, which may be shipped.

A composite shows nobody in particular and still shows the expression, so that a fresh
installation has something to predict, calibrate and judge on. Faces of one pose are averaged, so
that eyes and mouth stay sharp, and a teacher (not the network that ships) keeps the clear ones:
they are easier than real faces. Figures measured on composites say so, and are no substitute
for faces of one's own.

    python -m fer_edge.training.make_composites DATA TEACHER_CHECKPOINT OUT_FOLDER
"""

from __future__ import annotations

import sys
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import pyarrow
import pyarrow.parquet
from rich.progress import track

from fer_edge.labels import EMOTIONS, SOURCE_ORDERS
from fer_edge.training.data.faces import LabelledFace, load_faces, pixel_hash
from fer_edge.training.evaluation.runner import opened

AVERAGED = 24
"""Faces in one composite: enough that no single one can be made out."""
PER_CLASS = {"train": 48, "val": 48}
_TWINS = 0.85
_SHIFT_PX = 6
_SEED = 2026

Floats = npt.NDArray[np.float32]


def clear_faces(faces: list[LabelledFace], label: str) -> list[LabelledFace]:
    """The faces of a class on which FER+'s ten voters agreed most, where there are votes."""
    column = SOURCE_ORDERS["ferplus"].index(label)
    # FER2013 repeats pictures; a twin would weigh twice, and in a small class show somebody.
    distinct = {pixel_hash(face): face for face in faces if face.label == label}
    own = list(distinct.values())
    votes = [face.votes[column] if face.votes else 0 for face in own]
    ranked = sorted(zip(votes, range(len(own)), strict=True), key=lambda pair: (-pair[0], pair[1]))
    return [own[i] for _, i in ranked[: max(len(own) // 2, AVERAGED)]]


def normalised(faces: list[LabelledFace]) -> Floats:
    """Grey faces ``[N, H, W]``, each of mean 0 and deviation 1."""
    grey = np.stack([cv2.cvtColor(f.read(), cv2.COLOR_BGR2GRAY) for f in faces]).astype(np.float32)
    deviation: Floats = np.maximum(grey.std((1, 2), keepdims=True), 1)
    flat: Floats = (grey - grey.mean((1, 2), keepdims=True)) / deviation
    return flat


def are_twins(a: Floats, b: Floats) -> bool:
    """One picture twice, perhaps moved a little or mirrored: together they would show somebody."""
    middle = np.ascontiguousarray(a[_SHIFT_PX:-_SHIFT_PX, _SHIFT_PX:-_SHIFT_PX])
    sides = (b, np.ascontiguousarray(b[:, ::-1]))
    return any(cv2.matchTemplate(s, middle, cv2.TM_CCOEFF_NORMED).max() > _TWINS for s in sides)


def of_one_pose(pool: Floats, seed: int) -> frozenset[int]:
    """The seed and the faces most like it that are nobody's twins."""
    likeness = pool.reshape(len(pool), -1) @ pool[seed].ravel()
    picked = [seed]
    for i in np.argsort(-likeness, kind="stable"):
        if len(picked) == AVERAGED:
            break
        if i != seed and not any(are_twins(pool[i], pool[j]) for j in picked):
            picked.append(int(i))
    return frozenset(picked)


def composite(faces: Floats) -> npt.NDArray[np.uint8]:
    """The mean of normalised faces, stretched to the contrast that single faces have, as BGR."""
    mean = faces.mean(axis=0)
    image: npt.NDArray[np.uint8] = np.clip(128 + 58 * mean / mean.std(), 0, 255).astype(np.uint8)
    bgr: npt.NDArray[np.uint8] = np.repeat(image[..., None], 3, axis=2)
    return bgr


def _png(image: npt.NDArray[np.uint8]) -> bytes:
    grey = cv2.cvtColor(image, cv2.COLOR_BGR2GRAY)
    return cv2.imencode(".png", grey, [cv2.IMWRITE_PNG_COMPRESSION, 9])[1].tobytes()


def make(source: Path, teacher: Path, out: Path) -> None:
    """Write ``faces-train.parquet``, ``faces-val.parquet`` and one PNG per class into ``out``."""
    faces = load_faces(source, "train", EMOTIONS)
    rng = np.random.default_rng(_SEED)
    out.mkdir(parents=True, exist_ok=True)
    rows: dict[str, list[tuple[str, bytes]]] = {split: [] for split in PER_CLASS}
    with opened(teacher) as judge:
        for label in EMOTIONS:
            pool = normalised(clear_faces(faces, label))
            seeds = range(len(pool))
            sets = {of_one_pose(pool, seed) for seed in track(seeds, label)}
            images = [composite(pool[sorted(each)]) for each in sorted(sets, key=sorted)]
            sure, _ = judge.answer(images, label, lambda *_: None)
            ranked = np.argsort(-sure[:, judge.labels.index(label)], kind="stable")
            (out / f"{label}.png").write_bytes(_png(images[ranked[0]]))
            kept = rng.permutation(ranked[: sum(PER_CLASS.values())])
            for split, count in PER_CLASS.items():
                rows[split] += [(label, _png(images[i])) for i in kept[:count]]
                kept = kept[count:]
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
    make(Path(sys.argv[1]), Path(sys.argv[2]), Path(sys.argv[3]))
