"""Composite faces: averages of many training faces of one class.

A composite shows an expression, but no particular person, so it may be shipped. A fresh
installation can predict, calibrate and check parity on composites. Faces of one pose are averaged,
so that eyes and mouth stay sharp. A teacher, not the network that ships, selects the clear ones:
composites are easier than real faces. Figures measured on them say so, and do not replace figures
on your own faces.

    python -m fer_edge.training.make_composites DATA TEACHER_CHECKPOINT OUT_FOLDER
"""

from __future__ import annotations

from pathlib import Path

import click
import cv2
import numpy as np
import numpy.typing as npt
import pyarrow
import pyarrow.parquet
from rich.progress import track

from fer_edge.atomic import replacing, write_file
from fer_edge.labels import EMOTIONS, SOURCE_ORDERS
from fer_edge.module_command import ModuleCommand
from fer_edge.progress import silent
from fer_edge.shipped import checkpoint_path
from fer_edge.training.data.faces import LabelledFace, load_faces, pixel_hash
from fer_edge.training.evaluation.runner import open_model

AVERAGED = 24
"""Number of faces in one composite: enough to hide each single face."""
PER_CLASS = {"train": 48, "val": 48}
"""Number of composites of each class, by part."""
_DUPLICATE_CORRELATION = 0.85
"""Least normalised correlation of two faces that count as duplicates."""
_SHIFT_PX = 6
"""Largest shift in pixels between duplicates."""
_SEED = 2026

Floats = npt.NDArray[np.float32]


def clear_faces(faces: list[LabelledFace], label: str) -> list[LabelledFace]:
    """Return the half of a class on which FER+ voters agreed most."""
    column = SOURCE_ORDERS["ferplus"].index(label)
    # FER2013 repeats images: a duplicate would weigh twice, and could show a person in a small
    # class.
    distinct = {pixel_hash(face): face for face in faces if face.label == label}
    own = list(distinct.values())
    votes = [face.votes[column] if face.votes else 0 for face in own]
    ranked = sorted(zip(votes, range(len(own)), strict=True), key=lambda pair: (-pair[0], pair[1]))
    return [own[i] for _, i in ranked[: max(len(own) // 2, AVERAGED)]]


def normalised(faces: list[LabelledFace]) -> Floats:
    """Return grey faces float32 ``[N, H, W]`` with mean 0, deviation 1."""
    grey = np.stack([cv2.cvtColor(f.read(), cv2.COLOR_BGR2GRAY) for f in faces]).astype(np.float32)
    deviation: Floats = np.maximum(grey.std((1, 2), keepdims=True), 1)
    flat: Floats = (grey - grey.mean((1, 2), keepdims=True)) / deviation
    return flat


def are_duplicates(a: Floats, b: Floats) -> bool:
    """Return True for one image twice, possibly shifted or mirrored."""
    middle = np.ascontiguousarray(a[_SHIFT_PX:-_SHIFT_PX, _SHIFT_PX:-_SHIFT_PX])
    sides = (b, np.ascontiguousarray(b[:, ::-1]))
    return any(
        cv2.matchTemplate(s, middle, cv2.TM_CCOEFF_NORMED).max() > _DUPLICATE_CORRELATION
        for s in sides
    )


def of_one_pose(pool: Floats, seed: int) -> frozenset[int]:
    """Return the seed and the faces most similar to it, without duplicates."""
    likeness = pool.reshape(len(pool), -1) @ pool[seed].ravel()
    picked = [seed]
    for i in np.argsort(-likeness, kind="stable"):
        if len(picked) == AVERAGED:
            break
        if i != seed and not any(are_duplicates(pool[i], pool[j]) for j in picked):
            picked.append(int(i))
    return frozenset(picked)


def composite(faces: Floats) -> npt.NDArray[np.uint8]:
    """Return the mean face as BGR uint8, with normal contrast."""
    mean = faces.mean(axis=0)
    image: npt.NDArray[np.uint8] = np.clip(128 + 58 * mean / mean.std(), 0, 255).astype(np.uint8)
    bgr: npt.NDArray[np.uint8] = np.repeat(image[..., None], 3, axis=2)
    return bgr


def _png(image: npt.NDArray[np.uint8]) -> bytes:
    grey = cv2.cvtColor(image, cv2.COLOR_BGR2GRAY)
    return cv2.imencode(".png", grey, [cv2.IMWRITE_PNG_COMPRESSION, 9])[1].tobytes()


def make(source: Path, teacher: Path, out: Path) -> None:
    """Write composites of a data set as Parquet and PNG files.

    Args:
        source: Data set with a ``train`` part.
        teacher: Checkpoint folder or bundle that selects the clear composites.
        out: Folder for ``faces-train.parquet``, ``faces-val.parquet`` and the PNG files.

    Raises:
        DataError: The data cannot be read.
        CheckpointError: The teacher cannot be loaded.
    """
    faces = load_faces(source, "train", EMOTIONS)
    rng = np.random.default_rng(_SEED)
    out.mkdir(parents=True, exist_ok=True)
    rows: dict[str, list[tuple[str, bytes]]] = {split: [] for split in PER_CLASS}
    with open_model(teacher) as runner:
        for label in EMOTIONS:
            pool = normalised(clear_faces(faces, label))
            seeds = range(len(pool))
            sets = {of_one_pose(pool, seed) for seed in track(seeds, label)}
            images = [composite(pool[sorted(each)]) for each in sorted(sets, key=sorted)]
            probabilities, _ = runner.predict(images, label, silent)
            ranked = np.argsort(-probabilities[:, runner.labels.index(label)], kind="stable")
            write_file(out / f"{label}.png", _png(images[ranked[0]]))
            clearest = rng.permutation(ranked[: sum(PER_CLASS.values())])
            for split, count in PER_CLASS.items():
                rows[split] += [(label, _png(images[i])) for i in clearest[:count]]
                clearest = clearest[count:]
    for split, content in rows.items():
        table = pyarrow.table(
            {
                "name": [f"composite-{split}-{i:03d}" for i in range(len(content))],
                "image": [{"bytes": data, "path": None} for _, data in content],
                "label": [label for label, _ in content],
            }
        )
        with replacing(out / f"faces-{split}.parquet") as temporary:
            pyarrow.parquet.write_table(table, temporary, compression="zstd")


@click.command("make_composites", cls=ModuleCommand)
@click.argument("data", type=click.Path(path_type=Path))
@click.argument("teacher", type=checkpoint_path)
@click.argument("out", type=click.Path(path_type=Path))
def main(data: Path, teacher: Path, out: Path) -> None:
    """Average faces of DATA that the checkpoint TEACHER is sure of, into the folder OUT."""
    make(data, teacher, out)


if __name__ == "__main__":
    main()
