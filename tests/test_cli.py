"""The command line as a newcomer and as a script meet it."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import pytest
from click.testing import CliRunner, Result

from fer_edge.backends.fake import write_fake_bundle
from fer_edge.cli import main
from fer_edge.labels import EMOTIONS
from fer_edge.preprocess import Image
from fer_edge.shipped import FACES

COMMANDS = ("train", "evaluate", "convert", "bench", "predict", "inspect", "doctor", "demo")


def run(*arguments: object) -> Result:
    return CliRunner().invoke(main, [str(a) for a in arguments])


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    return write_fake_bundle(tmp_path / "fake.fer", {"anger": 0.8})


@pytest.fixture
def picture(tmp_path: Path, face: Image) -> Path:
    path = tmp_path / "face.png"
    cv2.imwrite(str(path), face)
    return path


def test_every_command_is_there_and_says_what_it_does() -> None:
    assert set(COMMANDS) <= set(main.commands)
    assert run("--help").exit_code == 0
    assert run("--version").output.startswith("fer-edge")


@pytest.mark.parametrize("command", [c for c in COMMANDS if c != "doctor"])
def test_help_holds_an_example(command: str) -> None:
    result = run(command, "--help")
    assert result.exit_code == 0
    assert f"fer-edge {command}" in result.output


def test_predict_names_the_expression(bundle: Path, picture: Path) -> None:
    result = run("predict", picture, "--bundle", bundle)
    assert result.exit_code == 0
    assert f"{picture}: anger 0.80" in result.output


def test_predict_gives_json(bundle: Path, picture: Path) -> None:
    (row,) = json.loads(run("predict", picture, "--bundle", bundle, "--json").output)
    assert row["label"] == "anger"
    assert set(row["probabilities"]) == set(EMOTIONS)


def test_a_text_named_jpg_is_a_sentence_and_exit_code_3(bundle: Path, tmp_path: Path) -> None:
    fraud = tmp_path / "fraud.jpg"
    fraud.write_text("not a picture")
    result = run("predict", fraud, "--bundle", bundle)
    assert result.exit_code == 3
    assert "expected a JPEG" in result.output
    assert "Traceback" not in result.output


def test_one_bad_picture_does_not_lose_the_others(
    bundle: Path, picture: Path, tmp_path: Path
) -> None:
    result = run("predict", tmp_path / "gone.png", picture, "--bundle", bundle, "--json")
    assert result.exit_code == 3
    bad, good = json.loads(result.output)
    assert "error" in bad
    assert good["label"] == "anger"


def test_inspect_shows_labels_and_what_runs(bundle: Path) -> None:
    result = run("inspect", bundle)
    assert result.exit_code == 0
    assert "fake/fp32: taken" in result.output
    assert json.loads(run("inspect", bundle, "--json").output)["labels"] == list(EMOTIONS)


@pytest.mark.parametrize("command", ["inspect", "bench"])
def test_a_damaged_bundle_ends_with_4(command: str, bundle: Path) -> None:
    victim = next(p for p in bundle.rglob("answers.json"))
    data = bytearray(victim.read_bytes())
    data[3] ^= 1
    victim.write_bytes(bytes(data))
    result = run(command, bundle)
    assert result.exit_code == 4
    assert "SHA-256" in result.output


def test_a_target_that_does_not_exist_ends_with_5(bundle: Path, picture: Path) -> None:
    result = run("predict", picture, "--bundle", bundle, "--target", "abacus")
    assert result.exit_code == 5
    assert "abacus" in result.output


def test_bench_prints_nothing_but_json(bundle: Path) -> None:
    result = run("bench", bundle, "--batch-sizes", "1,2", "--budget-s", "0.1", "--json")
    assert result.exit_code == 0
    assert len(json.loads(result.stdout)["rows"]) == 2


def test_doctor_says_what_is_installed() -> None:
    report = json.loads(run("doctor", "--json").output)
    assert report["parts"]["onnxruntime"]["ok"]
    assert any(": taken" in line for line in report["default_model"])


@pytest.mark.parametrize(
    "arguments",
    [("predict",), ("bench", "--batch-sizes", "one"), ("convert", "x", "-o", "y.fer"), ("nap",)],
)
def test_wrong_usage_ends_with_2(arguments: tuple[str, ...]) -> None:
    assert run(*arguments).exit_code == 2


def test_a_recipe_that_is_not_there_ends_with_3(tmp_path: Path) -> None:
    result = run("train", "no-such-recipe", "--data", tmp_path)
    assert result.exit_code == 3
    assert "edge-default" in result.output


@pytest.mark.parametrize("emotion", EMOTIONS)
def test_the_shipped_model_recognises_the_shipped_mean_faces(emotion: str) -> None:
    (row,) = json.loads(run("predict", FACES / f"{emotion}.png", "--json").output)
    assert row["label"] == emotion


def test_evaluating_the_shipped_faces_gives_figures(bundle: Path) -> None:
    result = run("evaluate", bundle, "--data", FACES, "--json")
    report = json.loads(result.stdout)
    assert report["all"]["faces"] == 336
    assert report["all"]["accuracy"] == pytest.approx(1 / 7)
