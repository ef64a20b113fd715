"""Figures by groups of people."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow
import pyarrow.parquet
import pytest

from fer_edge.backends.fake import write_fake_bundle
from fer_edge.errors import DataError
from fer_edge.monitor.detector import Face
from fer_edge.preprocess import Image
from fer_edge.shipped import FACES
from fer_edge.training.data.folds import Fold
from fer_edge.training.evaluation.group_figures import spreads
from fer_edge.training.evaluation.groups import evaluate_groups
from fer_edge.training.evaluation.intervals import share_interval


def people(path: Path, labelled: bool = True, count: int = 140, **columns: Any) -> Path:
    """Write faces with a gender for each, and further columns by their function of the row."""
    rows = pyarrow.parquet.read_table(FACES / "faces-val.parquet").to_pylist()[::2][:count]
    for i, row in enumerate(rows):
        row["gender"] = "female" if i % 2 else "male"
        row |= {name: value(i) for name, value in columns.items()}
        if not labelled:
            del row["label"]
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), path)
    return path


def test_two_runs_are_told_apart(finished: Any, tmp_path: Path) -> None:
    data = people(tmp_path / "people.parquet", count=40)
    report = evaluate_groups([finished.best, finished.best], data, ["gender"])
    assert [each["name"] for each in report["inputs"]] == ["tiny/best", "tiny/best #2"]


def groups(report: dict[str, Any], column: int = 0) -> dict[str, dict[str, Any]]:
    return {row["value"]: row for row in report["inputs"][0]["by"][column]["groups"]}


def test_each_group_has_recall_abstention_confidence_and_answers(
    fake_bundle: Path, tmp_path: Path
) -> None:
    data = people(tmp_path / "people.parquet")
    report = evaluate_groups([fake_bundle], data, ["gender"])
    (model,) = report["inputs"]
    assert model["labelled"]
    assert not model["located"]
    rows = groups(report)
    assert list(rows) == ["female", "male"]
    assert sum(row["faces"] for row in rows.values()) == model["overall"]["faces"] == 140
    for row in rows.values():
        assert row["answers"]["neutral"]["share"] == 1
        assert row["abstained"]["share"] == 0
        assert row["confidence"]["mean"] == pytest.approx(0.9)
        recall = row["recall"]["neutral"]
        assert recall["share"] == 1
        assert recall["interval"] == list(share_interval(recall["count"], recall["of"]))
        assert not row["few"]
    json.dumps(report, allow_nan=False)


def test_abstention_counts_the_threshold_of_the_model(tmp_path: Path) -> None:
    shy = write_fake_bundle(tmp_path / "shy.fer", abstain_below=0.95)
    report = evaluate_groups([shy], people(tmp_path / "p.parquet"), ["gender"])
    row = groups(report)["male"]
    assert row["abstained"]["share"] == 1
    assert row["right_if_answered"] is None


def test_without_labels_nothing_is_judged(fake_bundle: Path, tmp_path: Path) -> None:
    data = people(tmp_path / "people.parquet", labelled=False)
    (model,) = evaluate_groups([fake_bundle], data, ["gender"])["inputs"]
    assert not model["labelled"]
    assert not {"right", "recall"} & set(model["overall"])
    assert set(model["by"][0]["spreads"]) == {"confidence", "abstained"}


@pytest.mark.parametrize("empty", ["", "not stated", "Not Stated", "<NA>", " nan ", None])
def test_no_face_is_lost_whose_group_is_unknown(
    fake_bundle: Path, tmp_path: Path, empty: str | None
) -> None:
    cells = ["a", "b", empty, "NA"]
    data = people(tmp_path / "people.parquet", eye=lambda i: cells[i % 4])
    rows = groups(evaluate_groups([fake_bundle], data, ["eye"]))
    assert {name: row["faces"] for name, row in rows.items()} == {
        "a": 35,
        "b": 35,
        "not stated": 70,
    }


def test_ages_with_decimals_become_decades_too(fake_bundle: Path, tmp_path: Path) -> None:
    data = people(tmp_path / "people.parquet", age=lambda i: None if i == 5 else 18.0 + i % 30)
    rows = groups(evaluate_groups([fake_bundle], data, ["age"]))
    assert list(rows) == ["10-19", "20-29", "30-39", "40-49", "not stated"]


def test_ages_become_decades_and_empty_cells_a_group(fake_bundle: Path, tmp_path: Path) -> None:
    data = people(tmp_path / "people.parquet", age=lambda i: "NA" if i == 5 else str(18 + i % 30))
    rows = groups(evaluate_groups([fake_bundle], data, ["age"]))
    assert list(rows) == ["10-19", "20-29", "30-39", "40-49", "not stated"]
    assert rows["not stated"]["faces"] == 1
    assert rows["not stated"]["few"]


def test_groups_stand_in_the_order_of_their_numbers(fake_bundle: Path, tmp_path: Path) -> None:
    ages = ["10-19", "3-9", "more than 70"]
    data = people(tmp_path / "people.parquet", age=lambda i: ages[i % 3])
    rows = groups(evaluate_groups([fake_bundle], data, ["age"]))
    assert list(rows) == ["3-9", "10-19", "more than 70"]


def test_a_column_of_names_is_no_group(fake_bundle: Path, tmp_path: Path) -> None:
    data = people(tmp_path / "people.parquet", who=lambda i: f"person {i}")
    with pytest.raises(DataError, match=r"at most 60 groups, the column who of .* has 140"):
        evaluate_groups([fake_bundle], data, ["who"])


def test_a_fold_takes_its_faces_alone(fake_bundle: Path, tmp_path: Path) -> None:
    data = people(tmp_path / "people.parquet")
    counts = [
        evaluate_groups([fake_bundle], data, ["gender"], fold=Fold(i, 3))["inputs"][0]["overall"]
        for i in range(3)
    ]
    assert sum(row["pictures"] for row in counts) == 140


class LeftHalf:
    """Detector that finds a face in the left half of bright pictures."""

    def detect(self, image: Image) -> list[Face]:
        height, width = image.shape[:2]
        return (
            [Face((0, 0, width // 2, height), 0.9)] if image[:8].mean() > image[-8:].mean() else []
        )


def test_pictures_without_a_face_are_counted_by_group(fake_bundle: Path, tmp_path: Path) -> None:
    data = people(tmp_path / "people.parquet")
    report = evaluate_groups([fake_bundle], data, ["gender"], detector=LeftHalf())
    (model,) = report["inputs"]
    overall = model["overall"]
    assert model["located"]
    assert 0 < overall["no_face"]["count"] == 140 - overall["faces"] < 140
    assert (
        sum(row["no_face"]["count"] for row in groups(report).values())
        == (overall["no_face"]["count"])
    )


def test_a_difference_that_chance_does_not_make_is_told_from_one_it_does() -> None:
    rng = np.random.default_rng(0)
    female = np.arange(400) % 2 == 0
    members = {"female": female, "male": ~female, "few": np.arange(400) < 5}
    measures = {
        "real": np.where(female, 0.8, 0.5) + rng.normal(0, 0.2, 400),
        "none": rng.normal(0, 0.2, 400),
    }
    report = spreads({name: members[name] for name in ("female", "male")}, measures)
    assert report["real"]["chance"] < 0.001
    assert (report["real"]["low"], report["real"]["high"]) == ("male", "female")
    assert report["real"]["difference"] == pytest.approx(0.3, abs=0.06)
    assert report["none"]["chance"] > 0.05
    assert spreads({"female": female, "few": members["few"] & ~female}, measures) == {}
