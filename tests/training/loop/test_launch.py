"""Variables of a launcher that are left over, odd or incomplete are named."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from fer_edge.errors import RecipeError, TrainingError
from fer_edge.training.config.schema import Recipe
from fer_edge.training.loop.launch import check_launch
from fer_edge.training.loop.processes import accelerator_for
from fer_edge.training.loop.train import train

ALL = {
    "RANK": "1",
    "LOCAL_RANK": "1",
    "WORLD_SIZE": "2",
    "LOCAL_WORLD_SIZE": "2",
    "MASTER_ADDR": "127.0.0.1",
    "MASTER_PORT": "29500",
}


@pytest.fixture(autouse=True)
def none_set(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ALL:
        monkeypatch.delenv(name, raising=False)


@pytest.mark.parametrize(
    ("variables", "named"),
    [
        ({"WORLD_SIZE": ""}, "WORLD_SIZE is '', which is no number"),
        ({"WORLD_SIZE": "abc"}, "WORLD_SIZE is 'abc'"),
        ({"WORLD_SIZE": "0"}, "WORLD_SIZE is '0', which is less than 1"),
        ({"WORLD_SIZE": "2"}, "WORLD_SIZE is '2', but RANK is not set"),
        ({"LOCAL_RANK": "x"}, "LOCAL_RANK is 'x'"),
        ({"LOCAL_RANK": "0"}, "LOCAL_RANK is '0', but RANK is not set"),
        ({"LOCAL_WORLD_SIZE": "0"}, "LOCAL_WORLD_SIZE is '0'"),
        ({"RANK": ""}, "RANK is '', which is no number"),
        ({"RANK": "1"}, "RANK is '1', of 1 process"),
        (ALL | {"MASTER_ADDR": ""}, "WORLD_SIZE is '2', but MASTER_ADDR is not set"),
        (ALL | {"MASTER_PORT": "http"}, "MASTER_PORT is 'http'"),
    ],
)
def test_an_odd_variable_is_named_before_any_work(
    recipe: Recipe,
    few_faces: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    variables: dict[str, str],
    named: str,
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(TrainingError, match=f"^{named}.* Unset [A-Z_]*, or start with torchrun$"):
        train(recipe, few_faces, tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    "variables",
    [{}, ALL, {"WORLD_SIZE": "1"}, {"RANK": "0"}, {"LOCAL_RANK": "-1"}, {"MASTER_PORT": ""}],
)
def test_what_a_launcher_or_a_cluster_sets_is_accepted(
    monkeypatch: pytest.MonkeyPatch, variables: dict[str, str]
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    check_launch()


def test_the_precision_is_blamed_for_what_it_causes_alone(
    recipe: Recipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    unknown: Any = "fp7"
    with pytest.raises(RecipeError, match=r"fp7 does not work.*fit\.precision=fp32"):
        accelerator_for(replace(recipe.fit, precision=unknown))
    monkeypatch.setenv("LOCAL_RANK", "0")
    with pytest.raises(TrainingError, match=r"RANK expected.* start with torchrun"):
        accelerator_for(recipe.fit)
