"""Small files that promise much are refused in bounded memory, with a sentence of ours."""

from __future__ import annotations

import contextlib
import os
import resource
import struct
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pyarrow
import pyarrow.parquet
import pytest

from fer_edge.errors import DataError, LabelError
from fer_edge.training.data.faces import hashed, load_faces

# --- HDF5 ----------------------------------------------------------------------------------------


def h5(path: Path, fill: Callable[[Any], None]) -> Path:
    with h5py.File(path, "w") as file:
        fill(file)
    return path


def pictures(file: Any, rows: int = 3) -> None:
    images = file.create_dataset("image", rows, h5py.vlen_dtype(np.uint8))
    for i in range(rows):
        images[i] = np.arange(100 + i, dtype=np.uint8)


def unwritten_labels(file: Any) -> None:
    file.create_dataset("label", 2_000_000_000, "i8")
    file.create_dataset("image", (2_000_000_000, 48, 48), "u1")


def many_strings(file: Any) -> None:
    pictures(file)
    file.create_dataset("label", 1_000_000_000_000, h5py.string_dtype(), chunks=(1024,))


def unwritten_pictures(file: Any) -> None:
    file["label"] = [1, 2]
    file.create_dataset("image", (2, 16_000, 16_000, 3), "u1", chunks=(1, 1000, 1000, 3))


def gzip_bomb(file: Any) -> None:
    images = file.create_dataset(
        "image", (4, 30_000, 30_000), "u1", chunks=(1, 30_000, 30_000), compression="gzip"
    )
    images.id.write_direct_chunk((0, 0, 0), b"x\x9c")
    file["label"] = [1] * 4


def gzip_labels(file: Any) -> None:
    file.create_dataset("image", (2_000, 48, 48), "u1", chunks=(1, 48, 48))
    file.create_dataset("label", 2_000, "S100000", compression="gzip")[:] = b"x"


def overfull_chunk(file: Any) -> None:
    import zlib

    file["image"] = np.zeros((2, 48, 48), np.uint8)
    labels = file.create_dataset("label", 2, "i8", chunks=(2,), compression="gzip")
    labels.id.write_direct_chunk((0,), zlib.compress(bytes(60_000_000)))


def twice_compressed(file: Any) -> None:
    plist = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    plist.set_chunk((2,))
    plist.set_deflate(9)
    plist.set_deflate(9)
    h5py.h5d.create(file.id, b"label", h5py.h5t.NATIVE_INT64, h5py.h5s.create_simple((2,)), plist)
    file["label"][:] = [1, 2]
    pictures(file, 2)


def a_group(file: Any) -> None:
    pictures(file)
    file.create_group("label")


def fewer_labels(file: Any) -> None:
    pictures(file)
    file["label"] = [1, 2]


def more_labels(file: Any) -> None:
    pictures(file)
    file["label"] = [1, 2, 3, 4]


def references(file: Any) -> None:
    pictures(file, 1)
    file.create_dataset("label", 1, h5py.ref_dtype)[0] = file.ref


def compound(file: Any) -> None:
    pictures(file, 1)
    file["label"] = np.zeros(1, [("a", "i4"), ("b", "i4")])


def no_rows_at_all(file: Any) -> None:
    file["image"], file["label"] = 7, 7


def matrix_of_labels(file: Any) -> None:
    pictures(file, 2)
    file["label"] = np.ones((2, 2), int)


H5 = [
    unwritten_labels,
    many_strings,
    unwritten_pictures,
    gzip_bomb,
    gzip_labels,
    overfull_chunk,
    twice_compressed,
    a_group,
    fewer_labels,
    more_labels,
    references,
    compound,
    no_rows_at_all,
    matrix_of_labels,
]


@pytest.mark.parametrize("fill", H5, ids=lambda fill: fill.__name__)
def test_hdf5_that_promises_much(samples: Any, tmp_path: Path, fill: Callable[[Any], None]) -> None:
    path = h5(tmp_path / "x.h5", fill)
    samples.refused_cheaply(f"{path}@order=fer2013-csv")


