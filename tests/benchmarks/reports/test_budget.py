"""Budgets that hold, are broken or cannot be judged, and errors for invalid ones."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from fer_edge.benchmarks.reports.budget import judge, least_samples, parse_budget
from fer_edge.cli import main
from fer_edge.errors import InputError

REPORT: dict[str, Any] = {
    "scenario": "batch",
    "rows": [
        {
            "variant": "a/fp32",
            "batch": 1,
            "p99_ms": 9.0,
            "p99_9_ms": None,
            "missing": {"p99_9_ms": 6000},
            "throughput_hz": 120.0,
        },
        {
            "variant": "b/int8",
            "batch": 1,
            "p99_ms": 11.0,
            "p99_9_ms": 12.0,
            "missing": {},
            "throughput_hz": 90.0,
        },
    ],
    "cold_start": {
        "a/fp32": {"rss_bytes": 150e6, "total_s": 0.5},
        "b/int8": {"rss_bytes": 250e6, "total_s": 0.5},
    },
}


@pytest.mark.parametrize(
    ("text", "held"),
    [
        ("p99<10ms", [True, False]),
        ("p99<0.012s", [True, True]),
        ("p99 < 8500us", [False, False]),
        ("throughput>100/s", [True, False]),
        ("rss<200MB", [True, False]),
        ("rss<0.2GiB", [True, False]),
        ("start<1s", [True, True]),
        ("p99.9<20ms", [False, True]),
        ("p99<10ms,rss<200MB", [True, False, True, False]),
    ],
)
def test_each_limit_is_held_against_each_row_that_has_its_figure(
    text: str, held: list[bool]
) -> None:
    scenario = "single" if "p99.9" in text else "batch"
    assert [item["held"] for item in judge(REPORT, parse_budget(text, scenario))] == held


def test_references_have_no_limits() -> None:
    reference = {"variant": "torch eager fp32", "batch": 1, "p99_ms": 90.0, "reference": True}
    report = {"scenario": "batch", "rows": [REPORT["rows"][0], reference]}
    (item,) = judge(report, parse_budget("p99<10ms", "batch"))
    assert item["held"]


def test_a_percentile_without_samples_does_not_hold_and_says_what_is_missing() -> None:
    first = judge(REPORT, parse_budget("p99.9<20ms", "single"))[0]
    assert "6,000 samples are missing" in first["sentence"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "like 'p99<10ms"),
        ("p99", "like 'p99<10ms"),
        ("p99=10ms", "like 'p99<10ms"),
        ("p98<10ms", "one of p50"),
        ("warmth<10ms", "one of p50"),
        ("p99<10", "no unit"),
        ("p99<10MB", "p99 in us, ms, s"),
        ("rss<200", "rss in kB"),
        ("rss<200mb", "rss in kB"),
        ("p99<10ms,", "got ''"),
        (f"p99<{'9' * 400}ms", "one of 400 digits"),
        (f"p99<{'9' * 308}s", "one of 308 digits"),
    ],
)
def test_what_is_no_limit_is_a_sentence(text: str, said: str) -> None:
    with pytest.raises(InputError, match=said):
        parse_budget(text, "batch")


@pytest.mark.parametrize(
    ("text", "scenario", "said"),
    [
        ("misses<1%", "batch", "measured by: multistream, stream"),
        ("p99<1ms", "memory", "measured by: batch, contended"),
        ("p99.9<1ms", "batch", "measured by: multistream, offline, single"),
        ("p99.9<1ms", "contended", "measured by: multistream, offline, single"),
        ("accuracy>60%", "batch", "add --data"),
    ],
)
def test_a_limit_that_nothing_measures_is_a_sentence(text: str, scenario: str, said: str) -> None:
    with pytest.raises(InputError, match=said):
        parse_budget(text, scenario)


def test_both_states_of_a_contended_row_are_named() -> None:
    rows = [
        {"variant": "a/fp32", "batch": 1, "state": state, "p50_ms": 2.0}
        for state in ("alone", "contended")
    ]
    judged = judge({"rows": rows}, parse_budget("p50<1ms", "contended"))
    assert [item["variant"] for item in judged] == ["a/fp32 alone", "a/fp32 contended"]
    assert judged[1]["sentence"].startswith("a/fp32 contended batch 1: p50<1ms is broken")


def test_a_limit_tells_how_many_samples_it_needs() -> None:
    assert least_samples(parse_budget("p50<1ms,p99.9<9ms", "offline")) == 6636
    assert least_samples(parse_budget("throughput>1/s", "offline")) == 0


@pytest.mark.parametrize(
    ("frames", "rate", "held", "said"),
    [
        (1, 0.0, False, "misses<1% cannot be judged, 661 frames are missing: raise --budget-s"),
        (661, 0.0, False, "1 frames are missing"),
        (662, 0.0, True, "misses<1% holds"),
        (20, 0.5, False, "misses<1% is broken with miss_rate 0.5"),
    ],
)
def test_a_share_of_too_few_frames_does_not_hold(
    frames: int, rate: float, held: bool, said: str
) -> None:
    row = {"variant": "a/fp32", "batch": 1, "frames": frames, "miss_rate": rate}
    (item,) = judge({"rows": [row]}, parse_budget("misses<1%", "stream"))
    assert item["held"] is held
    assert said in item["sentence"]
    assert (item["value"] is None) is ("cannot" in said or "missing" in said)


@pytest.mark.parametrize("text", ["jitter<1ms", "age<10s"])
def test_few_answers_hold_no_limit_on_jitter_or_age(text: str) -> None:
    """An engine that answers one frame in sixty is not an even one."""
    row = {"variant": "a/fp32", "batch": 1, "samples": 23, "jitter_ms": None, "age_max_ms": 40.0}
    (item,) = judge({"rows": [row]}, parse_budget(text, "stream"))
    assert not item["held"]
    assert "1 samples are missing" in item["sentence"]
    row |= {"samples": 24, "jitter_ms": 0.2}
    assert judge({"rows": [row]}, parse_budget(text, "stream"))[0]["held"]


def test_growth_that_was_not_measured_has_a_next_step() -> None:
    row = {"variant": "a/fp32", "batch": 1, "growth_bytes_per_100k_calls": None}
    (item,) = judge({"rows": [row]}, parse_budget("growth<1MB", "memory"))
    assert "cannot be judged, not measured: raise --budget-s" in item["sentence"]


def test_few_labelled_faces_hold_no_limit_on_accuracy() -> None:
    row = {"variant": "a/fp32", "batch": 1, "labelled_faces": 5, "accuracy": 1.0}
    budgets = parse_budget("accuracy>60%", "batch", with_data=True)
    (item,) = judge({"rows": [row]}, budgets)
    assert "9 labelled faces are missing: use more --data" in item["sentence"]
    assert judge({"rows": [{**row, "labelled_faces": 14}]}, budgets)[0]["held"]


def test_accuracy_may_be_limited_where_there_is_data() -> None:
    (budget,) = parse_budget("accuracy>66.5%", "single", with_data=True)
    assert budget.bound == pytest.approx(0.665)


@pytest.mark.parametrize(("budget", "code"), [("age<600s", 0), ("age<1us", 8), ("age<1", 3)])
def test_the_exit_code_says_whether_the_budget_held(
    fake_bundle: Path, tmp_path: Path, budget: str, code: int
) -> None:
    out = tmp_path / "report.json"
    arguments = ["bench", str(fake_bundle), "--scenario", "stream", "--hz", "500"]
    arguments += ["--budget-s", "0.2", "--budget", budget, "-o", str(out)]
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code == code, result.output
    if code == 8:
        assert "fake/fp32 batch 1: age<1us is broken" in result.stderr
    if code != 3:
        (item,) = json.loads(out.read_text("utf-8"))["budget"]
        assert item["held"] is (code == 0)
