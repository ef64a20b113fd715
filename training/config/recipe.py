"""A recipe: everything that decides what a training run produces, in one YAML file."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import yaml

from fer_edge.errors import RecipeError
from fer_edge.labels import EMOTIONS, check_label_list
from fer_edge.training.config import from_yaml as strict
from fer_edge.training.config.checks import check

RECIPE_DIR = Path(__file__).parents[1] / "recipes"


@dataclass(frozen=True)
class Model:
    """weights: a file that the backbone starts from (see models.pretrained). pretrained: it starts
    from timm's published weights, fetched from their hub. With neither, from random numbers."""

    backbone: str
    dropout: float = 0.0
    backbone_args: dict[str, Any] | None = None
    neck: tuple[str, ...] = ()
    weights: str | None = None
    pretrained: bool = False


@dataclass(frozen=True)
class Input:
    """size_px is what the exported network takes; mean and std are in units of 0..1."""

    size_px: int
    colour: Literal["grey", "rgb"]
    mean: tuple[float, ...]
    std: tuple[float, ...]


@dataclass(frozen=True)
class Data:
    """holdout: share of train kept back for choosing the best epoch and for the temperature.

    soft_weight: share of each target that comes from opinions other than the label: the FER+
    ``votes``, where the source has them, and the ``teachers``, checkpoint folders (see
    training.loop.targets).
    """

    holdout: float = 0.05
    soft_weight: float = 0.5
    votes: bool = False
    teachers: tuple[str, ...] = ()


@dataclass(frozen=True)
class InCar:
    """The share of faces that each change befalls; see training.loop.incar."""

    near_infrared: float = 0.0
    night_noise: float = 0.0
    sun_glare: float = 0.0
    half_lit: float = 0.0
    sunglasses: float = 0.0
    mask: float = 0.0
    motion_blur: float = 0.0


@dataclass(frozen=True)
class Augment:
    """crop_px: side of the random crop in training; the whole picture is used afterwards.

    resized_crop: least share of the picture's area that a random crop, resized to size_px again,
    keeps; for networks that take one size alone. flip, perspective, blur, erase: the share of
    faces they befall. randaugment: operations drawn for each face (Cubuk et al., 2020).
    mixup, cutmix: alpha of the Beta distribution that pairs are mixed with; with both, each batch
    gets one of them. Everything is off at 0, and resized_crop at 1.
    """

    incar: InCar = InCar()
    crop_px: int | None = None
    resized_crop: float = 1.0
    flip: float = 0.5
    rotate_deg: float = 0.0
    translate: float = 0.0
    scale: float = 0.0
    perspective: float = 0.0
    brightness: float = 0.0
    contrast: float = 0.0
    saturation: float = 0.0
    blur: float = 0.0
    randaugment: int = 0
    erase: float = 0.0
    mixup: float = 0.0
    cutmix: float = 0.0


@dataclass(frozen=True)
class Phase:
    """What is trained, for how many epochs, with which (largest) learning rate.

    train: ``full``; ``head``, which is all after the backbone; with the head also ``last N``
    blocks of the backbone and what comes after them, ``layers N``, the same with single layers,
    ``stage-ends N``, the last block of each of the last N stages, ``gradual N``, one more block
    every N epochs, or ``lora N``, additions of rank N to the backbone's linear layers.
    """

    train: str
    epochs: int
    lr: float


@dataclass(frozen=True)
class Fit:
    """train, epochs and lr are those of the first phase (see Phase); ``then`` lists the others.

    batch: faces of one step of the optimiser, in all processes together. accumulate: parts that a
    batch goes through the network in, where it does not fit into memory at once.
    schedule, over each phase: ``onecycle``, ``cosine`` (to 0), ``constant``, ``step N G`` (times G
    every N epochs) or ``plateau N G`` (times G after N epochs without a better score); warmup:
    the rising share of a phase.
    loss: ``cross-entropy`` or ``focal G`` (Lin et al., 2017). class_weights: rare classes weigh
    more in it. sampling: ``balanced`` draws all classes equally often, with repetition.
    ema: decay of the weight average that is validated and shipped; 0 turns it off.
    compile: torch.compile the network; faster, and needs a C++ compiler on a CPU.
    patience: epochs without a better score (by more than min_delta) after which a phase stops,
    if ``confirm`` more epochs are no better either.
    """

    epochs: int
    batch: int
    lr: float
    train: str = "full"
    then: tuple[Phase, ...] = ()
    optimizer: Literal["sgd", "adamw"] = "sgd"
    weight_decay: float = 5e-4
    schedule: str = "onecycle"
    warmup: float = 0.15
    loss: str = "cross-entropy"
    class_weights: bool = False
    label_smoothing: float = 0.0
    sampling: Literal["shuffled", "balanced"] = "shuffled"
    accumulate: int = 1
    grad_clip: float | None = None
    ema: float = 0.0
    patience: int = 10
    min_delta: float = 0.0
    confirm: int = 0
    precision: Literal["fp32", "bf16", "fp16"] = "fp32"
    compile: bool = False
    workers: int = 1

    @property
    def phases(self) -> tuple[Phase, ...]:
        return (Phase(self.train, self.epochs, self.lr), *self.then)

    @property
    def by_score(self) -> bool:
        """Whether the learning rate follows the score of each epoch, and not the steps."""
        return self.schedule.startswith("plateau")

    @property
    def part(self) -> int:
        """Faces that go through the network at once."""
        return self.batch // self.accumulate


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
        check(self)

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
        strict.override(data, override)
    recipe = strict.build(Recipe, data, "recipe")
    assert isinstance(recipe, Recipe)
    return recipe
