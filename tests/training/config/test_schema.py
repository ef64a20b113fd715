"""Every section of a recipe checks its values when it is constructed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from fer_edge.errors import RecipeError
from fer_edge.training.config.schema import (
    Augment,
    Data,
    Fit,
    InCar,
    Input,
    Model,
    Phase,
    Recipe,
)


@pytest.mark.parametrize(
    ("make", "key"),
    [
        (lambda: Model("test_byobnet", dropout=1), "model.dropout"),
        (lambda: Input(8, "grey", (0.5,), (0.5,)), "input.size_px"),
        (lambda: Input(48, "grey", (), (0.5,)), "input.mean"),
        (lambda: Data(holdout=0), "data.holdout"),
        (lambda: InCar(mask=2), "augment.incar.mask"),
        (lambda: Augment(flip=-1), "augment.flip"),
        (lambda: Fit(1, 16, 0.1, schedule="plateau 2 0.1"), "fit.warmup"),
        (lambda: Fit(1, 16, 0.1, then=(Phase("head", 0, 0.1),)), "fit.then.0.epochs"),
        (lambda: Fit(1, 16, 0.1, then=(Phase("all", 1, 0.1),)), "fit.then.0.train"),
    ],
)
def test_a_section_names_its_wrong_value(make: Callable[[], Any], key: str) -> None:
    with pytest.raises(RecipeError, match=key.replace(".", r"\.")):
        make()


def test_a_recipe_checks_what_spans_sections(recipe: Recipe) -> None:
    with pytest.raises(RecipeError, match=r"augment\.crop_px between 8 and 48, got 64"):
        replace(recipe, augment=Augment(crop_px=64))
    for labels in ((), ("happiness",)):
        with pytest.raises(RecipeError, match="at least two labels to tell apart"):
            replace(recipe, labels=labels)


@pytest.mark.parametrize(
    "name", ["", ".", "..", "../../outside", "/tmp", "a\\b", "a\nb", "a\0b", "n" * 101]
)
def test_a_recipes_name_is_one_folder_under_runs(recipe: Recipe, name: str) -> None:
    with pytest.raises(RecipeError, match=r"names the run's folder.*Choose another name"):
        replace(recipe, name=name)
    for plain in ("edge-default", "Fahrer: müde, wach", "n" * 100):
        assert replace(recipe, name=plain).name == plain
