"""Small real data sets in every supported format, as the fixture ``samples``."""

from __future__ import annotations

import io
import json
import resource
import sys
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import datasets
import h5py
import numpy as np
import pyarrow
import pyarrow.parquet
import pytest

from fer_edge.errors import DataError
from fer_edge.shipped import FACES
from fer_edge.training.data.faces import LabelledFace, load_faces

# The orders of labels as the sources print them, independent of SOURCE_ORDERS.
KAGGLE = ["angry", "disgust", "fear", "happy", "sad", "surprise", "neutral"]
FOLDERS = ["angry", "disgust", "fear", "happy", "neutral", "sad", "surprise"]
AFFECTNET = ["neutral", "happy", "sad", "surprise", "fear", "disgust", "anger", "contempt"]
RAF_DB = ["surprise", "fear", "disgust", "happiness", "sadness", "anger", "neutral"]
FERPLUS = ["neutral", "happiness", "surprise", "sadness", "anger", "disgust"]
FERPLUS += ["fear", "contempt", "unknown", "NF"]
MEANT = {"angry": "anger", "happy": "happiness", "sad": "sadness"}


def meant(name: str) -> str:
    return MEANT.get(name, name)


def known(name: str) -> np.ndarray[Any, Any]:
    """The shipped composite of a class, grey 48x48; contempt has none, so a mirrored one."""
    mirrored = name == "contempt"
    file = FACES / f"{'disgust' if mirrored else meant(name)}.png"
    image = cv2.imread(str(file), cv2.IMREAD_GRAYSCALE)
    assert image is not None
    return np.ascontiguousarray(image[:, ::-1]) if mirrored else image


def png(name: str) -> bytes:
    return cv2.imencode(".png", known(name))[1].tobytes()


def jpg(name: str) -> bytes:
    return cv2.imencode(".jpg", known(name), [cv2.IMWRITE_JPEG_QUALITY, 100])[1].tobytes()


def text(name: str) -> str:
    return " ".join(map(str, known(name).ravel()))


def put(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)


def struct(name: str) -> dict[str, Any]:
    return {"bytes": png(name), "path": None}


# --- a small real data set of each form ----------------------------------------------------------


def class_folders(root: Path) -> str:
    for name in FOLDERS:
        put(root / "train" / name / "1.png", png(name))
    return str(root)


def numbered_folders(root: Path) -> str:
    for number, name in enumerate(FOLDERS):
        put(root / str(number) / "1.png", png(name))
    return f"{root}@order=fer2013-folders"


def numbered_affectnet(root: Path) -> str:
    for number, name in enumerate(AFFECTNET):
        put(root / "train" / str(number) / "1.jpg", jpg(name))
    return f"{root}@order=affectnet-8"


def numbered_raf_db(root: Path) -> str:
    for number, name in enumerate(RAF_DB, start=1):
        put(root / "train" / str(number) / "1.jpg", jpg(name))
    return f"{root}@order=raf-db"


def own_order(root: Path) -> str:
    for number, name in enumerate(RAF_DB):
        put(root / str(number) / "1.png", png(name))
    return f"{root}@order={'/'.join(RAF_DB)}"


def fer2013_csv(root: Path) -> str:
    rows = [f"{number},{text(name)},Training" for number, name in enumerate(KAGGLE)]
    put(root / "fer2013.csv", "\n".join(["emotion,pixels,Usage", *rows, ""]).encode())
    return str(root / "fer2013.csv")


def icml_csv(root: Path) -> str:
    rows = [f"{number},Training,{text(name)}" for number, name in enumerate(KAGGLE)]
    put(root / "icml_face_data.csv", "\n".join(["emotion, Usage, pixels", *rows]).encode())
    return str(root)


def fer_plus(root: Path) -> str:
    """fer2013.csv says happy of everything; the votes know better."""
    rows = [f"3,{text(name)},Training" for name in FERPLUS[:8]]
    put(root / "fer2013.csv", "\n".join(["emotion,pixels,Usage", *rows]).encode())
    votes = [
        f"Training,fer{i:07d}.png," + ",".join("8" if i == j else "0" for j in range(9)) + ",2"
        for i in range(8)
    ]
    put(
        root / "fer2013new.csv",
        "\r\n".join(["Usage,Image name," + ",".join(FERPLUS), *votes, ""]).encode(),
    )
    return f"{root}@labels=ferplus"


def fer_plus_folders(root: Path) -> str:
    rows = []
    for i, name in enumerate(FERPLUS[:8]):
        put(root / "FER2013Train" / f"fer{i:07d}.png", png(name))
        votes = ",".join("9" if name == other else "0" for other in FERPLUS[:9])
        rows.append(f'fer{i:07d}.png,"(0, 0, 48, 48)",{votes},1')
    put(root / "FER2013Train" / "label.csv", "\n".join(rows).encode())
    return str(root)


