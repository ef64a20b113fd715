"""Regression verdicts on simulated reports: how often they alarm for nothing, and miss nothing."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from click.testing import CliRunner

from fer_edge.benchmarks.measure.rows import KEEP, pack, unpack
from fer_edge.benchmarks.reports.compare_reports import compare
from fer_edge.benchmarks.reports.limits import parse_limits
from fer_edge.benchmarks.reports.stored import StoredReport
from fer_edge.benchmarks.scenarios.stream import run_stream, stream_row
from fer_edge.cli import main
from fer_edge.errors import FerEdgeError, InputError

ENVIRONMENT = {"cpu": "Chip 9000", "cores": 4, "isa": ["avx2"], "memory_bytes": 8_000}


def latencies(seed: int, count: int = 720, median_ms: float = 2.0) -> npt.NDArray[np.int64]:
    """Lognormal with a clump of slower calls now and then, as a shared machine gives them."""
    rng = np.random.default_rng(seed)
    ms = median_ms * rng.lognormal(0, 0.05, count)
    for start in rng.integers(0, count, count // 60):
        ms[start : start + 6] *= 1.15
    return (ms * 1e6).astype(np.int64)


def stored(*rows: npt.NDArray[np.int64], **extra: Any) -> dict[str, Any]:
    """A report as it is stored."""
    return {
        "schema": 2,
        "scenario": "batch",
        "crop_px": 200,
        "environment": ENVIRONMENT,
        "note": None,
        "rows": [
            {"variant": "fake/fp32", "batch": batch, "latencies_ns": pack(ns)}
            for batch, ns in enumerate(rows, 1)
        ],
        **extra,
    }


def report(*rows: npt.NDArray[np.int64], **extra: Any) -> StoredReport:
    return StoredReport.parse(stored(*rows, **extra))


# --- how often it is right -----------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize(
    ("condition", "count"), [("p50>+0%", 240), ("p90>+0%", 240), ("p99>+5%", 696)]
)
def test_pairs_without_a_difference_seldom_alarm(condition: str, count: int) -> None:
    """5 of 200 are expected of a one-sided 2.5 %, and clumps may not make it many more."""
    limits = parse_limits(condition)
    alarms = 0
    for seed in range(200):
        found = compare(
            report(latencies(2 * seed, count)), report(latencies(2 * seed + 1, count)), limits
        )
        alarms += bool(found["alarms"])
    assert alarms <= 12


@pytest.mark.slow
@pytest.mark.parametrize(("condition", "count"), [("p50>+5%", 240), ("p99>+5%", 1400)])
def test_ten_per_cent_more_are_found(condition: str, count: int) -> None:
    """A p99 needs twice its least number of samples for that: at 700, one in five is missed."""
    limits = parse_limits(condition)
    found = 0
    for seed in range(40):
        slower = latencies(2 * seed + 1, count, median_ms=2.2)
        found += bool(compare(report(latencies(2 * seed, count)), report(slower), limits)["alarms"])
    assert found >= 36


@pytest.mark.slow
def test_many_rows_do_not_alarm_more_often_than_one() -> None:
    """Twelve rows in a report, as a bundle of four variants and three batch sizes has."""
    limits = parse_limits("p50>+0%")
    alarms = 0
    for seed in range(6):
        old = report(*(latencies(1000 * seed + k, 240) for k in range(12)))
        new = report(*(latencies(1000 * seed + 500 + k, 240) for k in range(12)))
        alarms += bool(compare(old, new, limits)["alarms"])
    assert alarms <= 1


# --- what it says --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("factor", "verdict"), [(1.3, "slower"), (1 / 1.3, "faster"), (1.0, "no difference")]
)
def test_it_says_slower_faster_or_no_difference(factor: float, verdict: str) -> None:
    found = compare(report(latencies(1)), report((latencies(2) * factor).astype(np.int64)))
    assert {v["percentile"]: v["verdict"] for v in found["verdicts"]} == {
        "p50": verdict,
        "p99": verdict,
    }
    assert json.loads(json.dumps(found, allow_nan=False))["alarms"] == []


def test_it_is_the_same_each_time() -> None:
    pair = report(latencies(1)), report(latencies(2))
    assert compare(*pair) == compare(*pair)


def test_too_few_samples_are_not_judged() -> None:
    found = compare(report(latencies(1, 300)), report(latencies(2)), parse_limits("p99>+5%"))
    assert found["verdicts"][0]["missing"] == 362
    assert "362 more" in found["unjudged"][0]
    assert found["alarms"] == []


@pytest.mark.parametrize(("count", "judged"), [(24, False), (239, False), (240, True)])
def test_a_median_of_few_blocks_is_not_judged(count: int, judged: bool) -> None:
    """It has a figure, but the interval of a ratio is too narrow below ten blocks of 24."""
    pair = report(latencies(1, count)), report(latencies(2, count, median_ms=3.0))
    found = compare(*pair, parse_limits("p50>+5%"))
    assert bool(found["alarms"]) is judged
    assert bool(found["unjudged"]) is not judged
    if not judged:
        assert f"too few samples, {240 - count} more" in found["unjudged"][0]


def test_what_only_one_report_has_is_named() -> None:
    found = compare(report(latencies(1), latencies(2)), report(latencies(3)))
    assert (found["only_old"], found["only_new"]) == (["fake/fp32 2"], [])


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"environment": {**ENVIRONMENT, "cores": 8}}, "cores 4 and 8.*--different-machines"),
        ({"environment": {**ENVIRONMENT, "cpu": "Chip 10"}}, "Chip 9000 and Chip 10"),
        ({"scenario": "stream"}, "scenario.*batch.*stream"),
        ({"crop_px": 48}, "crop_px"),
        ({"rows": []}, "nothing|no variant"),
    ],
)
def test_what_cannot_be_compared_is_refused(change: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError, match=said):
        compare(report(latencies(1)), report(latencies(2), **change))


def test_contended_rows_are_compared_with_their_like() -> None:
    def both(seed: int) -> StoredReport:
        found = stored(latencies(seed), latencies(seed + 1, median_ms=4.0))
        for row, state in zip(found["rows"], ("alone", "contended"), strict=True):
            row.update(batch=1, state=state, steady=state == "alone")
        return StoredReport.parse(found)

    found = compare(both(1), both(3))
    assert {v["variant"]: v["verdict"] for v in found["verdicts"]} == {
        "fake/fp32 alone": "no difference",
        "fake/fp32 contended": "no difference",
    }
    assert found["notes"] == [
        f"{name}: fake/fp32 batch 1 did not become steady" for name in ("OLD", "NEW")
    ]


def test_different_machines_are_compared_on_request() -> None:
    other = report(latencies(2), environment={**ENVIRONMENT, "cores": 8})
    found = compare(report(latencies(1)), other, different_machines=True)
    assert found["different_machines"] == ["cores 4 and 8"]


def with_gpus(*names: str) -> dict[str, Any]:
    gpus = [{"name": name, "clock_mhz": len(name), "temperature_c": None} for name in names]
    return {"environment": {**ENVIRONMENT, "gpus": gpus}}


def test_another_gpu_is_another_machine() -> None:
    one, other = report(latencies(1), **with_gpus("H200")), report(latencies(2), **with_gpus("T4"))
    with pytest.raises(InputError, match=r"gpus \['H200'\] and \['T4'\].*--different-machines"):
        compare(one, other)
    assert compare(one, one)["different_machines"] == []
    for unknown in (report(latencies(3)), report(latencies(3), **with_gpus())):
        assert compare(one, unknown)["different_machines"] == []


def test_samples_survive_the_report_and_a_long_run_is_thinned() -> None:
    assert unpack(pack(latencies(1))).tolist() == latencies(1).tolist()
    assert unpack(pack(np.array([], np.int64))).tolist() == []
    many = unpack(pack(np.arange(5 * KEEP + 1)))
    assert KEEP / 2 < len(many) <= KEEP
    assert np.ptp(np.diff(many)) == 0


# --- the command ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("factor", "extra", "code"),
    [
        (1.0, ["--fail-if", "p99>+5%"], 0),
        (1.3, [], 0),
        (1.3, ["--fail-if", "p50>+5%,p99>+5%"], 8),
        (1.3, ["--fail-if", "p99>+50%"], 0),
        (1.0, ["--fail-if", "p99.9>+5%"], 3),
        (1.0, ["--fail-if", "p99"], 3),
    ],
)
def test_the_exit_code_is_for_ci(
    tmp_path: Path, factor: float, extra: list[str], code: int
) -> None:
    for name, ns in (("old", latencies(1)), ("new", (latencies(2) * factor).astype(np.int64))):
        (tmp_path / f"{name}.json").write_text(json.dumps(stored(ns)), "utf-8")
    paths = [str(tmp_path / "old.json"), str(tmp_path / "new.json")]
    result = CliRunner().invoke(main, ["bench", "compare", *paths, *extra])
    assert result.exit_code == code, result.output
    assert "Traceback" not in result.output
    if code == 8:
        assert "breaks p99>+5%" in result.stderr
        assert "slower" in result.stdout


def test_help_leads_to_compare_and_its_example() -> None:
    assert "bench compare --help" in CliRunner().invoke(main, ["bench", "--help"]).output
    said = CliRunner().invoke(main, ["bench", "compare", "--help"]).output
    assert "Example: fer-edge bench compare old.json new.json" in said


def test_a_text_of_a_report_cannot_forge_a_line(tmp_path: Path) -> None:
    """Reports are artifacts of other jobs: their texts go to a terminal and to CI's log."""
    forged = "x\nfake/fp32 batch 1 p99: faster, 0.5x\x1b[2J"
    for name, machine in (("old", "Chip 1"), ("new", f"Chip 2{forged}")):
        found = stored(latencies(1), latencies(2), note=f"noisy{forged}")
        found["environment"] = {**ENVIRONMENT, "cpu": machine}
        found["rows"][0].update(variant=forged, state=forged)
        found["rows"][1].update(variant=f"only in {name}{forged}", steady=False)
        (tmp_path / f"{name}.json").write_text(json.dumps(found), "utf-8")
    command = ["bench", "compare", str(tmp_path / "old.json"), str(tmp_path / "new.json")]
    for extra in ([], ["--different-machines"]):
        output = CliRunner().invoke(main, [*command, *extra]).output
        assert "Chip" in output or "faster, 0.5x" in output
        assert "\x1b" not in output
        assert not any(line.startswith("fake/fp32 batch 1 p99") for line in output.splitlines())


