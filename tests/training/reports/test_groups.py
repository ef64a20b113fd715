"""Reports by groups: tables that fit the terminal, HTML, a picture and the model card."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet
import pytest

from fer_edge.backends.fake import write_fake_bundle
from fer_edge.bundle import open_bundle
from fer_edge.shipped import DEFAULT_BUNDLE, FACES
from fer_edge.training.evaluation.groups import evaluate_groups
from fer_edge.training.reports.group_section import GROUPS_FILE, group_section, groups_beside
from fer_edge.training.reports.group_tables import WIDTH, lines, markdown, notes
from fer_edge.training.reports.groups import group_page, group_sheet

RACES = ["Southeast Asian", "White", "more words than a line of eighty columns holds", "<i>"]


@pytest.fixture(scope="module")
def evaluation(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    folder = tmp_path_factory.mktemp("people")
    rows = pyarrow.parquet.read_table(FACES / "faces-val.parquet").to_pylist()[:120]
    for i, row in enumerate(rows):
        row["race"] = RACES[0] if i < 60 else RACES[1 + i % 3]
    data = folder / "people.parquet"
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), data)
    return evaluate_groups([write_fake_bundle(folder / "fake.fer")], data, ["race"])


def test_the_tables_fit_a_terminal_of_80_columns(evaluation: dict[str, Any]) -> None:
    text = list(lines(evaluation["inputs"][0]))
    assert max(map(len, text)) <= WIDTH
    assert any(line.startswith("Recall by class") for line in text)
    assert sum("Southeast Asian" in line for line in text) >= 3
    assert any("Fewer than 30 faces" in line for line in text)


def test_the_page_escapes_groups_and_has_a_picture(evaluation: dict[str, Any]) -> None:
    html = group_page(evaluation)
    assert "<i>" not in html
    assert "&lt;i&gt;" in html
    assert "data:image/svg+xml" in html
    assert html.count(">White *<") == 3  # in each table
    assert group_sheet(evaluation["inputs"])[:4] == b"\x89PNG"


@pytest.mark.parametrize("other", ["a", "b"])
def test_no_difference_is_called_so(other: str) -> None:
    row = {"low": "a", "high": other, "difference": 1e-17, "chance": 1.0}
    text = list(notes({"groups": [], "spreads": {"confidence": row}}))
    assert text == ["No difference of confidence between the groups."]


def test_every_axis_has_a_title(evaluation: dict[str, Any], untitled_axes: list[str]) -> None:
    group_page(evaluation)
    group_sheet(evaluation["inputs"])
    assert untitled_axes == []


def test_markdown_has_a_table_for_each_column(evaluation: dict[str, Any]) -> None:
    text = markdown(evaluation["inputs"][0])
    assert text.startswith("| race | faces | right | abstains | confidence |")
    assert "\\* Fewer than 30 faces" in text


def test_the_card_takes_figures_of_its_own_bundle_alone(
    evaluation: dict[str, Any], tmp_path: Path
) -> None:
    bundle = open_bundle(write_fake_bundle(tmp_path / "fake.fer"))
    assert groups_beside(bundle, tmp_path) is None
    reports = [{**evaluation["inputs"][0], "sha256": bundle.sha256}]
    (tmp_path / GROUPS_FILE).write_text(json.dumps(reports), "utf-8")
    assert groups_beside(bundle, tmp_path) == reports
    assert group_section(reports)[0] == "## By groups"
    (tmp_path / GROUPS_FILE).write_text(json.dumps(evaluation["inputs"][:1]), "utf-8")
    assert groups_beside(open_bundle(DEFAULT_BUNDLE), tmp_path) is None
    assert group_section([]) == []


@pytest.mark.parametrize("name", ["default", "fast"])
def test_the_shipped_card_has_the_groups_of_the_shipped_bundle(name: str) -> None:
    bundle = open_bundle(DEFAULT_BUNDLE.with_name(f"{name}.fer"))
    reports = groups_beside(bundle, bundle.path.with_name(f"{name}-card"))
    assert reports is not None
    assert [report["labelled"] for report in reports] == [True, False]
    assert [report["fold"] for report in reports] == [None, "0/3"]
