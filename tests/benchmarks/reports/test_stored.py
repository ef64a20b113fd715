"""Stored reports, read strictly."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from fer_edge.benchmarks.bench import bench
from fer_edge.benchmarks.reports.stored import load_report
from fer_edge.errors import DataError

REPORT: dict[str, Any] = {
    "schema": 2,
    "scenario": "batch",
    "crop_px": 200,
    "environment": {"cpu": "Chip 9000", "cores": 4},
    "note": None,
    "rows": [{"variant": "fake/fp32", "batch": 1, "latencies_ns": "1 2 3"}],
}


def with_row(**change: Any) -> dict[str, Any]:
    return {**REPORT, "rows": [{**REPORT["rows"][0], **change}]}


def test_what_bench_writes_is_read(fake_bundle: Path, tmp_path: Path) -> None:
    path = tmp_path / "report.json"
    report = bench(fake_bundle, (1,), scenario="contended", budget_s=0.1)
    path.write_text(json.dumps(report), "utf-8")
    stored = load_report(path)
    assert [row.state for row in stored.rows] == ["alone", "contended"]
    assert [len(row.ns) for row in stored.rows] == [row["samples"] for row in report["rows"]]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("", "Expecting value"),
        ("{}", "the key 'schema' is missing"),
        ("[]", "expected an object"),
        ("[" * 100_000, "recursion"),
        (json.dumps({**REPORT, "schema": 3}), "expected schema 2, got 3"),
        (json.dumps({**REPORT, "schema": True}), "schema to be int"),
        (json.dumps({**REPORT, "rows": {}}), "rows to be list"),
        (json.dumps({**REPORT, "environment": {}}), "'cpu' is missing"),
        (
            json.dumps({**REPORT, "environment": {"cpu": "x", "gpus": [7]}}),
            "an object with the key",
        ),
        (json.dumps(with_row(batch="1")), "batch to be int, got '1'"),
        (json.dumps(with_row(variant=7)), "variant to be str"),
        (json.dumps(with_row(steady=1)), "steady to be bool"),
        (json.dumps(with_row(latencies_ns="1 x")), "invalid literal"),
        (json.dumps(with_row(latencies_ns="9" * 30)), "latency samples"),
        (json.dumps(with_row(latencies_ns="5 0")), "above 0"),
        (json.dumps(with_row(latencies_ns=[1, 2])), "latencies_ns to be str"),
        (json.dumps({**REPORT, "rows": 2 * REPORT["rows"]}), "several rows are of 'fake/fp32 1'"),
        (json.dumps(with_row(frames=0)), "frames above 0"),
        (json.dumps(with_row(frames=10**400)), "frames above 0"),
        (json.dumps(with_row(latencies_ns="1 " * 20_001)), "up to 20,000 latencies_ns"),
        (json.dumps(with_row(frames=600, missed_by_part=[600] * 24)), "each up to 25"),
        (json.dumps(with_row(frames=24)), "'missed_by_part' is missing"),
        (json.dumps(with_row(frames=24, missed_by_part=[0] * 23)), "24 counts of frames"),
        (json.dumps(with_row(frames=24, missed_by_part=[25] * 24)), "24 counts of frames"),
    ],
)
def test_a_file_that_is_no_report_is_a_sentence(tmp_path: Path, content: str, said: str) -> None:
    (tmp_path / "old.json").write_text(content, "utf-8")
    with pytest.raises(DataError, match=rf"old\.json(.|\n)*{said}(.|\n)*Measure again"):
        load_report(tmp_path / "old.json")


@pytest.mark.parametrize("scenario", ["coldstart", "memory"])
def test_a_scenario_without_latencies_is_named(tmp_path: Path, scenario: str) -> None:
    """Measured again, its report would lack them as well."""
    (tmp_path / "old.json").write_text(json.dumps({**REPORT, "scenario": scenario}), "utf-8")
    with pytest.raises(DataError, match=rf"got one of {scenario}.*--scenario single -o"):
        load_report(tmp_path / "old.json")


def test_the_advice_measures_the_same_scenario(tmp_path: Path) -> None:
    path = tmp_path / "my report.json"
    path.write_text(json.dumps({**REPORT, "scenario": "stream", "schema": 1}), "utf-8")
    with pytest.raises(DataError, match=rf"bench --scenario stream -o '{path}'"):
        load_report(path)


def test_a_file_that_is_not_there_is_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="cannot read"):
        load_report(tmp_path / "none.json")


@pytest.mark.skipif(not Path("/dev/zero").exists(), reason="the system has no such device")
def test_a_device_is_refused_at_once() -> None:
    with pytest.raises(DataError, match=r"cannot read .*a device.*Check the path"):
        load_report("/dev/zero")