def fer_plus_parquet(root: Path) -> str:
    columns = {
        f"ferplus_{name}": [8 * (name == other) for other in FERPLUS[:8]] for name in FERPLUS
    }
    table = {"image": [struct(name) for name in FERPLUS[:8]], "fer2013_label": ["sad"] * 8}
    root.mkdir()
    pyarrow.parquet.write_table(pyarrow.table(table | columns), root / "votes.parquet")
    return f"{root / 'votes.parquet'}@labels=ferplus-soft"


def parquet(root: Path) -> str:
    table = {"image": [struct(name) for name in FOLDERS], "label": FOLDERS}
    root.mkdir()
    pyarrow.parquet.write_table(pyarrow.table(table), root / "faces-train.parquet")
    return str(root)


def with_class_label() -> datasets.Dataset:
    """Numbers whose names, in an order of their own, stand in the features."""
    features = datasets.Features(
        {"image": datasets.Image(), "label": datasets.ClassLabel(names=RAF_DB)}
    )
    rows = {"image": [struct(name) for name in RAF_DB], "label": list(range(7))}
    return datasets.Dataset.from_dict(rows, features=features)


def parquet_of_datasets(root: Path) -> str:
    root.mkdir()
    with_class_label().to_parquet(root / "data.parquet")
    return str(root / "data.parquet")


def saved(root: Path) -> str:
    with_class_label().save_to_disk(str(root))
    return str(root)


def saved_parts(root: Path) -> str:
    datasets.DatasetDict(train=with_class_label()).save_to_disk(str(root))
    return str(root)


def hub(root: Path) -> str:
    """datasets takes a folder for a data set of the Hub: the same loader, without the network."""
    for name in FOLDERS:
        put(root / "train" / name / "1.png", png(name))
    return f"hf:{root}"


def hdf5(root: Path) -> str:
    root.mkdir()
    with h5py.File(root / "faces.h5", "w") as file:
        images = file.create_dataset("train/image", 7, h5py.vlen_dtype(np.uint8))
        for i, name in enumerate(FOLDERS):
            images[i] = np.frombuffer(png(name), np.uint8)
        file["train/label"] = np.array(FOLDERS, h5py.string_dtype())
    return str(root / "faces.h5")


def hdf5_pixels(root: Path) -> str:
    root.mkdir()
    with h5py.File(root / "faces.hdf5", "w") as file:
        file["image"] = np.stack([known(name) for name in FOLDERS])
        file["label"] = np.array(FOLDERS, h5py.string_dtype())
    return str(root / "faces.hdf5")


def hdf5_fer2013(root: Path) -> str:
    root.mkdir()
    with h5py.File(root / "data.h5", "w") as file:
        file["Training_pixel"] = np.stack([known(name).ravel() for name in KAGGLE])
        file["Training_label"] = np.arange(7)
        file["PublicTest_pixel"] = np.stack([known("fear").ravel()])
        file["PublicTest_label"] = np.array([2])
    return str(root / "data.h5")


def affectnet_sets(root: Path) -> str:
    for number, name in enumerate(AFFECTNET):
        put(root / "train_set" / "images" / f"{number}.jpg", jpg(name))
        notes = root / "train_set" / "annotations"
        notes.mkdir(exist_ok=True)
        np.save(notes / f"{number}_exp.npy", np.array(str(number)) if number % 2 else number)
    return str(root)


def affectnet_lists(root: Path) -> str:
    head = "subDirectory_filePath,face_x,face_y,face_width,face_height,facial_landmarks,expression"
    rows = []
    for number, name in enumerate(AFFECTNET):
        wide = np.zeros((80, 100), np.uint8)
        wide[20:68, 30:78] = known(name)
        put(
            root / "Manually_Annotated_Images" / "7" / f"{name}.png",
            cv2.imencode(".png", wide)[1].tobytes(),
        )
        rows.append(f"7/{name}.png,30,20,48,48,1;2,{number},0,0")
    for number in (8, 9, 10):
        rows.append(f"7/contempt.png,30,20,48,48,1;2,{number},0,0")
    lists = root / "Manually_Annotated_file_lists"
    put(lists / "training.csv", "\n".join([f"{head},valence,arousal", *rows]).encode())
    return str(root)


def raf_db(root: Path) -> str:
    rows = []
    for number, name in enumerate(RAF_DB, start=1):
        put(root / "basic" / "Image" / "aligned" / f"train_{number:05d}_aligned.jpg", jpg(name))
        rows.append(f"train_{number:05d}.jpg {number}")
    rows.append("test_0001.jpg 1")
    put(root / "basic" / "EmoLabel" / "list_patition_label.txt", "\n".join(rows).encode())
    return str(root)


