"""Parquet files and saved data sets are read strictly."""

from __future__ import annotations

import json
import subprocess
import sys
from multiprocessing.reduction import ForkingPickler
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pyarrow
import pyarrow.parquet
import pytest

from fer_edge.errors import DataError, LabelError
from fer_edge.labels import EMOTIONS
from fer_edge.training.data.faces import hashed, load_faces, pixel_hash
from fer_edge.training.data.readers import parquet


@pytest.mark.parametrize(
    ("name", "split"),
    [("faces-train", "train"), ("faces-val", "val"), ("faces", "train"), ("faces-val", None)],
)
def test_one_parquet_file_is_what_its_name_says_or_train(
    samples: Any, tmp_path: Path, name: str, split: str | None
) -> None:
    path = samples.write_parquet(tmp_path / f"{name}.parquet", ["happy", "sad"])
    assert [f.label for f in load_faces(path, split)] == ["happiness", "sadness"]


def test_parquet_names_are_canonical_and_fer2013_label_wins(samples: Any, tmp_path: Path) -> None:
    path = samples.write_parquet(
        tmp_path / "f.parquet", ["sad"], fer2013_label=["Happy"], name=["row 7"]
    )
    (found,) = load_faces(path)
    assert (found.label, found.name, found.votes) == ("happiness", "row 7", None)
    assert np.array_equal(found.read()[..., 0], samples.noise(0))


def test_fer2013_itself_is_read(shared: Path) -> None:
    faces = load_faces(shared / "data" / "fer2013", "val")
    assert len(faces) == 3579
    assert {f.label for f in faces} == set(EMOTIONS)
    assert all(f.votes is not None and sum(f.votes) == 10 for f in faces[:100])


def test_numbers_in_parquet_are_refused(samples: Any, tmp_path: Path) -> None:
    with pytest.raises(LabelError, match=r"f\.parquet.*3"):
        load_faces(samples.write_parquet(tmp_path / "f.parquet", [3, 4]))


@pytest.mark.parametrize("column", ["image", "label"])
def test_a_missing_parquet_column_is_named(samples: Any, tmp_path: Path, column: str) -> None:
    path = samples.write_parquet(tmp_path / "f.parquet", ["happy"])
    pyarrow.parquet.write_table(pyarrow.parquet.read_table(path).drop_columns(column), path)
    with pytest.raises(DataError, match=column):
        load_faces(path)


def test_a_parquet_image_column_of_another_form_is_a_data_error(
    samples: Any, tmp_path: Path
) -> None:
    path = tmp_path / "f.parquet"
    pyarrow.parquet.write_table(
        pyarrow.table({"image": [samples.noise_png(0)], "label": ["happy"]}), path
    )
    with pytest.raises(DataError, match="image"):
        [f.read() for f in load_faces(path)]


def test_a_damaged_parquet_file_is_a_data_error(samples: Any, tmp_path: Path) -> None:
    path = samples.write_parquet(tmp_path / "f.parquet", ["happy"])
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(DataError, match=r"f\.parquet"):
        load_faces(path)


