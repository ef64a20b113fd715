"""Files that bring their library down, in a child process that nobody misses."""

from __future__ import annotations

import importlib
import os
import struct
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import h5py
import numpy as np
import pytest

from fer_edge.errors import DataError
from fer_edge.training.data import trial
from fer_edge.training.data.dataset_spec import DatasetSpec
from fer_edge.training.data.readers import hdf5
from fer_edge.training.data.trial import try_file

READERS = """
import os, time
from fer_edge.errors import DataError, LabelError

def crash(source, split): os.abort()
def leave(source, split): os._exit(3)
def hang(source, split): time.sleep(1000)
def eat(source, split): bytearray(8 << 30)
def surprise(source, split): raise KeyError("what h5py raised")
def label(source, split): raise LabelError("numbers have no order")
def refuse(source, split): raise DataError(f"refused {split} of {source.drop}")
def late(source, split):
    import atexit
    atexit.register(os.abort)
def read(source, split):
    with open(source.path + ".log", "a") as file: file.write("x")
"""


@pytest.fixture(scope="module")
def readers(tmp_path_factory: pytest.TempPathFactory) -> ModuleType:
    folder = tmp_path_factory.mktemp("readers")
    (folder / "trial_readers.py").write_text(READERS, "utf-8")
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(folder))
        return importlib.import_module("trial_readers")


@pytest.fixture
def spec(tmp_path: Path, readers: ModuleType, monkeypatch: pytest.MonkeyPatch) -> DatasetSpec:
    monkeypatch.setenv("PYTHONPATH", str(Path(str(readers.__file__)).parent))
    (tmp_path / "a.h5").write_bytes(b"content")
    return DatasetSpec(str(tmp_path / "a.h5"), drop=("fear", "anger"))


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("crash", "brings its library down (SIGABRT)"),
        ("leave", "brings its library down (exit code 3)"),
        ("eat", "takes more than 272 MiB of memory"),
        ("refuse", "refused train of ('fear', 'anger')"),
    ],
)
def test_the_end_of_the_child_is_a_sentence(
    readers: ModuleType, spec: DatasetSpec, name: str, reason: str
) -> None:
    if name == "eat" and not Path("/proc/self/statm").exists():
        pytest.skip("this system cannot bound a process's memory")
    with pytest.raises(DataError) as refusal:
        try_file(getattr(readers, name), spec, "train")
    assert reason in str(refusal.value)


def test_a_child_that_hangs_is_ended(
    readers: ModuleType, spec: DatasetSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trial, "BASE_S", 1.0)
    with pytest.raises(DataError, match="no answer within 1 s"):
        try_file(readers.hang, spec, None)


@pytest.mark.parametrize("name", ["surprise", "label", "late"])
def test_other_ends_are_left_to_this_process(
    readers: ModuleType, spec: DatasetSpec, name: str
) -> None:
    try_file(getattr(readers, name), spec, None)


def test_a_file_is_tried_again_only_if_it_changed(readers: ModuleType, spec: DatasetSpec) -> None:
    log = Path(f"{spec.path}.log")
    for _ in range(2):
        try_file(readers.read, spec, None)
    assert log.read_text("ascii") == "x"
    os.utime(spec.file, ns=(1, 1))
    try_file(readers.read, spec, None)
    assert log.read_text("ascii") == "xx"


# --- damaged HDF5 --------------------------------------------------------------------------------

Damage = Callable[[np.random.Generator, bytearray], None]


def _bytes(rng: np.random.Generator, data: bytearray) -> None:
    for _ in range(rng.integers(1, 10)):
        data[rng.integers(len(data))] = rng.integers(256)


def _number(rng: np.random.Generator, data: bytearray) -> None:
    value = int(rng.choice([0x7FFFFFFF, 0xFFFFFFFF, 0x40000000, 0xFFFF, 0]))
    form = str(rng.choice(["<I", "<Q"]))
    at = int(rng.integers(len(data) - 8))
    data[at : at + struct.calcsize(form)] = struct.pack(form, value)


def _cut(rng: np.random.Generator, data: bytearray) -> None:
    del data[rng.integers(len(data)) :]


def _intact(path: Path, rng: np.random.Generator) -> bytes:
    pictures = [rng.integers(0, 256, rng.integers(90, 120), np.uint8) for _ in range(7)]
    with h5py.File(path, "w") as file:
        images = file.create_dataset("train/image", 7, h5py.vlen_dtype(np.uint8), chunks=(4,))
        for i, picture in enumerate(pictures):
            images[i] = picture
        file["train/label"] = np.array(["fear"] * 7, h5py.string_dtype())
        pixels = rng.integers(0, 256, (7, 8, 8), np.uint8)
        file.create_dataset("val/image", data=pixels, chunks=(2, 8, 8), compression="gzip")
        file.create_dataset("val/label", data=np.arange(7), chunks=(3,))
    return path.read_bytes()


@pytest.mark.parametrize("count", [16, pytest.param(60, marks=pytest.mark.slow)])
def test_a_damaged_file_is_read_or_refused(tmp_path: Path, count: int) -> None:
    rng = np.random.default_rng(count)
    data = _intact(tmp_path / "intact.h5", rng)
    damages: list[Damage] = [_bytes, _number, _number, _cut]
    refused = 0
    for number in range(count):
        damaged = bytearray(data)
        damages[rng.integers(len(damages))](rng, damaged)
        path = tmp_path / f"{number}.h5"
        path.write_bytes(damaged)
        try:
            try_file(hdf5.read_all, DatasetSpec(str(path)), None)
        except DataError:
            refused += 1
    assert 0 < refused < count