def test_a_text_as_long_as_a_book_is_no_label(samples: Any, tmp_path: Path) -> None:
    path = samples.write_parquet(tmp_path / "x.parquet", ["x" * 100_000])
    with pytest.raises(LabelError, match="64 characters") as caught:
        load_faces(path)
    assert len(str(caught.value)) < 1000


def test_a_label_for_each_picture_is_no_set_of_labels(samples: Any, tmp_path: Path) -> None:
    path = samples.write_parquet(tmp_path / "x.parquet", [f"label {i}" for i in range(2000)])
    with pytest.raises(LabelError, match="2,000 different labels") as caught:
        load_faces(path)
    assert len(str(caught.value)) < 1000


@pytest.mark.parametrize("name", ["image", "label"])
@pytest.mark.parametrize("chunked", [False, True])
@pytest.mark.parametrize("length", [0x7FFFFFFF, 0xFFFFFFFF, 1 << 20])
def test_a_cell_longer_than_its_file(
    samples: Any, tmp_path: Path, name: str, chunked: bool, length: int
) -> None:
    chunks = (2,) if chunked else None
    with h5py.File(tmp_path / "x.h5", "w") as file:
        images = file.create_dataset("image", 2, h5py.vlen_dtype(np.uint8), chunks=chunks)
        labels = file.create_dataset("label", 2, h5py.string_dtype(), chunks=chunks)
        for i in range(2):
            images[i], labels[i] = np.arange(100, dtype=np.uint8), "happy"
        dataset = file[name]
        at = dataset.id.get_chunk_info(0).byte_offset if chunked else dataset.id.get_offset()
    data = bytearray((tmp_path / "x.h5").read_bytes())
    struct.pack_into("<I", data, at, length)
    (tmp_path / "x.h5").write_bytes(data)
    samples.refused_cheaply(tmp_path / "x.h5", "longer than the file")


@pytest.mark.parametrize("kind", [2, 7, 15])
@pytest.mark.parametrize("name", ["image", "label"])
def test_a_type_of_variable_length_that_does_not_exist(
    samples: Any, tmp_path: Path, name: str, kind: int
) -> None:
    """The library would read foreign memory."""
    path = tmp_path / "x.h5"
    with h5py.File(path, "w") as file:
        pictures(file, 1)
        file["label"] = np.array(["happy"], h5py.string_dtype())
        stored = file[name].id.get_type().encode()[2:6] + bytes([16, 0, 0, 0])
    data = bytearray(path.read_bytes())
    data[data.index(stored) + 1] = kind
    path.write_bytes(data)
    samples.refused_cheaply(path, "type is damaged")


@pytest.mark.parametrize("size", [0, 8, 1 << 20, (1 << 64) - 8])
@pytest.mark.parametrize("index", [0, 3])
def test_a_heap_that_has_no_end(samples: Any, tmp_path: Path, index: int, size: int) -> None:
    """The library would walk it forever."""
    path = h5(tmp_path / "x.h5", lambda file: (pictures(file), file.update({"label": [1, 2, 3]})))
    data = bytearray(path.read_bytes())
    at = data.index(b"GCOL") + 16
    for _ in range(3):  # the pictures; then free space
        stored = struct.unpack_from("<Q", data, at + 8)[0]
        at += 16 + (stored + 7) // 8 * 8
    struct.pack_into("<HHIQ", data, at, index, 1, 0, size)
    if (index, size) in ((3, 0), (3, 8)):
        struct.pack_into("<HHIQ", data, at + 16 + size, 0, 0, 0, 0)
    path.write_bytes(data)
    samples.refused_cheaply(f"{path}@order=fer2013-csv", "heap")


