"""Folders of save_to_disk: nothing outside is read, and no file promises more than it holds."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import datasets
import pyarrow
import pytest

from fer_edge.errors import DataError
from fer_edge.training.data.faces import load_faces


@pytest.fixture
def saved(samples: Any, tmp_path: Path) -> Path:
    datasets.DatasetDict(train=samples.with_class_label()).save_to_disk(str(tmp_path / "saved"))
    return tmp_path / "saved"


def test_a_part_outside_the_folder_is_refused(samples: Any, saved: Path, tmp_path: Path) -> None:
    samples.with_class_label().save_to_disk(str(tmp_path / "other"))
    listed = saved / "dataset_dict.json"
    for name in ("../other", str(tmp_path / "other"), "train/../../other", "..", ".", "", 7, None):
        listed.write_text(json.dumps({"splits": [name]}))
        with pytest.raises(DataError, match="parts"):
            load_faces(saved, "train")


def test_a_part_that_is_a_link_is_refused(samples: Any, saved: Path, tmp_path: Path) -> None:
    samples.with_class_label().save_to_disk(str(tmp_path / "other"))
    (saved / "test").symlink_to(tmp_path / "other")
    (saved / "dataset_dict.json").write_text(json.dumps({"splits": ["train", "test"]}))
    with pytest.raises(DataError, match="link elsewhere"):
        load_faces(saved, "test")


@pytest.mark.parametrize("deep", [False, True])
@pytest.mark.parametrize("name", ["../../other/data-00000-of-00001.arrow", "link.arrow", "", None])
def test_a_data_file_outside_the_folder_is_refused(
    samples: Any, saved: Path, tmp_path: Path, deep: bool, name: str | None
) -> None:
    samples.with_class_label().save_to_disk(str(tmp_path / "other"))
    part = saved / "train"
    if deep:
        (part / "deep").mkdir()
        for file in list(part.iterdir()):
            if file.is_file():
                file.rename(part / "deep" / file.name)
        part = part / "deep"
        (saved / "dataset_dict.json").write_text(json.dumps({"splits": ["train/deep"]}))
    (part / "link.arrow").symlink_to(tmp_path / "other" / "data-00000-of-00001.arrow")
    state = json.loads((part / "state.json").read_text())
    state["_data_files"] = [{"filename": name}]
    (part / "state.json").write_text(json.dumps(state))
    with pytest.raises(DataError):
        load_faces(saved, "train")


def replace_arrow(saved: Path, table: Any, **options: Any) -> None:
    path = saved / "train" / "data-00000-of-00001.arrow"
    path.unlink()
    with pyarrow.ipc.new_stream(
        str(path), table.schema, options=pyarrow.ipc.IpcWriteOptions(**options)
    ) as writer:
        writer.write_table(table)


def test_arrow_that_promises_rows(samples: Any, saved: Path) -> None:
    replace_arrow(saved, pyarrow.table({"image": pyarrow.nulls(50_000_000)}))
    samples.refused_cheaply(saved / "train", "promises 50,000,000")


@pytest.mark.parametrize("compression", ["zstd", "lz4"])
def test_arrow_that_unpacks(samples: Any, saved: Path, compression: str) -> None:
    replace_arrow(saved, pyarrow.table({"a": [bytes(50_000_000)]}), compression=compression)
    samples.refused_cheaply(saved / "train", "compressed")


@pytest.mark.parametrize("name", ["state.json", "dataset_info.json"])
@pytest.mark.parametrize("text", ["[" * 200_000, "[]", "7", '{"features": 1}'])
def test_json_of_a_saved_set_is_read_with_care(saved: Path, name: str, text: str) -> None:
    (saved / "train" / name).write_text(text)
    with pytest.raises(DataError):
        load_faces(saved / "train")
