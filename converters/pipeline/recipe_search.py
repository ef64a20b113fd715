"""Search for the quantisation recipe that keeps most of a network's decisions."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable

from fer_edge.converters.base import ENOUGH, QuantizationRecipe
from fer_edge.errors import ConversionError, EngineError
from fer_edge.parity import RecipeTrial
from fer_edge.progress import Say

NEAR = 0.95
"""Least agreement (share, 0..1) from which layers kept in float are tried. On the networks of
docs/results/matrix.md that gained two points over the better recipes, and took as long as all the
recipes before it."""

_CRASHES = "its engine crashes here"


def best_recipe(
    recipes: Iterable[QuantizationRecipe],
    agreement: Callable[[QuantizationRecipe], float | None],
    say: Say = print,
) -> tuple[QuantizationRecipe, tuple[RecipeTrial, ...]]:
    """Try recipes in order and return the one that agrees most often.

    Each recipe changes what it names in the best one before it. One that cannot be built or run is
    passed over. A recipe with ``keep_float`` (layers kept in float) is skipped while the best
    agreement is below NEAR.

    Args:
        recipes: Recipes, the default first.
        agreement: Builds a recipe and returns the share (0..1) of the calibration faces with the
            checkpoint's decision, never of the faces that verify the variant afterwards. None
            means that the engine did not run the recipe. If no recipe has a share yet, nothing
            here can judge, and this recipe is returned. Otherwise the engine crashes on it, and
            the search goes on.
        say: Receives a sentence for each recipe.

    Returns:
        The recipe, and every trial.

    Raises:
        ConversionError: No recipe could be built and run.
    """
    best: QuantizationRecipe = {}
    most = -1.0
    trials: list[RecipeTrial] = []
    for recipe in recipes:
        if "keep_float" in recipe and 0 <= most < NEAR:
            trials.append(RecipeTrial(dict(recipe), refused=f"{most:.2%} is too far off"))
            continue
        recipe = {**best, **recipe}
        started = time.monotonic()
        share, refused = None, None
        try:
            share = agreement(recipe)
        except (ConversionError, EngineError) as error:
            refused = str(error)
        if share is None and refused is None:
            if most < 0:
                return recipe, ()
            refused = _CRASHES  # the engine has run another recipe
        if share is not None and share > most:
            best, most = recipe, share
        seconds = round(time.monotonic() - started, 1)
        trials.append(RecipeTrial(dict(recipe), share, refused, seconds))
        say(f"    recipe {described(recipe)}: {refused or f'{share:.2%} agree'}")
        if most >= ENOUGH:
            break
    if most < 0:
        raise ConversionError(
            "no recipe could be built and run: "
            + "; ".join(dict.fromkeys(str(trial.refused) for trial in trials))
        )
    return best, tuple(trials)


def described(recipe: QuantizationRecipe) -> str:
    """Return the settings of a recipe in one line."""
    return ", ".join(f"{name} {value}" for name, value in recipe.items()) or "default settings"
