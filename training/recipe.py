"""A recipe: everything that decides what a training run produces, in one YAML file."""

from __future__ import annotations

import contextlib
from dataclasses import asdict, dataclass, fields, is_dataclass
from pathlib import Path
from typing import Any, Literal, get_type_hints

import yaml

from fer_edge.errors import RecipeError
from fer_edge.labels import EMOTIONS, check_label_list

RECIPE_DIR = Path(__file__).parent / "recipes"


@dataclass(frozen=True)
class Model:
    """weights: a file that the backbone starts from (see training.weights); None: at random."""

    backbone: str
    dropout: float = 0.0
    backbone_args: dict[str, Any] | None = None
    neck: tuple[str, ...] = ()
    weights: str | None = None


@dataclass(frozen=True)
class Input:
    """size_px is what the exported network takes; mean and std as in training.model.InputSpec."""

    size_px: int
    colour: Literal["grey", "rgb"]
    mean: tuple[float, ...]
    std: tuple[float, ...]


@dataclass(frozen=True)
class Data:
    """holdout: share of train kept back for choosing the best epoch and for the temperature.

    soft_weight: share of each target that comes from opinions other than the label: the FER+
    ``votes``, where the source has them, and the ``teachers``, checkpoint folders (see
    training.targets).
    """

    holdout: float = 0.05
    soft_weight: float = 0.5
    votes: bool = False
    teachers: tuple[str, ...] = ()


@dataclass(frozen=True)
class Augment:
    """crop_px: side of the random crop in training; the whole picture is used afterwards."""

    crop_px: int | None = None
    flip: float = 0.5
    rotate_deg: float = 0.0
    translate: float = 0.0
    scale: float = 0.0
    brightness: float = 0.0
    contrast: float = 0.0
    erase: float = 0.0
    mixup: float = 0.0


@dataclass(frozen=True)
class Fit:
    """lr is the peak of a one-cycle schedule; warmup its rising share of the run.

    ema: decay of the weight average that is validated and shipped; 0 turns it off.
    compile: torch.compile the network; faster, and needs a C++ compiler on a CPU.
    patience: epochs without a better validation score after which the run stops.
    """

    epochs: int
    batch: int
    lr: float
    optimizer: Literal["sgd", "adamw"] = "sgd"
    weight_decay: float = 5e-4
    warmup: float = 0.15
    label_smoothing: float = 0.0
    grad_clip: float | None = None
    ema: float = 0.0
    patience: int = 10
    precision: Literal["fp32", "bf16", "fp16"] = "fp32"
    compile: bool = False
    workers: int = 1


@dataclass(frozen=True)
class Recipe:
    name: str
    seed: int
    model: Model
    input: Input
    data: Data
    augment: Augment
    fit: Fit
    labels: tuple[str, ...] = EMOTIONS

    def __post_init__(self) -> None:
        check_label_list(self.labels)
        for name, value, low, high in (
            ("seed", self.seed, 0, 2**63),
            ("data.holdout", self.data.holdout, 0.01, 0.5),
            ("data.soft_weight", self.data.soft_weight, 0, 1),
            ("fit.epochs", self.fit.epochs, 1, 100_000),
            ("fit.batch", self.fit.batch, 2, 65_536),
            ("fit.lr", self.fit.lr, 1e-9, 100),
            ("fit.ema", self.fit.ema, 0, 0.99999),
            ("fit.patience", self.fit.patience, 1, 100_000),
            ("fit.workers", self.fit.workers, 0, 256),
            ("fit.warmup", self.fit.warmup, 0, 1),
            ("fit.label_smoothing", self.fit.label_smoothing, 0, 1),
            ("fit.weight_decay", self.fit.weight_decay, 0, 100),
            ("model.dropout", self.model.dropout, 0, 0.99),
            ("augment.flip", self.augment.flip, 0, 1),
            ("augment.erase", self.augment.erase, 0, 1),
            ("augment.crop_px", self.augment.crop_px or self.input.size_px, 8, self.input.size_px),
            ("input.size_px", self.input.size_px, 16, 1024),
        ):
            if not low <= value <= high:
                raise RecipeError(f"expected {name} between {low} and {high}, got {value}")

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