def test_the_order_of_channels_is_read_from_a_fixed_text_only(samples: Any, tmp_path: Path) -> None:
    """One changed byte in the length of a variable text takes 2 GB."""
    for value, accepted in ((np.bytes_(b"rgb"), True), ("rgb", False)):
        with h5py.File(tmp_path / f"{accepted}.h5", "w") as file:
            file["image"] = np.zeros((1, 48, 48, 3), np.uint8)
            file["label"] = np.array(["happy"], h5py.string_dtype())
            file["image"].attrs["colour"] = value
    assert len(load_faces(tmp_path / "True.h5")) == 1
    samples.refused_cheaply(tmp_path / "False.h5", "@colour=rgb")


@pytest.mark.parametrize("compression", ["gzip", None])
def test_compressed_texts_and_pixels_are_still_read(
    samples: Any, tmp_path: Path, compression: str | None
) -> None:
    with h5py.File(tmp_path / "x.h5", "w") as file:
        file.create_dataset(
            "image",
            data=np.stack([samples.known(n) for n in samples.FOLDERS]),
            chunks=True,
            compression=compression,
            shuffle=True,
            fletcher32=True,
        )
        labels = np.array(samples.FOLDERS, h5py.string_dtype())
        file.create_dataset("label", data=labels, chunks=True, compression=compression)
    hashes, broken = hashed(load_faces(tmp_path / "x.h5"))
    assert len(hashes) == 7
    assert not broken


# --- parquet -------------------------------------------------------------------------------------


def parquet(path: Path, columns: dict[str, Any], **options: Any) -> Path:
    pyarrow.parquet.write_table(pyarrow.table(columns), path, **options)
    return path


def repeated(value: Any, rows: int) -> Any:
    """A column that holds one value once."""
    return pyarrow.DictionaryArray.from_arrays(pyarrow.array(np.zeros(rows, np.int32)), [value])


PNG = b"\x89PNG" + bytes(100)
IMAGE = pyarrow.struct([("bytes", pyarrow.binary()), ("path", pyarrow.string())])


def test_parquet_with_many_rows_of_a_dictionary(samples: Any, tmp_path: Path) -> None:
    rows = 3_000_000
    image = pyarrow.StructArray.from_arrays(
        [repeated(PNG, rows), repeated("x", rows)], ["bytes", "path"]
    )
    path = parquet(tmp_path / "x.parquet", {"image": image, "label": repeated("happy", rows)})
    samples.refused_cheaply(path, "promises 3,000,000 pictures")


def test_parquet_with_a_large_picture_many_times(samples: Any, tmp_path: Path) -> None:
    rows, large = 5_000, os.urandom(1_000_000)
    image = pyarrow.StructArray.from_arrays([repeated(large, rows)], ["bytes"])
    path = parquet(tmp_path / "x.parquet", {"image": image, "label": repeated("happy", rows)})
    samples.refused_cheaply(path, "unpacks to")


@pytest.mark.parametrize("column", ["label", "name", "subject"])
def test_parquet_with_a_long_text_many_times(samples: Any, tmp_path: Path, column: str) -> None:
    rows = 9_000
    image = pyarrow.array([samples.struct("happy")] * rows, IMAGE)
    columns = {"image": image, "label": repeated("happy", rows)}
    path = parquet(tmp_path / "x.parquet", columns | {column: repeated("x" * 1_000_000, rows)})
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with contextlib.suppress(LabelError):
        load_faces(path, labels=("happiness",))
    assert (
        resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    ) / 1024 < samples.MOST_GROWTH_MB


@pytest.mark.parametrize("compression", ["zstd", "gzip", "brotli", "snappy"])
def test_parquet_that_unpacks_to_gigabytes(samples: Any, tmp_path: Path, compression: str) -> None:
    image = pyarrow.array([{"bytes": bytes(30_000_000), "path": None}] * 4, IMAGE)
    columns = {"image": image, "label": ["happy"] * 4}
    path = parquet(tmp_path / "x.parquet", columns, compression=compression, use_dictionary=False)
    samples.refused_cheaply(path, "unpacks to")


