"""Answers under changed pictures: the figures are right, and their page stays whole."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from click.testing import CliRunner

from fer_edge import DataError, Predictor, open_bundle
from fer_edge.benchmarks.studies import robustness as study
from fer_edge.benchmarks.studies.robustness import (
    BEGIN,
    CHANGES,
    END,
    UNTOUCHED,
    main,
    markdown,
    robustness,
    write_between,
)
from fer_edge.shipped import DEFAULT_BUNDLE, FACES


@pytest.fixture(scope="module")
def ramp() -> np.ndarray:
    return np.repeat(np.linspace(20, 220, 48).astype(np.uint8)[None, :, None], 48, 0).repeat(3, 2)


@pytest.mark.parametrize("name", CHANGES)
def test_a_change_gives_a_face_and_leaves_its_own_alone(name: str, ramp: np.ndarray) -> None:
    before = ramp.copy()
    changed = CHANGES[name](ramp)
    assert changed.dtype == np.uint8
    assert changed.shape[0] == changed.shape[1]
    assert (ramp == before).all()
    assert (name == UNTOUCHED) == np.array_equal(changed, ramp)


def test_changes_do_what_their_names_say(ramp: np.ndarray) -> None:
    mean, spread = ramp.mean(), ramp.std()
    assert CHANGES["light x 0.5"](ramp).mean() == pytest.approx(mean / 2, abs=1)
    assert CHANGES["light x 1.6"](ramp).max() == 255
    assert CHANGES["contrast x 0.2"](ramp).std() == pytest.approx(spread / 5, abs=1)
    assert CHANGES["contrast x 0.2"](ramp).mean() == pytest.approx(mean, abs=1)
    assert CHANGES["16 px"](ramp).shape == (16, 16, 3)
    assert (CHANGES["mirrored"](ramp)[:, ::-1] == ramp).all()
    noise = np.random.default_rng(0).integers(0, 256, ramp.shape, np.uint8)
    names = (UNTOUCHED, "blur 1 px", "blur 2 px")
    sharp = [cv2.Laplacian(CHANGES[name](noise), cv2.CV_64F).var() for name in names]
    assert sharp[0] > 10 * sharp[1] > 100 * sharp[2]


def test_the_shipped_model_on_the_shipped_composites() -> None:
    with Predictor(target="onnxruntime", precision="fp32", threads=1) as predictor:
        report = robustness(predictor, FACES, faces=70)
    assert set(report["faces"].values()) == {10}
    rows = {row["change"]: row for row in report["rows"]}
    assert list(rows) == list(CHANGES)
    first = rows[UNTOUCHED]
    assert first["same"] == 1
    assert first["right"] > 0.4
    assert first["right"] == pytest.approx(np.mean(list(first["recall"].values())))
    assert rows["16 px"]["same"] < 1
    text = markdown(report)
    assert text.count("\n| ") == len(CHANGES) + 1
    assert "70 faces of the val part" in text.replace("\n", " ")
    json.dumps(report, allow_nan=False)


def test_figures_of_a_model_that_always_says_neutral(fake_bundle: Path) -> None:
    with Predictor(fake_bundle) as predictor:
        report = robustness(predictor, FACES, faces=70)
    row = report["rows"][0]
    assert row["right"] == pytest.approx(1 / 7)
    assert row["usual"] == ["neutral", 1.0]
    assert row["recall"]["neutral"] == 1
    assert row["recall"]["fear"] == 0


def test_a_page_gets_its_table_again_and_again(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(f"before ±\n{BEGIN}\nold\n{END}\nafter\n", "utf-8")
    for table in ("| a |", "| b |"):
        write_between(page, table)
        assert page.read_text("utf-8") == f"before ±\n{BEGIN}\n{table}\n{END}\nafter\n"
    assert list(tmp_path.iterdir()) == [page]


@pytest.mark.parametrize("text", ["", BEGIN, f"{END} {BEGIN}"])
def test_a_page_without_markers_is_left_alone(tmp_path: Path, text: str) -> None:
    page = tmp_path / "page.md"
    page.write_text(text)
    with pytest.raises(DataError, match="add them"):
        write_between(page, "table")
    assert page.read_text() == text


def test_a_page_without_markers_is_refused_before_the_work(
    fake_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(study, "robustness", lambda *_, **__: pytest.fail("it predicted"))
    (tmp_path / "page.md").write_text("no markers")
    words = ["--data", str(FACES), "--bundle", str(fake_bundle)]
    for name, said in (("page.md", "add them"), ("no/page.md", "Check the path")):
        done = CliRunner().invoke(main, [*words, "--write", str(tmp_path / name)])
        assert (done.exit_code, said in done.stderr) == (3, True), done.output


def test_the_command_writes_the_page(fake_bundle: Path, tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(f"{BEGIN}\n{END}\n")
    arguments = ["--data", str(FACES), "--bundle", str(fake_bundle), "--faces", "7"]
    done = CliRunner().invoke(main, [*arguments, "--write", str(page)])
    assert done.exit_code == 0, done.output
    assert "| untouched | 14% | 100% |" in page.read_text("utf-8")
    done = CliRunner().invoke(main, [*arguments[:3], "nowhere.fer"])
    assert done.exit_code == 4
    assert done.stderr.startswith("robustness: ")


def test_the_projects_own_page_has_the_table_of_the_shipped_bundle() -> None:
    page = Path(__file__).parents[3] / "docs/explanation/law-and-ethics.md"
    _, begin, rest = page.read_text("utf-8").partition(BEGIN)
    assert begin
    table = rest.partition(END)[0]
    assert "| untouched |" in table
    assert open_bundle(DEFAULT_BUNDLE).sha256[:12] in table
