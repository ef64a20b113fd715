"""Which recipe keeps a network's answers: tried one after another, and all of it on record."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from typing import Any

from fer_edge.converters.base import QuantizationRecipe
from fer_edge.errors import ConversionError

ENOUGH = 0.985
"""Agreement at which the search ends: half a point above what the gate asks for on other faces.
Above it, two recipes differ by less than 300 faces can tell."""

NEAR = 0.95
"""Least agreement (share, 0..1) from which layers kept in float are tried. On the networks of
docs/results/matrix.md that gained two points over the better recipes, and took as long as all the
recipes before it."""


def best_recipe(
    recipes: Iterable[QuantizationRecipe],
    agreement: Callable[[QuantizationRecipe], float | None],
    say: Callable[[str], None] = print,
) -> tuple[QuantizationRecipe, list[dict[str, Any]]]:
    """The recipe that agrees most often, and the log of what was tried.

    agreement: builds a recipe and gives the share of the calibration faces on which it decides as
    the checkpoint does; never the faces that judge the variant afterwards. None if nothing here
    can run it: then there is no search. A recipe that cannot be built is logged with the reason.
    Each recipe changes what it names in the best one before it; ``keep_float`` (layers that stay
    float) is tried only if that is near enough.

    Raises ConversionError if none can be built.
    """
    best: QuantizationRecipe = {}
    most = -1.0
    log: list[dict[str, Any]] = []
    for recipe in recipes:
        if "keep_float" in recipe and 0 <= most < NEAR:
            log.append({"recipe": dict(recipe), "refused": f"{most:.2%} is too far off"})
            continue
        recipe = {**best, **recipe}
        started = time.monotonic()
        row: dict[str, Any] = {"recipe": dict(recipe)}
        try:
            share = agreement(recipe)
        except ConversionError as error:
            row["refused"] = str(error)
        else:
            if share is None:
                return recipe, []
            row["agreement"] = share
            if share > most:
                best, most = recipe, share
        row["seconds"] = round(time.monotonic() - started, 1)
        log.append(row)
        outcome = f"{share:.2%} agree" if "agreement" in row else row["refused"]
        say(f"    recipe {described(recipe)}: {outcome}")
        if most >= ENOUGH:
            break
    if most < 0:
        raise ConversionError(
            "no recipe could be built: "
            + "; ".join(dict.fromkeys(str(row.get("refused")) for row in log))
        )
    return best, log


def described(recipe: QuantizationRecipe) -> str:
    return ", ".join(f"{name} {value}" for name, value in recipe.items()) or "as usual"
