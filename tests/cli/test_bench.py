"""``fer-edge bench``: table, JSON and report files."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

import pytest

from fer_edge.shipped import FACES


def test_bench_prints_pure_json_and_writes_it(run: Any, fake_bundle: Path, tmp_path: Path) -> None:
    out = tmp_path / "report.json"
    arguments = ["--batch-sizes", "1,2", "--budget-s", "0.2", "--json", "-o", out]
    result = run("bench", fake_bundle, *arguments)
    assert result.exit_code == 0
    report = json.loads(result.stdout)
    assert [row["batch"] for row in report["rows"]] == [1, 2]
    assert json.loads(out.read_text("utf-8")) == report


def test_bench_prints_a_table(run: Any, fake_bundle: Path) -> None:
    result = run("bench", fake_bundle, "--batch-sizes", "1", "--budget-s", "0.2")
    assert result.exit_code == 0
    assert "fake/fp32" in result.stdout
    assert "fresh process" in result.stdout


def test_bench_says_that_nothing_of_a_bundle_runs_here(run: Any, somechip_bundle: Path) -> None:
    result = run("bench", somechip_bundle, "--budget-s", "0.1")
    assert result.exit_code in (0, 5)
    assert "somechip" in result.output


def test_bench_says_that_it_cannot_write_its_report(run: Any, fake_bundle: Path) -> None:
    arguments = ["--batch-sizes", "1", "--budget-s", "0.1", "-o", "no/such/folder/report.json"]
    result = run("bench", fake_bundle, *arguments)
    assert result.exit_code == 3
    assert "report.json: there is no folder no/such/folder" in result.stderr
    result = run("bench", fake_bundle, "--budget-s", "0.1", "-o", "report.txt")
    assert result.exit_code == 3
    assert "ends in .json or .md or .html" in result.stderr


def test_a_link_to_a_place_without_a_folder_is_refused_before_the_work(
    run: Any, fake_bundle: Path, tmp_path: Path
) -> None:
    (tmp_path / "report.json").symlink_to(tmp_path / "nowhere" / "report.json")
    result = run("bench", fake_bundle, "-o", tmp_path / "report.json")
    assert result.exit_code == 3
    assert "cannot write" in result.stderr
    assert result.stdout == ""


def test_bench_writes_all_reports_or_none(run: Any, fake_bundle: Path, tmp_path: Path) -> None:
    out, folder = tmp_path / "report.json", tmp_path / "report.md"
    folder.mkdir()
    arguments = ["--batch-sizes", "1", "--budget-s", "0.1", "-o", out, "-o", folder]
    result = run("bench", fake_bundle, *arguments)
    assert result.exit_code == 3
    assert "report.md" in result.stderr
    assert not out.exists()


@pytest.mark.parametrize("command", ["bench", "evaluate"])
def test_a_page_without_its_library_is_refused_before_the_work(
    run: Any, fake_bundle: Path, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    (fake_bundle / "bundle.json").unlink()  # which is opened later
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    data = ["--data", FACES] if command == "evaluate" else []
    result = run(command, fake_bundle, *data, "-o", "report.json", "-o", "report.html")
    assert result.exit_code == 5
    assert f"pip install 'fer-edge[{command}]'" in result.stderr


@pytest.mark.skipif(sys.platform != "linux", reason="other systems take names in UTF-8 alone")
@pytest.mark.parametrize("suffix", ["json", "md", "html"])
def test_a_report_is_written_of_a_path_that_is_no_utf8(
    run: Any, fake_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, suffix: str
) -> None:
    bundle = fake_bundle.rename(tmp_path / os.fsdecode(b"\xff.fer"))
    monkeypatch.setattr(sys, "argv", ["fer-edge", "bench", str(bundle)])
    result = run("bench", bundle, "--batch-sizes", 1, "--budget-s", 0.1, "-o", f"report.{suffix}")
    assert result.exit_code == 0, result.output
    assert "\\udcff.fer" in (tmp_path / f"report.{suffix}").read_text("utf-8")


def test_all_as_a_target_restricts_nothing(run: Any, fake_bundle: Path) -> None:
    arguments = ["--batch-sizes", "1", "--budget-s", "0.2", "--json"]
    result = run("bench", fake_bundle, "--target", "all", "--precision", "all", *arguments)
    assert [row["batch"] for row in json.loads(result.stdout)["rows"]] == [1]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--split", "nonsense"), "--split needs --data"),
        (("--loadgen-logs", "logs"), "--loadgen-logs needs --loadgen"),
    ],
)
def test_an_option_of_an_option_that_is_left_out_is_refused(
    run: Any, fake_bundle: Path, words: tuple[str, ...], said: str
) -> None:
    result = run("bench", fake_bundle, "--budget-s", "0.1", *words)
    assert result.exit_code == 2
    assert said in result.stderr


@pytest.mark.parametrize(
    "words",
    [
        ("--scenario", "stream", "--deadline-ms", "1e305"),
        ("--scenario", "stream", "--hz", "1e-300"),
        ("--budget-s", "1e308"),
        ("--batch-sizes", str(10**24)),
        ("--scenario", "stream", "--batch-sizes", "9" * 5000),
    ],
)
def test_numbers_without_a_meaning_are_refused(
    run: Any, fake_bundle: Path, words: tuple[str, ...]
) -> None:
    result = run("bench", fake_bundle, *words)
    assert result.exit_code in (2, 3), result.output
    assert result.stderr