def load_recipe(path_or_name: str | Path, overrides: tuple[str, ...] = ()) -> Recipe:
    """Read a recipe from a file, or a shipped one by name (``edge-default``).

    overrides: ``section.key=value`` strings, values read as YAML. Raises RecipeError for a
    missing file, an unknown key or a value of the wrong type, and says which.
    """
    path = Path(path_or_name)
    if not path.is_file() and (RECIPE_DIR / f"{path_or_name}.yaml").exists():
        path = RECIPE_DIR / f"{path_or_name}.yaml"
    try:
        data = yaml.safe_load(path.read_text("utf-8"))
    except OSError as error:
        known = ", ".join(sorted(p.stem for p in RECIPE_DIR.glob("*.yaml")))
        raise RecipeError(
            f"cannot read recipe {path}: {error.strerror}. Shipped recipes: {known}"
        ) from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise RecipeError(f"{path} is not YAML: {error}") from error
    if not isinstance(data, dict):
        raise RecipeError(f"expected a recipe with named sections in {path}")
    for override in overrides:
        _override(data, override)
    recipe = _build(Recipe, data, "recipe")
    assert isinstance(recipe, Recipe)
    return recipe


def _override(data: dict[str, Any], override: str) -> None:
    key, equals, value = override.partition("=")
    *sections, last = key.split(".")
    if not equals or not last:
        raise RecipeError(f"expected section.key=value, got {override!r}")
    for section in sections:
        data = data.setdefault(section, {})
        if not isinstance(data, dict):
            raise RecipeError(f"{section!r} in {override!r} is not a section of the recipe")
    try:
        data[last] = yaml.safe_load(value)
    except yaml.YAMLError as error:
        raise RecipeError(f"the value in {override!r} is not YAML") from error


def _build(cls: type, data: Any, where: str) -> Any:
    """A frozen dataclass from plain YAML, strict about keys and types."""
    if not isinstance(data, dict):
        raise RecipeError(f"expected named values in {where}, got {data!r}")
    known = {f.name for f in fields(cls)}
    if unknown := sorted(set(map(str, data)) - known):
        raise RecipeError(
            f"unknown key {', '.join(unknown)} in {where}. Known: {', '.join(sorted(known))}"
        )
    hints = get_type_hints(cls)
    values = {k: _value(hints[k], v, f"{where}.{k}") for k, v in data.items()}
    try:
        return cls(**values)
    except TypeError as error:
        raise RecipeError(f"{where}: {error}") from error


def _value(hint: Any, value: Any, where: str) -> Any:
    if is_dataclass(hint):
        return _build(hint, value, where)  # type: ignore[arg-type]
    choices: Any = getattr(hint, "__args__", ())
    origin = getattr(hint, "__origin__", None)
    if origin is Literal:
        good = value in choices
    elif origin is tuple:
        good = isinstance(value, list) and len(value) > 0
        if good:
            return tuple(_value(choices[0], v, where) for v in value)
    elif choices and type(None) in choices:
        if value is None:
            return None
        return _value(choices[0], value, where)
    elif origin is dict:
        good = isinstance(value, dict)
    elif hint is float:
        if isinstance(value, str):  # YAML 1.1 reads 1e-3, without a dot, as text
            with contextlib.suppress(ValueError):
                value = float(value)
        good = isinstance(value, int | float) and not isinstance(value, bool)
        value = float(value) if good else value
    else:
        good = type(value) is hint
    if not good:
        names = ", ".join(map(str, choices)) if origin is Literal else getattr(hint, "__name__", "")
        raise RecipeError(f"expected {where} to be {names or hint}, got {value!r}")
    return value
