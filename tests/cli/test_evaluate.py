"""``fer-edge evaluate``: figures on the terminal and report files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet
import pytest

from fer_edge.backends.fake import write_fake_bundle
from fer_edge.labels import EMOTIONS
from fer_edge.shipped import FACES


def test_evaluate_gives_the_figures_of_a_bundle(run: Any, fake_bundle: Path) -> None:
    """It always answers neutral: right for one class in seven."""
    result = run("evaluate", fake_bundle, "--data", FACES, "--json")
    assert result.exit_code == 0
    (report,) = json.loads(result.stdout)["inputs"]
    assert report["all"]["accuracy"] == pytest.approx(1 / 7)
    assert report["all"]["per_class"]["neutral"]["recall"] == 1
    assert report["variant"] == "fake/fp32"
    said = run("evaluate", fake_bundle, "--data", FACES).stdout
    assert "accuracy 0.1429" in said
    assert "Answered (threshold 0.00): 100.0% of the faces, 14.3% of them correct" in said
    assert all(name in said for name in EMOTIONS)


def test_the_share_right_of_no_answers_is_not_stated(run: Any, tmp_path: Path) -> None:
    shy = write_fake_bundle(tmp_path / "shy.fer", abstain_below=0.95)
    said = run("evaluate", shy, "--data", FACES).stdout
    assert "Answered (threshold 0.95): 0.0% of the faces\n" in said


def test_evaluate_writes_each_form(run: Any, fake_bundle: Path, tmp_path: Path) -> None:
    outs = [tmp_path / f"report.{suffix}" for suffix in ("json", "html", "png")]
    arguments = [part for out in outs for part in ("-o", out)]
    result = run("evaluate", fake_bundle, fake_bundle, "--data", FACES, *arguments)
    assert result.exit_code == 0
    assert [out.read_bytes()[:5] for out in outs] == [b'{\n "i', b"<!doc", b"\x89PNG\r"]
    assert "against fake.fer fake/fp32: accuracy +0.00 points" in result.stdout


@pytest.fixture
def people(tmp_path: Path) -> Path:
    """Faces with a gender each."""
    rows = pyarrow.parquet.read_table(FACES / "faces-val.parquet").to_pylist()[:80]
    rows = [{**row, "gender": "female" if i % 2 else "male"} for i, row in enumerate(rows)]
    path = tmp_path / "people.parquet"
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), path)
    return path


def test_evaluate_reports_by_groups(run: Any, fake_bundle: Path, people: Path) -> None:
    command = ("evaluate", fake_bundle, "--data", people, "--split", "none", "--by", "gender")
    result = run(*command, "-o", "g.png", "-o", "g.html", "-o", "g.json")
    assert result.exit_code == 0
    assert max(map(len, result.stdout.splitlines())) <= 80
    assert "Recall by class" in result.stdout
    report = json.loads(run(*command, "--json").stdout)
    assert report["inputs"] == json.loads(Path("g.json").read_text("utf-8"))["inputs"]
    assert [row["value"] for row in report["inputs"][0]["by"][0]["groups"]] == ["female", "male"]
    assert Path("g.png").read_bytes()[:4] == b"\x89PNG"


def test_an_unknown_column_is_one_sentence(run: Any, fake_bundle: Path, people: Path) -> None:
    result = run("evaluate", fake_bundle, "--data", people, "--split", "none", "--by", "race")
    assert result.exit_code == 3
    assert "has no column 'race'. It has: 'name', 'label', 'gender'" in result.stderr


@pytest.mark.parametrize("option", [["--fold", "0/3"], ["--find-faces"], ["--detector", "y.onnx"]])
def test_options_of_groups_need_groups(run: Any, fake_bundle: Path, option: list[str]) -> None:
    result = run("evaluate", fake_bundle, "--data", FACES, *option)
    assert result.exit_code == 2
    assert "go with --by" in result.stderr
