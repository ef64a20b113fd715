"""Mutated data sets: CSV, lists, HDF5, parquet, saved Arrow and class folders, loaded and read.

PYTHONPATH=tests/campaign python tests/campaign/data.py --count 1000
"""

from __future__ import annotations

import functools
import itertools
import os
import shutil
import struct
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import cv2
import datasets
import h5py
import numpy as np
import pyarrow
import pyarrow.parquet
from common import Case, main

from fer_edge.labels import EMOTIONS
from fer_edge.training.data.faces import hashed, load_faces

Rng = np.random.Generator
Mutation = Callable[[Rng, bytes], bytes]


def cases(rng: Rng, folder: Path) -> Iterator[Case]:
    warnings.simplefilter("ignore")
    makers = [_fer2013, _list, _hdf5, _hdf5_pixels, _parquet, _saved, _classes]
    numbers = itertools.count()
    kept = {make: make(folder / make.__name__, rng) for make in makers}
    while True:
        make = makers[rng.integers(len(makers))]
        files = kept[make]
        if make is _classes:
            yield functools.partial(_crowd, rng, folder / "crowd", files)
            continue
        target = files[rng.integers(len(files))]
        mutate = _MUTATIONS[rng.integers(len(_MUTATIONS))]
        copy = folder / f"case-{next(numbers)}"  # a path again would be a file that is open

        def case(
            root: Path = folder / make.__name__,
            target: Path = target,
            mutate: Mutation = mutate,
            copy: Path = copy,
        ) -> None:
            shutil.copytree(root, copy)
            changed = copy / target.relative_to(root)
            changed.write_bytes(mutate(rng, changed.read_bytes())[: 8 << 20])
            one_file = changed.suffix in (".csv", ".h5", ".parquet")
            try:
                _load(changed if one_file and rng.random() < 0.5 else copy)
            finally:
                shutil.rmtree(copy)

        yield case