def test_references_are_not_judged() -> None:
    """A slower torch is not a regression of ours."""
    pair = [stored(latencies(1), latencies(2)), stored(latencies(3), latencies(4) * 2)]
    for found in pair:
        found["rows"][1].update(variant="torch eager fp32", reference=True)
    assert {v["variant"] for v in compare(*map(StoredReport.parse, pair))["verdicts"]} == {
        "fake/fp32"
    }


def test_a_row_that_disappeared_is_not_passed_over(tmp_path: Path) -> None:
    """The variant that got slower may be the one that no longer runs at all."""
    for name, rows in (("old", [1, 2]), ("new", [3])):
        text = json.dumps(stored(*map(latencies, rows)))
        (tmp_path / f"{name}.json").write_text(text, "utf-8")
    paths = [str(tmp_path / "old.json"), str(tmp_path / "new.json")]
    result = CliRunner().invoke(main, ["bench", "compare", *paths, "--fail-if", "p99>+5%"])
    assert result.exit_code == 3
    assert "fake/fp32 2" in result.stderr
    assert CliRunner().invoke(main, ["bench", "compare", *paths, "--json"]).exit_code == 0


# --- streams -------------------------------------------------------------------------------------


def stream(
    seed: int, *, stall_every: int = 0, hz: float = 30, frames: int = 7200
) -> dict[str, Any]:
    """A stored stream of a 2 ms engine; every so many calls, one takes two seconds."""
    now, calls = 0, 0
    rng = np.random.default_rng(seed)

    def call() -> None:
        nonlocal now, calls
        calls += 1
        stalls = stall_every and calls % stall_every == 0
        now += 2_000_000_000 if stalls else round(2e6 * rng.uniform(0.98, 1.02))

    def sleep_s(seconds: float) -> None:
        nonlocal now
        now += max(round(seconds * 1e9), 1)

    found = run_stream(call, hz, frames, now_ns=lambda: now, sleep_s=sleep_s)
    row = stream_row("fake/fp32", 1, hz, found)
    return {**stored(), "scenario": "stream", "rows": [row]}