def kmu_fed(root: Path) -> str:
    codes = {
        "AN": "anger",
        "DI": "disgust",
        "FE": "fear",
        "HA": "happy",
        "SA": "sad",
        "SU": "surprise",
    }
    for code, name in codes.items():
        put(root / f"03_{code}_mr_001.jpg", jpg(name))
    return str(root)


def file_list(root: Path) -> str:
    for name in FOLDERS:
        put(root / "pictures" / f"{name}.png", png(name))
    rows = [f"pictures/{name}.png,{name},train" for name in FOLDERS]
    put(root / "list.csv", "\n".join(["path,label,split", *rows]).encode())
    return str(root / "list.csv")


def shard(path: Path, *members: tuple[str, bytes]) -> Path:
    """Write members as WebDataset's writer does: with times that need an extended header."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as tar:
        for name, data in members:
            member = tarfile.TarInfo(name)
            member.size, member.mtime = len(data), 1.5  # type: ignore[assignment]
            tar.addfile(member, io.BytesIO(data))
    return path


def tar_shards(root: Path) -> str:
    """One shard for each class; the first have labels alone, the others columns."""
    for i, name in enumerate(FOLDERS):
        label = (f"{i:04d}.cls", name.encode())
        if i > 3:
            label = (f"{i:04d}.json", json.dumps({"emotion": name, "subject": "s"}).encode())
        shard(root / f"train-{i:06d}.tar", (f"{i:04d}.png", png(name)), label)
    return str(root)


FORMS: dict[Callable[[Path], str], list[str]] = {
    **dict.fromkeys((class_folders, numbered_folders, parquet, hub), FOLDERS),
    **dict.fromkeys((fer2013_csv, icml_csv, hdf5_fer2013), KAGGLE),
    **dict.fromkeys((numbered_affectnet, affectnet_sets, affectnet_lists), AFFECTNET),
    **dict.fromkeys((numbered_raf_db, own_order, parquet_of_datasets), RAF_DB),
    **dict.fromkeys((saved, saved_parts, raf_db), RAF_DB),
    **dict.fromkeys((hdf5, hdf5_pixels, file_list, tar_shards), FOLDERS),
    **dict.fromkeys((fer_plus, fer_plus_parquet, fer_plus_folders), FERPLUS[:8]),
    kmu_fed: [name for name in FOLDERS if name != "neutral"],
}
LOSSY = {numbered_affectnet, affectnet_sets, numbered_raf_db, raf_db, kmu_fed}

# --- data sets of noise, told apart by a seed ----------------------------------------------------


def noise(seed: int, side: int = 48) -> np.ndarray[Any, Any]:
    return np.random.default_rng(seed).integers(0, 256, (side, side), np.uint8)


def noise_png(seed: int) -> bytes:
    return cv2.imencode(".png", noise(seed))[1].tobytes()


def face(seed: int, label: str = "anger", **more: Any) -> LabelledFace:
    return LabelledFace(noise_png(seed), label, f"face-{seed}", **more)


def write_csv(path: Path, rows: list[tuple[object, ...]], header: str | None = None) -> Path:
    lines = [header or "emotion,pixels,Usage", *(",".join(map(str, row)) for row in rows)]
    path.write_text("\n".join(lines) + "\n", "utf-8")
    return path


def csv_row(emotion: object, seed: int = 0, usage: str = "Training") -> tuple[object, ...]:
    return emotion, " ".join(map(str, noise(seed).ravel())), usage


def write_parquet(path: Path, labels: list[Any], first: int = 0, **columns: Any) -> Path:
    images = [{"bytes": noise_png(first + i), "path": None} for i in range(len(labels))]
    pyarrow.parquet.write_table(pyarrow.table({"image": images, "label": labels, **columns}), path)
    return path


def write_classes(folder: Path, per_class: int = 1, first: int = 0) -> Path:
    for i, name in enumerate(FOLDERS):
        (folder / name).mkdir(parents=True)
        for j in range(per_class):
            (folder / name / f"{j}.png").write_bytes(noise_png(first + per_class * i + j))
    return folder


# --- bounds --------------------------------------------------------------------------------------

MOST_GROWTH_MB = 300


def refused_cheaply(path: Path | str, match: str = "") -> None:
    """Refused, or each picture is; the process has not grown by 300 MB."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(DataError, match=match) as caught:
        load_faces(path)
    after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert (after - before) / 1024 < MOST_GROWTH_MB
    assert len(str(caught.value)) < 1000


# --- fixtures ------------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def samples() -> Any:
    """The functions and tables of this module."""
    return sys.modules[__name__]


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run a test that asks for ``make`` once for every format."""
    if "make" in metafunc.fixturenames:
        metafunc.parametrize("make", FORMS, ids=lambda make: make.__name__)


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep the cache of ``datasets`` in the test's folder."""
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
