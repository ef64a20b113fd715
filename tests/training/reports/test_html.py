"""The page of an evaluation shows all of it, and fetches nothing."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet
import pytest

from fer_edge.shipped import FACES
from fer_edge.training.evaluation.evaluate import evaluate_all
from fer_edge.training.reports.html import evaluation_page
from fer_edge.training.reports.plots import sheet


def test_the_page_shows_all_and_asks_no_host(evaluation: dict[str, Any]) -> None:
    two = {**evaluation, "inputs": evaluation["inputs"][:2]}
    page = evaluation_page(two)
    for report in two["inputs"]:
        assert f"<h2>{report['name']}</h2>" in page
        assert f"{report['all']['accuracy']:.4f}" in page
    sources = re.findall(r'(?:src|href)="([^"]*)"', page)
    assert len(sources) == 1 + 4 * len(two["inputs"])
    assert all(source.startswith("data:image/svg+xml;base64,") for source in sources)
    assert "<script" not in page
    assert f"Answered (threshold {two['inputs'][0]['abstention']['threshold']:.2f}): " in page


@pytest.mark.parametrize(
    ("split", "said"),
    [
        ("train", "No image is a duplicate."),
        ("val", "No image is a duplicate, and none is in the train part."),
        (None, "No image is a duplicate; the data has no train part to compare with."),
    ],
)
def test_the_page_says_what_duplicates_were_looked_for(
    fake_bundle: Path, split: str | None, said: str
) -> None:
    data = FACES if split else FACES / "faces-val.parquet"
    assert said in evaluation_page(evaluate_all([fake_bundle], data, split))


def test_a_class_without_faces_has_no_curve_and_the_page_says_so(
    fake_bundle: Path, tmp_path: Path
) -> None:
    data = tmp_path / "f.parquet"
    rows = pyarrow.parquet.read_table(FACES / "faces-val.parquet").to_pylist()
    without = [row for row in rows if row["label"] != "fear"]
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(without), data)
    evaluation = evaluate_all([fake_bundle], data, None)
    fear = evaluation["inputs"][0]["all"]["roc"]["per_class"]["fear"]
    assert (fear["auc"], fear["points"]) == (None, [])
    page = evaluation_page(evaluation)
    assert "No ROC curve: fear: no face is of this class in the data." in page
    json.dumps(evaluation, allow_nan=False)
    sheet(evaluation["inputs"])