def test_frames_that_a_stream_no_longer_answers_are_seen(tmp_path: Path) -> None:
    """The ages of the answered frames are alike: a stall of 2 s is one late answer."""
    for name, found in (("old", stream(1)), ("new", stream(2, stall_every=130))):
        (tmp_path / f"{name}.json").write_text(json.dumps(found), "utf-8")
    paths = [str(tmp_path / "old.json"), str(tmp_path / "new.json")]
    command = ["bench", "compare", *paths]
    result = CliRunner().invoke(main, [*command, "--fail-if", "p99>+5%"])
    assert result.exit_code == 0
    assert "fake/fp32 batch 1 misses: more, 0.00% to 31" in result.stdout
    assert "fake/fp32 batch 1 drops: more, 0.00% to 3" in result.stdout
    shares = json.loads(CliRunner().invoke(main, [*command, "--json"]).stdout)["shares"]
    assert [(one["figure"], one["verdict"]) for one in shares] == [
        ("misses", "more"),
        ("drops", "more"),
    ]
    result = CliRunner().invoke(main, [*command, "--fail-if", "p99>+5%,misses>+1pp"])
    assert result.exit_code == 8
    assert "breaks misses>+1pp" in result.stderr
    assert CliRunner().invoke(main, [*command, "--fail-if", "drops>+40pp"]).exit_code == 0
    back = [str(path) for path in reversed(paths)]
    result = CliRunner().invoke(main, ["bench", "compare", *back, "--fail-if", "misses>+0pp"])
    assert result.exit_code == 0
    assert "misses: fewer" in result.stdout


