"""What a recipe's values may be, alone and together."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import asdict
from typing import TYPE_CHECKING

from fer_edge.errors import RecipeError

if TYPE_CHECKING:
    from fer_edge.training.config.recipe import Recipe


def check(recipe: Recipe) -> None:
    """Raises RecipeError, naming the value, what was expected and what it is."""
    for name, value, low, high in _ranges(recipe):
        if not low <= value <= high:
            raise RecipeError(f"expected {name} between {low} and {high}, got {value}")
    for name, text, pattern, says in _texts(recipe):
        if not re.fullmatch(pattern, text):
            raise RecipeError(f"expected {name} to be {says}, got {text!r}")
    for wrong, sentence in _contradictions(recipe):
        if wrong:
            raise RecipeError(sentence)


def _ranges(recipe: Recipe) -> Iterator[tuple[str, float, float, float]]:
    """Name, value, least and largest."""
    data, augment, fit, size_px = recipe.data, recipe.augment, recipe.fit, recipe.input.size_px
    yield "seed", recipe.seed, 0, 2**63
    yield "model.dropout", recipe.model.dropout, 0, 0.99
    yield "input.size_px", size_px, 16, 1024
    yield "data.holdout", data.holdout, 0.01, 0.5
    yield "data.soft_weight", data.soft_weight, 0, 1
    yield "augment.crop_px", augment.crop_px or size_px, 8, size_px
    yield "augment.resized_crop", augment.resized_crop, 0.05, 1
    for name in ("flip", "translate", "perspective", "blur", "erase"):
        yield f"augment.{name}", getattr(augment, name), 0, 1
    for name in ("scale", "brightness", "contrast", "saturation"):
        yield f"augment.{name}", getattr(augment, name), 0, 0.95
    yield "augment.rotate_deg", augment.rotate_deg, 0, 180
    yield "augment.randaugment", augment.randaugment, 0, 14
    for name in ("mixup", "cutmix"):
        yield f"augment.{name}", getattr(augment, name), 0, 100
    for name, share in asdict(augment.incar).items():
        yield f"augment.incar.{name}", share, 0, 1
    for i, phase in enumerate(fit.phases):
        where = f"fit.then.{i - 1}" if i else "fit"
        yield f"{where}.epochs", phase.epochs, 1, 100_000
        yield f"{where}.lr", phase.lr, 1e-9, 100
    yield "fit.batch", fit.batch, 2, 65_536
    yield "fit.accumulate", fit.accumulate, 1, fit.batch // 2
    yield "fit.ema", fit.ema, 0, 0.99999
    yield "fit.patience", fit.patience, 1, 100_000
    yield "fit.min_delta", fit.min_delta, 0, 100
    yield "fit.confirm", fit.confirm, 0, 100_000
    yield "fit.workers", fit.workers, 0, 256
    yield "fit.warmup", fit.warmup, 0, 1
    yield "fit.label_smoothing", fit.label_smoothing, 0, 1
    yield "fit.weight_decay", fit.weight_decay, 0, 100
    if fit.grad_clip is not None:
        yield "fit.grad_clip", fit.grad_clip, 1e-6, 1e6


_COUNT, _NUMBER = r"[1-9][0-9]{0,5}", r"[0-9]{1,3}(\.[0-9]{1,6})?"


def _texts(recipe: Recipe) -> Iterator[tuple[str, str, str, str]]:
    """Name, value, the pattern it has to match, and that in words."""
    fit = recipe.fit
    for i, phase in enumerate(fit.phases):
        yield (
            f"fit.then.{i - 1}.train" if i else "fit.train",
            phase.train,
            rf"full|head|(last|layers|stage-ends|gradual|lora) {_COUNT}",
            "full, head, last N, layers N, stage-ends N, gradual N or lora N",
        )
    yield (
        "fit.schedule",
        fit.schedule,
        rf"onecycle|cosine|constant|(step|plateau) {_COUNT} {_NUMBER}",
        "onecycle, cosine, constant, step EPOCHS FACTOR or plateau EPOCHS FACTOR",
    )
    yield "fit.loss", fit.loss, rf"cross-entropy|focal {_NUMBER}", "cross-entropy or focal GAMMA"


def _contradictions(recipe: Recipe) -> Iterator[tuple[bool, str]]:
    fit, inputs = recipe.fit, recipe.input
    for name, values in (("labels", recipe.labels), ("input.mean", inputs.mean),
                         ("input.std", inputs.std)):  # fmt: skip
        yield not values, f"expected at least one value in {name}"
    yield (
        recipe.model.pretrained and recipe.model.weights is not None,
        "expected model.pretrained or model.weights, got both: a network starts from one of them",
    )
    yield (
        fit.batch % fit.accumulate != 0,
        f"expected fit.accumulate to divide fit.batch, got {fit.accumulate} and {fit.batch}",
    )
    yield (
        fit.schedule.startswith("plateau") and fit.warmup > 0,
        f"fit.schedule {fit.schedule!r} has no warm-up: set fit.warmup to 0 (--set fit.warmup=0)",
    )
    yield (
        fit.schedule.split()[0] in ("step", "plateau")
        and not 0 < float(fit.schedule.split()[2]) < 1,
        f"expected a factor between 0 and 1 in fit.schedule, got {fit.schedule!r}",
    )
