"""The search keeps the recipe that agrees most, ends when one is good enough, and says it all."""

from __future__ import annotations

from typing import Any

import pytest

from fer_edge.converters.base import ENOUGH, QuantizationRecipe
from fer_edge.converters.pipeline.recipe_search import NEAR, best_recipe, described
from fer_edge.errors import ConversionError
from fer_edge.parity import RecipeTrial


def quiet(_: str) -> None: ...


def planted(shares: dict[str, float]) -> Any:
    """An agreement function that knows the answers; a share below 0 cannot be built."""

    def agreement(recipe: QuantizationRecipe) -> float:
        share = shares[described(recipe)]
        if share < 0:
            raise ConversionError("no such arithmetic")
        return share

    return agreement


def test_the_best_is_taken_and_every_try_is_on_record() -> None:
    shares = {"a 1": 0.9, "a 2": 0.97, "a 3": 0.95}
    best, log = best_recipe([{"a": 1}, {"a": 2}, {"a": 3}], planted(shares), quiet)
    assert best == {"a": 2}
    assert [(row.recipe, row.agreement) for row in log] == [
        ({"a": 1}, 0.9),
        ({"a": 2}, 0.97),
        ({"a": 3}, 0.95),
    ]
    assert all(row.seconds >= 0 for row in log)


def test_the_search_ends_with_the_first_that_is_enough() -> None:
    best, log = best_recipe([{}, {"a": 1}], planted({"default settings": ENOUGH}), quiet)
    assert best == {}
    assert len(log) == 1


def test_layers_are_given_back_on_top_of_the_best() -> None:
    shares = {"a 1": 0.5, "a 2": NEAR, "a 2, keep_float 4": 0.97}
    best, _ = best_recipe([{"a": 2}, {"a": 1}, {"keep_float": 4}], planted(shares), quiet)
    assert best == {"a": 2, "keep_float": 4}


def test_what_is_tried_later_is_tried_on_top_of_the_best() -> None:
    """Ranges were tried with the one strength of SmoothQuant that Swin-Base does not bear."""
    shares = {"a 1": 0.9, "a 2": 0.8, "a 1, b 3": 0.92, "a 1, b 4": 0.91}
    best, log = best_recipe([{"a": 1}, {"a": 2}, {"b": 3}, {"b": 4}], planted(shares), quiet)
    assert best == {"a": 1, "b": 3}
    assert [row.recipe for row in log[2:]] == [{"a": 1, "b": 3}, {"a": 1, "b": 4}]


def test_layers_are_not_given_back_to_what_is_far_off() -> None:
    best, log = best_recipe([{"a": 2}, {"keep_float": 4}], planted({"a 2": 0.9499}), quiet)
    assert best == {"a": 2}
    assert log[1] == RecipeTrial({"keep_float": 4}, refused="94.99% is too far off")


def test_what_cannot_be_built_is_on_record_and_passed_over() -> None:
    best, log = best_recipe([{"a": 1}, {"a": 2}], planted({"a 1": -1, "a 2": 0.9}), quiet)
    assert best == {"a": 2}
    assert log[0].refused == "no such arithmetic"
    assert log[0].agreement is None


def test_nothing_to_build_is_an_error_that_says_why() -> None:
    with pytest.raises(ConversionError, match="no such arithmetic"):
        best_recipe([{"a": 1}], planted({"a 1": -1}), quiet)


def test_without_anything_to_judge_the_usual_recipe_is_taken() -> None:
    assert best_recipe([{"a": 1}, {"a": 2}], lambda recipe: None, quiet) == ({"a": 1}, ())


def test_a_recipe_on_which_the_engine_crashes_is_passed_over() -> None:
    shares = {"a 1": 0.9, "a 2": None, "a 3": 0.95}
    said: list[str] = []
    best, log = best_recipe(
        [{"a": 1}, {"a": 2}, {"a": 3}], lambda recipe: shares[described(recipe)], said.append
    )
    assert best == {"a": 3}
    assert [row.agreement for row in log] == [0.9, None, 0.95]
    assert log[1].refused == "its engine crashes here"
    assert said[1] == "    recipe a 2: its engine crashes here"
