"""``fer-edge train``: a run from the command line to a checkpoint."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from fer_edge.shipped import FACES
from fer_edge.training.config.recipe import RECIPE_DIR
from fer_edge.training.config.schema import Recipe
from fer_edge.training.data.dataset_spec import DatasetSpec


@pytest.mark.slow
def test_train_prints_where_the_checkpoint_is_and_evaluate_takes_it(
    run: Any, tmp_path: Path
) -> None:
    torch = pytest.importorskip("torch")
    torch.set_num_threads(1)  # of a tiny network, more would only wait for each other
    tiny = ["model.backbone=test_byobnet", "fit.epochs=1", "fit.batch=32", "fit.precision=fp32"]
    settings = [part for override in tiny for part in ("--set", override)]
    settings += ["--licence", "research use"]
    result = run("train", "edge-default", "--data", FACES, "-o", tmp_path / "run", *settings)
    assert result.exit_code == 0
    assert result.stdout.split() == [str(tmp_path / "run" / "best")]
    again = run("train", "edge-default", "--data", FACES, "-o", tmp_path / "run", *settings)
    assert again.exit_code == 6
    assert "--resume" in again.stderr
    card = json.loads((tmp_path / "run" / "best" / "card.json").read_text("utf-8"))
    assert card["licences"] == {"data": "research use"}
    report = json.loads(
        run("evaluate", tmp_path / "run" / "best", "--data", FACES, "--json").stdout
    )
    assert report["inputs"][0]["all"]["faces"] == 336


def test_sources_of_a_recipe_are_beside_it_or_on_the_hub(
    run: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from fer_edge.training.loop import train as loop

    trained: list[str] = []

    def train(_: Recipe, source: list[DatasetSpec], folder: Path, **options: object) -> Path:
        trained.extend(spec.path for spec in source)
        return folder

    monkeypatch.setattr(loop, "train", train)
    (tmp_path / "recs").mkdir()
    (tmp_path / "recs" / "r.yaml").write_bytes((RECIPE_DIR / "finetune.yaml").read_bytes())
    for path in ("recs/faces.csv", "own.csv"):
        (tmp_path / path).touch()
    sources = f"data.sources=[faces.csv, 'hf:someone/faces', {tmp_path}/own.csv]"
    assert run("train", "recs/r.yaml", "--set", sources).exit_code == 0
    assert trained == ["recs/faces.csv", "hf:someone/faces", f"{tmp_path}/own.csv"]


def test_weights_that_replace_the_recipes_network_say_so(
    run: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from fer_edge.training.loop import train as loop

    monkeypatch.setattr(loop, "train", lambda _recipe, _source, folder, **_: folder)
    result = run("train", "cnn48", "--weights", "default", "--data", FACES, "-o", tmp_path / "run")
    assert result.exit_code == 0
    assert "mobilenetv2_100 at 128 px replaces the recipe's 'cnn48'" in result.stderr
