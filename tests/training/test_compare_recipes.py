"""Two recipes side by side: the figures of their runs, in a table and a chart."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import cv2
import pyarrow
import pyarrow.parquet
import pytest
import yaml
from click.testing import CliRunner

from fer_edge.errors import InputError, MissingPartError, RecipeError
from fer_edge.shipped import FACES
from fer_edge.training import compare_recipes as module
from fer_edge.training.compare_recipes import Result, compare_recipes, main, with_epochs
from fer_edge.training.config.recipe import load_recipe
from fer_edge.training.config.schema import Phase, Recipe
from fer_edge.training.evaluation.evaluate import evaluate


@pytest.fixture
def both_parts(few_faces: Path, tmp_path: Path) -> Path:
    """84 composites to train on, and every sixth of those to judge by."""
    shutil.copy(few_faces / "faces-train.parquet", tmp_path)
    val = pyarrow.parquet.read_table(FACES / "faces-val.parquet")
    pyarrow.parquet.write_table(val.take(list(range(0, 336, 6))), tmp_path / "faces-val.parquet")
    return tmp_path


def test_the_table_says_what_the_runs_did(recipe: Recipe, both_parts: Path) -> None:
    names = []
    for name, train in (("everything", "full"), ("last", "last 1")):
        content = {
            "name": name,
            "seed": 1,
            "model": {"backbone": "test_byobnet"},
            "input": {"size_px": 48, "colour": "grey", "mean": [0.5], "std": [0.25]},
            "data": {"holdout": 0.2},
            "augment": {},
            "fit": {
                "train": "head",
                "epochs": 8,
                "batch": 16,
                "lr": 0.01,
                "workers": 0,
                "then": [{"train": train, "epochs": 8, "lr": 0.01}],
            },
        }
        path = both_parts / f"{name}.yaml"
        path.write_text(yaml.safe_dump(content), "utf-8")
        names.append(str(path))
    out, runs = both_parts / "results.md", both_parts / "runs"
    command = [*names, "--data", str(both_parts), "-o", str(out), "--runs", str(runs)]
    done = CliRunner().invoke(main, [*command, "--epochs", "2"])
    assert done.exit_code == 0, done.output
    lines = out.read_text("utf-8").splitlines()
    assert len({line.count("|") for line in lines[:4]}) == 1
    for name, line in zip(("everything", "last"), lines[2:4], strict=True):
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        score = evaluate(runs / name / "best", both_parts)["all"]
        assert cells[:2] == [name, "201,223"]
        assert cells[2].startswith("1,799 (0.9%) → ")
        assert cells[3] == "1 → 1"
        assert cells[5] == f"{score['accuracy']:.2%}"
        assert cells[7] == f"{score['macro_f1']:.4f}"
    assert "→ 201,223 (100.0%)" in lines[2]
    assert "results.png" in lines[5]
    assert cv2.imread(str(out.with_suffix(".png"))) is not None


def test_data_without_a_part_to_judge_by_trains_nothing(
    recipe: Recipe, few_faces: Path, tmp_path: Path
) -> None:
    with pytest.raises(MissingPartError, match=r"no 'val' part.*fer-edge data split .* -o NAME"):
        compare_recipes([recipe], few_faces, tmp_path / "runs", say=lambda _: None)
    assert not (tmp_path / "runs").exists()


def test_the_folder_of_the_table_is_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    result = Result("a", "cpu, fp32", 10, (5,), (1,), (0.5,), (0.4,), 0.4, 0.4, 0.4)
    monkeypatch.setattr(module, "compare_recipes", lambda *_: [result])
    out = tmp_path / "results" / "new" / "x.md"
    done = CliRunner().invoke(main, ["edge-default", "--data", str(tmp_path), "-o", str(out)])
    assert done.exit_code == 0, done.output
    assert "| a" in out.read_text("utf-8")
    assert cv2.imread(str(out.with_suffix(".png"))) is not None


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("x.png", "a name that ends in .md for the table"),
        ("x", "a name that ends in .md for the table"),
        ("folder.md", "Is a directory. Choose another file"),
        ("chart.md", "Is a directory. Choose another file"),
        ("file/x.md", "Choose another file with -o"),
    ],
)
def test_a_path_that_cannot_be_written_is_said_before_the_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, said: str
) -> None:
    def trained(*_: object) -> None:
        raise AssertionError

    monkeypatch.setattr(module, "compare_recipes", trained)
    (tmp_path / "folder.md").mkdir()
    (tmp_path / "chart.png").mkdir()
    (tmp_path / "file").write_bytes(b"")
    command = ["edge-default", "--data", str(tmp_path), "-o", str(tmp_path / name)]
    done = CliRunner().invoke(main, command)
    assert done.exit_code == InputError.exit_code, done.output
    assert said in done.output


def test_a_budget_is_shared_by_the_phases() -> None:
    two_phase = load_recipe("efficientnetv2-two-phase")
    assert [p.epochs for p in with_epochs(two_phase, 10).fit.phases] == [6, 4]
    assert [p.epochs for p in with_epochs(two_phase, 2).fit.phases] == [1, 1]
    with pytest.raises(RecipeError, match="at least 2 epochs"):
        with_epochs(two_phase, 1)
    fit = two_phase.fit
    for first, second in ((1, 10), (10, 1), (3, 4)):
        then = (replace(fit.then[0], epochs=second),)
        uneven = replace(two_phase, fit=replace(fit, epochs=first, then=then))
        for epochs in range(2, 30):
            shared = [phase.epochs for phase in with_epochs(uneven, epochs).fit.phases]
            assert (sum(shared), min(shared) >= 1) == (epochs, True)
        assert with_epochs(uneven, first + second) == uneven


def test_two_recipes_of_one_name_would_share_a_folder(recipe: Recipe, tmp_path: Path) -> None:
    other = replace(recipe, fit=replace(recipe.fit, then=(Phase("head", 1, 0.01),)))
    with pytest.raises(RecipeError, match="different names"):
        compare_recipes([recipe, other], tmp_path, tmp_path / "runs")
