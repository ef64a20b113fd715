"""Latency within a CPU quota: a row for each variant, and a refusal without a quota."""

from __future__ import annotations

import json

import pytest
from click.testing import CliRunner

from fer_edge.benchmarks.studies import cpu_quota
from fer_edge.benchmarks.studies.cpu_quota import main
from fer_edge.cores import cores_of_the_machine


def test_each_variant_that_runs_gets_a_row(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cpu_quota, "_TURN_S", 0.1)
    monkeypatch.setattr(cpu_quota, "_REST_S", 0.0)
    monkeypatch.setattr("fer_edge.cores.usable_cores", lambda: 1)
    monkeypatch.setattr(cpu_quota, "usable_cores", lambda: 1)
    monkeypatch.setattr(cpu_quota, "cores_of_the_machine", lambda: 2)
    done = CliRunner().invoke(main, ["--turns", "2", "--json"])
    assert done.exit_code == 0, done.output
    rows = json.loads(done.stdout)["rows"]
    assert {"openvino/fp32", "onnxruntime/fp32"} <= {row["variant"] for row in rows}
    for row in rows:
        assert row["low"] <= row["p99_ratio"] <= row["high"]
        for name in ("few", "all"):
            assert 0 < row[name]["p50_ms"] <= row[name]["p99_ms"] <= row[name]["most_ms"]
    text = CliRunner().invoke(main, ["--turns", "1"]).stdout
    assert text.count("  2 thread(s): p50 ") == len(rows)


def test_without_a_quota_there_is_nothing_to_measure(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cpu_quota, "usable_cores", cores_of_the_machine)
    done = CliRunner().invoke(main, [])
    assert done.exit_code == 5
    assert "docker run --cpus=1" in done.stderr