def _load(path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        faces = load_faces(f"{path}@order=fer2013-csv", "train" if path.is_dir() else None)
    hashed(faces[:20])


# --- data sets that are whole --------------------------------------------------------------------


def _picture(rng: Rng, suffix: str = ".png") -> bytes:
    small = rng.integers(0, 256, (6, 6), np.uint8)
    return bytes(cv2.imencode(suffix, cv2.resize(small, (48, 48)))[1].tobytes())


def _fer2013(root: Path, rng: Rng) -> list[Path]:
    root.mkdir()
    rows = ["emotion,pixels,Usage"]
    for i in range(14):
        pixels = " ".join(map(str, rng.integers(0, 256, 48 * 48)))
        rows.append(f"{i % 7},{pixels},{'Training' if i < 10 else 'PublicTest'}")
    (root / "fer2013.csv").write_text("\n".join(rows), "utf-8")
    return [root / "fer2013.csv"]


def _list(root: Path, rng: Rng) -> list[Path]:
    root.mkdir()
    rows = ["path,label,split,subject"]
    for i, name in enumerate(EMOTIONS):
        (root / f"{i}.png").write_bytes(_picture(rng))
        rows.append(f"{i}.png,{name},train,s{i}")
    (root / "list.csv").write_text("\n".join(rows), "utf-8")
    return [root / "list.csv"]


def _hdf5(root: Path, rng: Rng) -> list[Path]:
    root.mkdir()
    for name, chunks in (("a.h5", None), ("b.h5", (4,))):
        with h5py.File(root / name, "w") as file:
            images = file.create_dataset("train/image", 7, h5py.vlen_dtype(np.uint8), chunks=chunks)
            for i in range(7):
                images[i] = np.frombuffer(_picture(rng), np.uint8)
            file["train/label"] = np.array(EMOTIONS, h5py.string_dtype())
    return [root / "a.h5", root / "b.h5"]


def _hdf5_pixels(root: Path, rng: Rng) -> list[Path]:
    root.mkdir()
    with h5py.File(root / "c.h5", "w") as file:
        pixels = rng.integers(0, 256, (7, 48, 48), np.uint8)
        file.create_dataset("image", data=pixels, chunks=(2, 48, 48), compression="gzip")
        file.create_dataset("label", data=np.arange(7), chunks=(3,), compression="gzip")
    return [root / "c.h5"]


def _parquet(root: Path, rng: Rng) -> list[Path]:
    root.mkdir()
    table = _table(rng)
    for name in ("snappy", "zstd", "gzip"):
        pyarrow.parquet.write_table(table, root / f"{name}-train.parquet", compression=name)
    return sorted(root.iterdir())


def _table(rng: Rng) -> pyarrow.Table:
    images = [{"bytes": _picture(rng), "path": None} for _ in EMOTIONS]
    return pyarrow.table({"image": images, "label": list(EMOTIONS), "subject": ["s"] * 7})


def _saved(root: Path, rng: Rng) -> list[Path]:
    images = [{"bytes": _picture(rng), "path": None} for _ in EMOTIONS]
    features = datasets.Features(
        {"image": datasets.Image(), "label": datasets.ClassLabel(names=list(EMOTIONS))}
    )
    rows = {"image": images, "label": list(range(7))}
    datasets.disable_progress_bars()
    whole = datasets.Dataset.from_dict(rows, features=features)
    datasets.DatasetDict(train=whole).save_to_disk(str(root))
    return sorted(file for file in root.rglob("*") if file.is_file())


def _classes(root: Path, rng: Rng) -> list[Path]:
    root.mkdir()
    for suffix in (".png", ".jpg", ".bmp", ".webp", ".tiff"):
        (root / f"0{suffix}").write_bytes(_picture(rng, suffix))
    return sorted(root.iterdir())


# --- mutations -----------------------------------------------------------------------------------


def _flip(rng: Rng, data: bytes) -> bytes:
    changed = bytearray(data)
    for _ in range(rng.integers(1, 12)):
        changed[rng.integers(len(changed))] = rng.integers(256)
    return bytes(changed)


def _flip_at_the_ends(rng: Rng, data: bytes) -> bytes:
    """Headers and footers are there."""
    changed = bytearray(data)
    for _ in range(rng.integers(1, 6)):
        at = int(rng.integers(min(1000, len(changed))))
        changed[at if rng.random() < 0.5 else -1 - at] = rng.integers(256)
    return bytes(changed)


def _cut(rng: Rng, data: bytes) -> bytes:
    return data[: rng.integers(len(data))]


def _splice(rng: Rng, data: bytes) -> bytes:
    a, b = sorted(rng.integers(0, len(data), 2))
    where = rng.integers(len(data))
    return data[:where] + data[a:b] * int(rng.integers(1, 4)) + data[where:]


def _lengths(rng: Rng, data: bytes) -> bytes:
    """Four or eight bytes become a number that is far too large."""
    value = int(rng.choice([0x7FFFFFFF, 0xFFFFFFFF, 0x40000000, 0x00FFFFFF, 0xFFFF, 0]))
    form = str(rng.choice(["<I", ">I", "<Q"]))
    at = int(rng.integers(max(len(data) - 8, 1)))
    return data[:at] + struct.pack(form, value) + data[at + struct.calcsize(form) :]


def _text(rng: Rng, data: bytes) -> bytes:
    """A word, a number or a separator becomes a hostile one."""
    old = [b",", b"\n", b'"', b"train", b"label", b"emotion", b"0", b"png", b"data-00000", b"1"]
    new = [
        b"",
        b"\x00",
        b"\xff",
        b"../",
        b"/etc/passwd",
        b"9" * 400,
        b"inf",
        b"nan",
        b"[" * 5000,
        b"\xef\xbb\xbf",
        b"\xff\xfe",
        b";",
        b"'",
        b'"',
        b"\r",
        b"x" * 200_000,
        b"-1",
        b"1e999",
        b"\\",
        b"null",
        b"{}",
        b"label",
        b"image",
        b"\xd9\xa3",
    ]
    one, other = old[rng.integers(len(old))], new[rng.integers(len(new))]
    return data.replace(one, other, int(rng.integers(1, 20)))


def _encoding(rng: Rng, data: bytes) -> bytes:
    text = data.decode("latin-1")
    coding = str(rng.choice(["utf-8-sig", "utf-16", "utf-16-le", "utf-32", "cp037"]))
    return text.encode(coding, "replace")


def _repeat(rng: Rng, data: bytes) -> bytes:
    """The file, or a part of it, many times over; at most 8 MiB."""
    a, b = sorted(rng.integers(0, len(data) + 1, 2))
    part = data[a:b] or b","
    return data[:a] + part * min(int(rng.integers(1, 100_000)), (8 << 20) // len(part)) + data[b:]


_OFTEN = [_flip, _lengths, _text]
_MUTATIONS: list[Mutation] = [
    *_OFTEN,
    *_OFTEN,
    _flip_at_the_ends,
    _cut,
    _splice,
    _encoding,
    _repeat,
]


def _crowd(rng: Rng, root: Path, pictures: list[Path]) -> None:
    """Class folders with what people, cameras and file systems leave there."""
    shutil.rmtree(root, ignore_errors=True)
    names = [
        b"happy",
        b"sad",
        b"3",
        b"neutral",
        b"__MACOSX",
        b".ipynb_checkpoints",
        b"@eaDir",
        b"train",
        b"m\xfcde",
        b" happy",
        b"HAPPY",
        b"\n",
        b"val",
        b"x" * 200,
    ]
    files = [
        b"0.png",
        b"1.JPG",
        b"2",
        b"3.tif",
        b"._0.png",
        b"Thumbs.db",
        b"4.jfif",
        b"\xff.png",
        b"5.csv",
        b"state.json",
        b"label.csv",
        b"6.parquet",
        b"7.h5",
        b"training.csv",
        b"8.gif",
    ]
    root.mkdir()
    for _ in range(rng.integers(1, 12)):
        below = root
        for i in rng.integers(len(names), size=rng.integers(0, 4)):
            below = below / os.fsdecode(names[i])
        path = below / os.fsdecode(files[rng.integers(len(files))])
        kind = rng.integers(10)
        below.mkdir(parents=True, exist_ok=True)
        if path.exists() or path.is_symlink():
            continue
        if kind == 0:
            path.symlink_to(root if rng.random() < 0.5 else "/etc/passwd")
        elif kind == 1:
            path.mkdir()
        elif kind == 2:
            os.mkfifo(path)
        else:
            data = pictures[rng.integers(len(pictures))].read_bytes()
            path.write_bytes(data if kind > 3 else _flip(rng, data))
    _load(root)


if __name__ == "__main__":
    main(cases, 1_000)
