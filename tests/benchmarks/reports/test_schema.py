"""Reports are what the published schema says, in every scenario."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from fer_edge.benchmarks.bench import bench
from fer_edge.benchmarks.reports.report import SCHEMA
from fer_edge.benchmarks.reports.schema import report_schema, schema_of
from fer_edge.benchmarks.scenarios.base import names
from fer_edge.benchmarks.scenarios.base import scenario as scenario_of
from fer_edge.shipped import DEFAULT_CHECKPOINT, FACES

DOCS = Path(__file__).parents[3] / "docs/benchmarks"


@pytest.fixture(scope="module")
def schema() -> Draft202012Validator:
    text = json.loads((DOCS / "report.schema.json").read_text("utf-8"))
    Draft202012Validator.check_schema(text)
    assert text["properties"]["schema"]["const"] == SCHEMA
    return Draft202012Validator(text)


def complaints(schema: Draft202012Validator, report: Any) -> list[str]:
    return [f"{error.json_path}: {error.message[-200:]}" for error in schema.iter_errors(report)]


@pytest.mark.parametrize("scenario", names())
def test_each_scenario_keeps_to_it(
    schema: Draft202012Validator, fake_bundle: Path, scenario: str
) -> None:
    sizes = (1,) if scenario_of(scenario).sizes else None
    report = bench(fake_bundle, sizes, scenario=scenario, data=FACES, budget_s=0.1)
    assert complaints(schema, json.loads(json.dumps(report))) == []


def test_so_does_one_with_all_that_can_stand_beside(
    schema: Draft202012Validator, tmp_path: Path
) -> None:
    report = bench(
        scenario="single",
        target="openvino",
        checkpoint=DEFAULT_CHECKPOINT,
        against="benchmark_app",
        loadgen_logs=tmp_path / "logs",
        budget_s=0.5,
    )
    assert complaints(schema, json.loads(json.dumps(report))) == []


def test_the_published_file_is_the_generated_one() -> None:
    """If not: python -m fer_edge.benchmarks.reports.schema > docs/benchmarks/report.schema.json"""
    assert json.loads((DOCS / "report.schema.json").read_text("utf-8")) == report_schema()


def test_a_type_without_a_json_form_is_refused() -> None:
    with pytest.raises(TypeError, match="bytes"):
        schema_of(bytes)


@pytest.mark.parametrize(
    "spoil",
    [
        lambda report: report.pop("method"),
        lambda report: report["rows"].clear(),
        lambda report: report["rows"][0].pop("p99_ms"),
        lambda report: report["rows"][0].update(p50_s=1.0),
        lambda report: report.update(scenario="fast"),
    ],
)
def test_it_refuses_what_is_no_report(
    schema: Draft202012Validator, fake_bundle: Path, spoil: Any
) -> None:
    report = bench(fake_bundle, (1,), scenario="single", budget_s=0.1)
    spoil(report)
    assert complaints(schema, report)


def test_labelled_faces_are_not_those_that_were_timed(fake_bundle: Path) -> None:
    (row,) = bench(fake_bundle, (2,), scenario="sustained", data=FACES, budget_s=0.2)["rows"]
    assert (row["faces"], row["labelled_faces"]) == (2 * row["samples"], 336)