def test_parquet_with_a_column_twice(samples: Any, tmp_path: Path) -> None:
    arrays = [pyarrow.array([samples.struct("happy")], IMAGE), *[pyarrow.array(["happy"])] * 2]
    table = pyarrow.Table.from_arrays(arrays, ["image", "label", "label"])
    pyarrow.parquet.write_table(table, tmp_path / "x.parquet")
    samples.refused_cheaply(tmp_path / "x.parquet", "'label' twice")


@pytest.mark.parametrize(
    "label", [[["a"]], [{"a": 1}], [b"\xff\xfe"], [1.5], [True], [None], [np.datetime64("now")]]
)
def test_parquet_with_labels_of_odd_types(samples: Any, tmp_path: Path, label: Any) -> None:
    path = parquet(tmp_path / "x.parquet", {"image": [samples.struct("happy")], "label": label})
    with pytest.raises((DataError, ValueError)) as caught:
        load_faces(path)
    assert type(caught.value).__module__ == "fer_edge.errors"


@pytest.mark.parametrize(
    "text", ["[" * 200_000, '{"info": ' * 200_000, "{" * 5, '{"info": {"features": []}}', "1" * 9]
)
def test_parquet_with_deep_metadata(samples: Any, tmp_path: Path, text: str) -> None:
    table = pyarrow.table({"image": [samples.struct("happy")], "label": ["happy"]})
    path = tmp_path / "x.parquet"
    pyarrow.parquet.write_table(table.replace_schema_metadata({"huggingface": text}), path)
    assert len(load_faces(path)) == 1


@pytest.mark.parametrize("cut", [1, 4, 8, 9, 20, 100])
def test_parquet_with_a_broken_footer(samples: Any, tmp_path: Path, cut: int) -> None:
    path = samples.write_parquet(tmp_path / "x.parquet", ["happy"] * 3)
    data = path.read_bytes()
    for damaged in (data[:-cut], data[:-cut] + bytes(cut), data[:-8] + b"\xff\xff\xff\x7fPAR1"):
        path.write_bytes(damaged)
        samples.refused_cheaply(path)


# --- files that are none -------------------------------------------------------------------------

PIPES = [
    "x.csv",
    "x.parquet",
    "x.h5",
    "f/x.csv",
    "f/x.parquet",
    "f/train.parquet",
    "f/state.json",
    "f/dataset_dict.json",
    "f/training.csv",
    "f/happy/0",
    "f/happy/0.png",
    "f/fer2013new.csv",
    "f/FER2013Train/label.csv",
    "f/EmoLabel/list_patition_label.txt",
]


@pytest.mark.parametrize("name", PIPES)
def test_a_pipe_is_not_opened(tmp_path: Path, name: str) -> None:
    """In a process of its own: opening one would wait forever."""
    path = tmp_path / name
    path.parent.mkdir(parents=True, exist_ok=True)
    os.mkfifo(path)
    code = (
        "import sys\nfrom fer_edge.training.data.faces import load_faces, readable_faces\n"
        "from fer_edge.errors import FerEdgeError\n"
        "try:\n    readable_faces(load_faces(sys.argv[1], sys.argv[2] or None), 'fail', print)\n"
        "except FerEdgeError as error:\n    print('refused', error)\n"
    )
    source = path if path.parent == tmp_path else tmp_path / "f"
    split = "train" if "train" in name.lower() or "Emo" in name else ""
    done = subprocess.run(
        [sys.executable, "-P", "-c", code, str(source), split],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "refused" in done.stdout


# --- pictures' labels in files of their own ------------------------------------------------------


@pytest.mark.parametrize("shape", [(1_000_000_000_000,), (1,), (2, 2)])
def test_a_label_file_that_promises_much(samples: Any, tmp_path: Path, shape: Any) -> None:
    root = Path(samples.affectnet_sets(tmp_path / "set"))
    path = root / "train_set" / "annotations" / "0_exp.npy"
    with path.open("wb") as file:
        np.lib.format.write_array_header_1_0(
            file, {"shape": shape, "fortran_order": False, "descr": "<i8"}
        )
        file.write(bytes(64))
    with pytest.raises(DataError, match="one number"):
        load_faces(root, "train")
