"""A recipe that describes no network is refused with what to change."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from fer_edge.errors import RecipeError
from fer_edge.training.config.schema import Augment, Input, Model, Recipe
from fer_edge.training.models.from_recipe import build_network

VIT = Model("test_vit", backbone_args={"img_size": 48})


def quiet(text: str) -> None:
    pass


def test_an_image_size_that_the_network_does_not_take_is_said(recipe: Recipe) -> None:
    with pytest.raises(RecipeError, match=r"test_vit does not take images of 44 px.*crop_px"):
        build_network(replace(recipe, model=VIT, augment=Augment(crop_px=44)), quiet)


def test_an_unknown_backbone_is_a_recipe_error(recipe: Recipe) -> None:
    with pytest.raises(RecipeError, match="no_such_network"):
        build_network(replace(recipe, model=Model("no_such_network")), quiet)


@pytest.mark.parametrize("colour", ["grey", "rgb"])
def test_mean_and_std_have_to_fit_the_colour(recipe: Recipe, colour: Any) -> None:
    wrong = Input(48, colour, (0.5, 0.5), (0.25, 0.25))
    with pytest.raises(RecipeError, match="mean and std"):
        build_network(replace(recipe, input=wrong), quiet)


def test_random_weights_have_no_origin(recipe: Recipe) -> None:
    net, origin = build_network(recipe, quiet)
    assert net.spec.backbone == "test_byobnet"
    assert origin is None


@pytest.mark.parametrize(
    ("backbone", "published"), [("mobilenetv2_100", True), ("cnn48", False), ("test_byobnet", True)]
)
def test_random_weights_advise_what_there_is(
    recipe: Recipe, backbone: str, published: bool
) -> None:
    said: list[str] = []
    build_network(replace(recipe, model=Model(backbone)), said.append)
    assert ("--weights imagenet" in said[-1]) is published
    assert said[-1].endswith("the shipped model and its network with --weights default")