def test_a_short_stream_cannot_be_judged_on_its_misses() -> None:
    pair = (StoredReport.parse(stream(seed, frames=500)) for seed in (1, 2))
    found = compare(*pair, parse_limits("misses>+1pp"))
    assert found["unjudged"] == [
        "fake/fp32 batch 1 misses: too few frames, 0.00% to 0.00%, 76 more are needed"
    ]


def test_streams_of_another_rate_or_deadline_are_not_compared() -> None:
    old, fast = (StoredReport.parse(stream(1, hz=hz)) for hz in (30, 60))
    with pytest.raises(InputError, match=r"one rate and deadline: .* 30 Hz deadline 33\.3333 ms"):
        compare(old, fast)
    changed = stream(1)
    changed["rows"][0]["deadline_ms"] = 50.0
    both = {**changed, "rows": [*changed["rows"], *stream(2)["rows"]]}
    found = compare(old, StoredReport.parse(both))
    assert found["only_new"] == ["fake/fp32 1 30 Hz deadline 50 ms"]


def test_a_condition_on_frames_needs_a_stream() -> None:
    with pytest.raises(InputError, match=r"misses.*--scenario stream"):
        compare(report(latencies(1)), report(latencies(2)), parse_limits("misses>+1pp"))


def test_the_error_for_a_broken_limit_is_in_the_tree() -> None:
    from fer_edge import LimitError

    assert issubclass(LimitError, FerEdgeError)
    assert LimitError.exit_code == 8
