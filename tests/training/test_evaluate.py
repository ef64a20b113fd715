"""Figures of what was trained and of what was built, on whole and on de-duplicated data."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet
import pytest

from fer_edge.backends.fake import write_fake_bundle
from fer_edge.errors import DataError, TargetError
from fer_edge.labels import EMOTIONS
from fer_edge.shipped import FACES
from fer_edge.training.evaluate import evaluate


def rows(split: str) -> list[Any]:
    found: list[Any] = pyarrow.parquet.read_table(FACES / f"faces-{split}.parquet").to_pylist()
    return found


def write(path: Path, content: list[Any]) -> Path:
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(content), path)
    return path


def test_a_checkpoint_is_evaluated_as_it_was_trained(finished: Any) -> None:
    report = evaluate(finished.best, FACES)
    assert report["all"]["faces"] == report["deduplicated"]["faces"] == 336
    assert report["labels"] == list(EMOTIONS)
    assert 0 <= report["abstention"]["coverage"] <= 1
    assert report == evaluate(finished.best, FACES)
    json.dumps(report, allow_nan=False)


def test_a_bundle_is_evaluated_on_its_engine(fake_bundle: Path) -> None:
    report = evaluate(fake_bundle, FACES)
    assert (report["bundle"], report["variant"]) == ("fake.fer", "fake/fp32")
    assert report["all"]["accuracy"] == pytest.approx(1 / 7)
    assert report["abstention"] == {"threshold": 0.0, "coverage": 1.0, "accuracy": 1 / 7}


def test_a_model_that_never_dares_has_no_accuracy(tmp_path: Path) -> None:
    shy = write_fake_bundle(tmp_path / "shy.fer", abstain_below=0.95)
    assert evaluate(shy, FACES)["abstention"] == {
        "threshold": 0.95,
        "coverage": 0.0,
        "accuracy": None,
    }


def test_twins_count_once_and_not_at_all_where_they_were_trained_on(
    fake_bundle: Path, tmp_path: Path
) -> None:
    val = rows("val")
    write(tmp_path / "f-train.parquet", [*rows("train")[:20], *val[:5]])
    write(tmp_path / "f-val.parquet", [*val[:50], *val[10:20]])
    report = evaluate(fake_bundle, tmp_path)
    assert report["all"]["faces"] == 60
    assert report["deduplicated"]["faces"] == 45


@pytest.mark.parametrize("split", ["val", None])
def test_one_parquet_file_is_evaluated_whole(
    fake_bundle: Path, tmp_path: Path, split: str | None
) -> None:
    report = evaluate(fake_bundle, write(tmp_path / "f-val.parquet", rows("val")), split)
    assert report["all"]["faces"] == report["deduplicated"]["faces"] == 336


def test_data_whose_every_picture_was_trained_on_is_said(fake_bundle: Path, tmp_path: Path) -> None:
    for split in ("train", "val"):
        write(tmp_path / f"f-{split}.parquet", rows("val")[:30])
    with pytest.raises(DataError, match="train"):
        evaluate(fake_bundle, tmp_path)


def test_a_precision_that_the_bundle_lacks_is_refused(fake_bundle: Path) -> None:
    with pytest.raises(TargetError, match="int8"):
        evaluate(fake_bundle, FACES, precision="int8")


@pytest.mark.slow
@pytest.mark.parametrize("module", ["training.metrics", "training.evaluate", "converters.parity"])
def test_a_module_may_be_the_first_that_is_imported(module: str) -> None:
    """torchvision has to be mended before torchmetrics loads it, whoever comes first."""
    command = [sys.executable, "-c", f"import fer_edge.{module}"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-500:]
