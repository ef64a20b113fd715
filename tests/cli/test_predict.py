"""``fer-edge predict``: lines for people, JSON for programs, unreadable images."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from fer_edge.labels import EMOTIONS
from fer_edge.shipped import FACES

HAPPY = FACES / "happiness.png"


def test_predict_names_the_expression_and_all_shares(run: Any, fake_bundle: Path) -> None:
    result = run("predict", HAPPY, "--bundle", fake_bundle)
    assert result.exit_code == 0
    lines = result.stdout.splitlines()
    assert lines[0] == f"{HAPPY}: neutral 0.90"
    assert {line.split()[0] for line in lines[1:]} == set(EMOTIONS)
    assert lines[1].split()[:2] == ["neutral", "90.0%"]


def test_predict_prints_pure_json(run: Any, fake_bundle: Path) -> None:
    result = run("predict", HAPPY, FACES / "fear.png", "--bundle", fake_bundle, "--json")
    assert result.exit_code == 0
    one, other = json.loads(result.stdout)
    assert (one["image"], other["image"]) == (str(HAPPY), str(FACES / "fear.png"))
    assert one["label"] == "neutral"
    assert sum(one["probabilities"].values()) == pytest.approx(1)


def test_predict_takes_a_box(run: Any, fake_bundle: Path) -> None:
    result = run("predict", HAPPY, "--bundle", fake_bundle, "--box", 8, 8, 30, 30)
    assert result.exit_code == 0


def test_a_text_that_is_called_a_picture_ends_with_3_and_a_sentence(
    run: Any, fake_bundle: Path, text_named_jpg: Path
) -> None:
    result = run("predict", text_named_jpg, "--bundle", fake_bundle)
    assert (result.exit_code, result.stdout) == (3, "")
    assert "notes.jpg" in result.stderr
    assert "Traceback" not in result.stderr
    assert len(result.stderr.splitlines()) == 1


def test_one_bad_picture_does_not_cost_the_others(
    run: Any, fake_bundle: Path, text_named_jpg: Path
) -> None:
    result = run("predict", HAPPY, text_named_jpg, FACES / "fear.png", "--bundle", fake_bundle)
    assert result.exit_code == 3
    assert result.stdout.count(": neutral") == 2
    assert "notes.jpg" in result.stderr


def test_one_bad_picture_is_an_entry_in_the_json(
    run: Any, fake_bundle: Path, text_named_jpg: Path
) -> None:
    result = run("predict", HAPPY, text_named_jpg, "--bundle", fake_bundle, "--json")
    assert result.exit_code == 3
    good, bad = json.loads(result.stdout)
    assert good["label"] == "neutral"
    assert set(bad) == {"image", "error"}


def test_a_doubtful_answer_is_called_so(run: Any, tmp_path: Path) -> None:
    from fer_edge.backends.fake import write_fake_bundle

    unsure = write_fake_bundle(tmp_path / "u.fer", {"fear": 0.4}, abstain_below=0.5)
    result = run("predict", HAPPY, "--bundle", unsure)
    assert result.exit_code == 0
    assert "uncertain" in result.stdout


@pytest.mark.parametrize("name", ["happiness", "surprise"])
def test_the_shipped_model_knows_the_clearest_mean_faces(run: Any, name: str) -> None:
    (answer,) = json.loads(run("predict", FACES / f"{name}.png", "--json").stdout)
    assert answer["label"] == name