def test_a_large_parquet_file_is_read_by_row(
    samples: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = samples.parquet(tmp_path / "set")
    held = load_faces(path, "train")
    monkeypatch.setattr(parquet, "IN_MEMORY_BYTES", 1000)
    mapped = load_faces(path, "train")
    assert all(isinstance(f.source, bytes) for f in held)
    assert max(len(ForkingPickler.dumps(f.source)) for f in mapped) < 1000
    assert [pixel_hash(f) for f in mapped] == [pixel_hash(f) for f in held]


@pytest.mark.parametrize("name", ["shard-{}.parquet", "train-0000{}-of-00003.parquet"])
def test_shards_share_the_room_in_memory(
    samples: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """Many files of a size that fits make a set that does not."""
    for i in range(3):
        samples.write_parquet(tmp_path / name.format(i), ["happy", "sad"], first=2 * i)
    held = load_faces(tmp_path, "train")
    monkeypatch.setattr(parquet, "IN_MEMORY_BYTES", 12_000)  # a file states 9,782
    mapped = load_faces(tmp_path, "train")
    assert [isinstance(f.source, bytes) for f in mapped] == [True, True, False, False, False, False]
    assert [pixel_hash(f) for f in mapped] == [pixel_hash(f) for f in held]
    assert [f.name for f in mapped] == [f.name for f in held]


def test_class_names_of_a_parquet_file_may_be_damaged(samples: Any, tmp_path: Path) -> None:
    path = Path(samples.parquet_of_datasets(tmp_path / "set"))
    table = pyarrow.parquet.read_table(path)
    for damaged in (b"{", json.dumps({"info": {"features": {"label": 3}}}).encode()):
        pyarrow.parquet.write_table(table.replace_schema_metadata({b"huggingface": damaged}), path)
        with pytest.raises(LabelError, match="no order"):
            load_faces(path)


@pytest.mark.parametrize("name", ["hdf5", "saved", "parquet_of_datasets"])
def test_a_damaged_file_is_a_data_error(samples: Any, tmp_path: Path, name: str) -> None:
    path = Path(getattr(samples, name)(tmp_path / "set"))
    file = next(path.glob("*.arrow")) if path.is_dir() else path
    file.write_bytes(file.read_bytes()[:100])
    with pytest.raises(DataError, match="cannot"):
        load_faces(path)


def test_an_arrow_file_whose_offsets_lead_astray_is_a_data_error(
    samples: Any, tmp_path: Path
) -> None:
    """Read as it stands, it ends the process."""
    path = tmp_path / "set"
    samples.saved(path)
    (file,) = path.glob("*.arrow")
    whole = bytearray(file.read_bytes())
    import pyarrow

    with pyarrow.memory_map(str(file)) as source:
        image = pyarrow.ipc.open_stream(source).read_all()["image"].chunk(0)
        offsets = bytes(image.field("bytes").buffers()[1])[: 4 * (len(image) + 1)]
    at = whole.index(offsets)
    whole[at + 4 : at + 8] = (2**31 - 9).to_bytes(4, "little")
    file.write_bytes(whole)
    with pytest.raises(DataError, match="cannot load"):
        hashed(load_faces(str(path)))


def test_a_saved_data_set_names_no_file_outside_its_folder(samples: Any, tmp_path: Path) -> None:
    path = tmp_path / "set"
    samples.saved(path)
    state = json.loads((path / "state.json").read_text())
    state["_data_files"][0]["filename"] = "../" + state["_data_files"][0]["filename"]
    (path / "state.json").write_text(json.dumps(state))
    with pytest.raises(DataError, match="only files beside"):
        load_faces(path)


def test_parts_of_another_name_are_not_mixed_in(samples: Any, tmp_path: Path) -> None:
    one = samples.with_class_label()
    datasets.DatasetDict(train=one, extra=one).save_to_disk(str(tmp_path / "set"))
    assert len(load_faces(tmp_path / "set", "train")) == 7
    datasets.DatasetDict(val=one, validation=one).save_to_disk(str(tmp_path / "two"))
    with pytest.raises(DataError, match="each once"):
        load_faces(tmp_path / "two", "val")


def test_the_hub_needs_the_network_and_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    with pytest.raises(DataError, match=r"hf:nobody/nothing.*needs the network"):
        load_faces("hf:nobody/nothing", "train")


def test_no_byte_of_a_parquet_footer_ends_the_process(samples: Any, tmp_path: Path) -> None:
    """pyarrow's view of a column aborts for some: no exception, the process is gone."""
    path = samples.write_parquet(tmp_path / "x.parquet", ["happy", "sad"])
    code = (
        "import sys\nfrom pathlib import Path\n"
        "from fer_edge.errors import FerEdgeError\n"
        "from fer_edge.training.data.faces import load_faces\n"
        "path = Path(sys.argv[1])\nwhole = path.read_bytes()\n"
        "length = int.from_bytes(whole[-8:-4], 'little')\n"
        "for at in range(len(whole) - 8 - length, len(whole)):\n"
        "    data = bytearray(whole)\n    data[at] ^= 0x10\n    path.write_bytes(data)\n"
        "    try:\n        load_faces(path)\n    except FerEdgeError:\n        pass\n"
        "print('whole')\n"
    )
    done = subprocess.run(
        [sys.executable, "-P", "-c", code, str(path)],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert (done.returncode, done.stdout) == (0, "whole\n"), done.stderr[-500:]


def test_a_missing_subject_is_no_person(samples: Any, tmp_path: Path) -> None:
    """A column of numbers with gaps has decimals; the same person in another part may have none."""
    labels, nan = ["happy"] * 4, float("nan")
    path = samples.write_parquet(tmp_path / "f.parquet", labels, subject=[7.0, nan, None, 8.5])
    assert [face.subject for face in load_faces(path)] == ["7", None, None, "8.5"]
    path = samples.write_parquet(tmp_path / "g.parquet", labels, subject=["7 ", "NaN", "", "7"])
    assert [face.subject for face in load_faces(path)] == ["7", None, None, "7"]


@pytest.mark.parametrize("cell", ["", "  ", None])
def test_an_empty_label_of_parquet_is_named_by_its_row(
    samples: Any, tmp_path: Path, cell: str | None
) -> None:
    path = samples.write_parquet(tmp_path / "f.parquet", ["happy", cell])
    with pytest.raises(LabelError, match=r"f\.parquet, row 1 has no label"):
        load_faces(path)
    assert [face.label for face in load_faces(f"{path}@labels=none")] == ["", ""]
