"""Dataclasses of a recipe: sections, defaults and accepted values.

Each section checks its own values when it is constructed; Recipe checks what spans sections.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal

from fer_edge.labels import EMOTIONS, check_label_list, composed
from fer_edge.training.config.checks import (
    COUNT,
    NUMBER,
    check_name,
    check_pattern,
    check_range,
    require,
)


@dataclass(frozen=True)
class Model:
    """Network and the weights it starts from.

    Without ``weights`` and ``pretrained``, the backbone starts from random numbers.

    Attributes:
        backbone: timm name of the backbone, or a network of this package.
        dropout: Dropout rate (0..0.99) before the classifier.
        backbone_args: Extra arguments for the backbone's constructor.
        neck: Layers between pooled features and classifier: linear N, batchnorm, relu, dropout P.
        weights: File or checkpoint to start from, or ``default`` (shipped) or ``imagenet``.
        pretrained: Start from timm's published weights, downloaded from the Hugging Face Hub.
    """

    backbone: str
    dropout: float = 0.0
    backbone_args: dict[str, Any] | None = None
    neck: tuple[str, ...] = ()
    weights: str | None = None
    pretrained: bool = False

    def __post_init__(self) -> None:
        check_range("model.dropout", self.dropout, 0, 0.99)
        require(
            not self.pretrained or self.weights is None,
            "expected model.pretrained or model.weights, got both: a network starts from one of "
            "them",
        )


@dataclass(frozen=True)
class Input:
    """Input of the network.

    Attributes:
        size_px: Side in pixels of the square input of the exported network.
        colour: Channels of the input: one grey channel or RGB.
        mean: Mean of each channel, in units of 0..1.
        std: Standard deviation of each channel, in units of 0..1.
    """

    size_px: int
    colour: Literal["grey", "rgb"]
    mean: tuple[float, ...]
    std: tuple[float, ...]

    def __post_init__(self) -> None:
        check_range("input.size_px", self.size_px, 16, 1024)
        require(bool(self.mean), "expected at least one value in input.mean")
        require(bool(self.std), "expected at least one value in input.std")


@dataclass(frozen=True)
class Data:
    """Use of the data set's training part.

    Attributes:
        holdout: Share (0.01..0.5) held out to select the best epoch and fit the temperature.
        holdout_by: Hold out pictures, or photographs with all of their near duplicates.
        soft_weight: Share (0..1) of each target that comes from votes and teachers.
        votes: Use the data set's FER+ votes in the targets.
        teachers: Checkpoint folders or shipped names whose predictions are used in the targets.
        opinions: Parquet files with predictions of further teachers, used in the targets.
        unlabelled: Data sets to train on without their labels; teachers alone make the targets.
        sources: Data sets to use without ``--data``: hf:NAME, or paths from the recipe's folder.
    """

    holdout: float = 0.05
    holdout_by: Literal["picture", "photograph"] = "picture"
    soft_weight: float = 0.5
    votes: bool = False
    teachers: tuple[str, ...] = ()
    opinions: tuple[str, ...] = ()
    unlabelled: tuple[str, ...] = ()
    sources: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        check_range("data.holdout", self.holdout, 0.01, 0.5)
        check_range("data.soft_weight", self.soft_weight, 0, 1)
        require(
            not self.unlabelled or bool(self.teachers or self.opinions),
            "expected data.teachers beside data.unlabelled: teachers alone make the targets of "
            "faces without labels. Add one, such as --set data.teachers=[default]",
        )


@dataclass(frozen=True)
class InCar:
    """Shares (0..1) of faces that each simulated in-car effect changes.

    Attributes:
        near_infrared: Share seen under a near-infrared lamp, without colour.
        night_noise: Share with the noise of a camera at night.
        sun_glare: Share with a low sun at the edge of the picture.
        half_lit: Share lit through one window only.
        sunglasses: Share with sunglasses.
        mask: Share with a face mask.
        turned_head: Share turned to the left or right.
        motion_blur: Share with motion blur.
        low_light: Share that is underexposed, without noise.
        low_resolution: Share seen from far away, with few pixels across the face.
        defocus: Share out of focus.
    """

    near_infrared: float = 0.0
    night_noise: float = 0.0
    sun_glare: float = 0.0
    half_lit: float = 0.0
    sunglasses: float = 0.0
    mask: float = 0.0
    turned_head: float = 0.0
    motion_blur: float = 0.0
    low_light: float = 0.0
    low_resolution: float = 0.0
    defocus: float = 0.0

    def __post_init__(self) -> None:
        for name, share in asdict(self).items():
            check_range(f"augment.incar.{name}", share, 0, 1)


@dataclass(frozen=True)
class Augment:
    """Random changes to training faces.

    0 turns a change off, and 1 turns ``resized_crop`` off.

    Attributes:
        incar: Simulated in-car effects.
        crop_px: Side in pixels of the random training crop; validation uses the complete picture.
        resized_crop: Least share of the area that a random crop, resized to size_px, keeps.
        flip: Share (0..1) of faces mirrored left to right.
        rotate_deg: Largest rotation in degrees, either way.
        translate: Largest shift as a share (0..1) of the side.
        scale: Largest relative change (0..0.95) of size.
        perspective: Share (0..1) of faces with a perspective change.
        brightness: Largest relative change (0..0.95) of brightness.
        contrast: Largest relative change (0..0.95) of contrast.
        saturation: Largest relative change (0..0.95) of saturation.
        blur: Share (0..1) of faces blurred.
        randaugment: RandAugment operations for each face (Cubuk et al., 2020).
        erase: Share (0..1) of faces with a random rectangle erased.
        mixup: Alpha of mixup's Beta distribution; with cutmix too, each batch gets one of them.
        cutmix: Alpha of CutMix's Beta distribution; with mixup too, each batch gets one of them.
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

    def __post_init__(self) -> None:
        check_range("augment.resized_crop", self.resized_crop, 0.05, 1)
        for name in ("flip", "translate", "perspective", "blur", "erase"):
            check_range(f"augment.{name}", getattr(self, name), 0, 1)
        for name in ("scale", "brightness", "contrast", "saturation"):
            check_range(f"augment.{name}", getattr(self, name), 0, 0.95)
        check_range("augment.rotate_deg", self.rotate_deg, 0, 180)
        check_range("augment.randaugment", self.randaugment, 0, 14)
        for name in ("mixup", "cutmix"):
            check_range(f"augment.{name}", getattr(self, name), 0, 100)


@dataclass(frozen=True)
class Phase:
    """One phase of training.

    Attributes:
        train: Trained part of the network, see below.
        epochs: Largest number of epochs of the phase.
        lr: Largest learning rate of the phase.

    Values of ``train``:

    - ``full``: the complete network.
    - ``head``: everything after the backbone. All values below train it too.
    - ``last N``: the last N blocks of the backbone and everything after them.
    - ``layers N``: the last N layers of the backbone and everything after them.
    - ``stage-ends N``: the last block of each of the last N stages, and what follows the last one.
    - ``gradual N``: one more block from the end every N epochs.
    - ``lora N``: additions of rank N to the backbone's linear layers (LoRA, Hu et al., 2021).
    """

    train: str
    epochs: int
    lr: float


@dataclass(frozen=True)
class Fit:
    """Optimisation; ``train``, ``epochs`` and ``lr`` are those of the first phase.

    The score of an epoch is the calibrated negative log-likelihood, in nats, of the held-out part.
    Lower is better.

    Attributes:
        epochs: Largest number of epochs of the first phase.
        batch: Faces in one step of the optimiser, over all processes together.
        lr: Largest learning rate of the first phase.
        train: Part of the network that the first phase trains, see Phase.
        then: Later phases, each with train, epochs and lr.
        optimizer: Optimiser: SGD with Nesterov momentum 0.9, or AdamW.
        weight_decay: Weight decay of the optimiser.
        schedule: Learning rate over each phase, see below.
        warmup: Share (0..1) of a phase in which the learning rate rises.
        loss: Loss: cross-entropy, or focal G with gamma G (Lin et al., 2017).
        class_weights: Weigh rare classes more in the loss.
        label_smoothing: Share (0..1) of each target spread evenly over the classes.
        sampling: Order of faces; balanced draws all classes equally often, with repetition.
        accumulate: Parts of a batch that go through the network one by one, to save memory.
        grad_clip: Largest norm of the gradient.
        ema: Decay of the weight average that is validated and shipped; 0 turns it off.
        patience: Epochs without a better score after which a phase stops.
        min_delta: Smallest drop of the score that counts as better.
        confirm: Further epochs without a better score before a phase stops.
        precision: Arithmetic of the forward pass.
        compile: Compile the network with torch.compile; needs a C++ compiler on a CPU.
        workers: Processes that load faces.

    Values of ``schedule``:

    - ``onecycle``: the 1cycle policy (torch's OneCycleLR): up during ``warmup``, then down.
    - ``cosine``: a cosine that falls to 0.
    - ``constant``: no change.
    - ``step N G``: times G every N epochs.
    - ``plateau N G``: times G after N epochs without a better score.
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

    def __post_init__(self) -> None:
        _check_phases(self)
        _check_fit_ranges(self)
        _check_schedule_and_loss(self)

    @property
    def phases(self) -> tuple[Phase, ...]:
        """All phases, the first one included."""
        return (Phase(self.train, self.epochs, self.lr), *self.then)

    @property
    def by_score(self) -> bool:
        """True if the learning rate follows epoch scores, not steps."""
        return self.schedule.startswith("plateau")

    @property
    def part(self) -> int:
        """Faces that go through the network at once."""
        return self.batch // self.accumulate


def _check_phases(fit: Fit) -> None:
    for i, phase in enumerate(fit.phases):
        key = f"fit.then.{i - 1}" if i else "fit"
        check_range(f"{key}.epochs", phase.epochs, 1, 100_000)
        check_range(f"{key}.lr", phase.lr, 1e-9, 100)
        check_pattern(
            f"{key}.train",
            phase.train,
            rf"full|head|(last|layers|stage-ends|gradual|lora) {COUNT}",
            "full, head, last N, layers N, stage-ends N, gradual N or lora N",
        )


def _check_fit_ranges(fit: Fit) -> None:
    check_range("fit.batch", fit.batch, 2, 65_536)
    check_range("fit.accumulate", fit.accumulate, 1, fit.batch // 2)
    check_range("fit.ema", fit.ema, 0, 0.99999)
    check_range("fit.patience", fit.patience, 1, 100_000)
    check_range("fit.min_delta", fit.min_delta, 0, 100)
    check_range("fit.confirm", fit.confirm, 0, 100_000)
    check_range("fit.workers", fit.workers, 0, 256)
    check_range("fit.warmup", fit.warmup, 0, 1)
    check_range("fit.label_smoothing", fit.label_smoothing, 0, 1)
    check_range("fit.weight_decay", fit.weight_decay, 0, 100)
    if fit.grad_clip is not None:
        check_range("fit.grad_clip", fit.grad_clip, 1e-6, 1e6)
    require(
        fit.batch % fit.accumulate == 0,
        f"expected fit.accumulate to divide fit.batch, got {fit.accumulate} and {fit.batch}",
    )


def _check_schedule_and_loss(fit: Fit) -> None:
    check_pattern(
        "fit.schedule",
        fit.schedule,
        rf"onecycle|cosine|constant|(step|plateau) {COUNT} {NUMBER}",
        "onecycle, cosine, constant, step EPOCHS FACTOR or plateau EPOCHS FACTOR",
    )
    check_pattern(
        "fit.loss", fit.loss, rf"cross-entropy|focal {NUMBER}", "cross-entropy or focal GAMMA"
    )
    require(
        not fit.by_score or fit.warmup == 0,
        f"fit.schedule {fit.schedule!r} has no warm-up: set fit.warmup to 0 (--set fit.warmup=0)",
    )
    kind, *numbers = fit.schedule.split()
    require(
        kind not in ("step", "plateau") or 0 < float(numbers[1]) < 1,
        f"expected a factor between 0 and 1 in fit.schedule, got {fit.schedule!r}",
    )


@dataclass(frozen=True)
class Recipe:
    """Complete recipe of a training run.

    Attributes:
        name: Name of the recipe, and of its run's folder under ``runs/``.
        seed: Seed of every random number in the run.
        model: Network and the weights it starts from.
        input: Input of the network.
        data: Use of the data set's training part.
        augment: Random changes to training faces.
        fit: Optimisation.
        labels: Classes in the order of the network's outputs; canonical or user-defined names.
    """

    name: str
    seed: int
    model: Model
    input: Input
    data: Data
    augment: Augment
    fit: Fit
    labels: tuple[str, ...] = EMOTIONS

    def __post_init__(self) -> None:
        check_name(self.name)
        object.__setattr__(self, "labels", tuple(map(composed, self.labels)))
        check_label_list(self.labels)
        check_range("seed", self.seed, 0, 2**63)
        size_px = self.input.size_px
        check_range("augment.crop_px", self.augment.crop_px or size_px, 8, size_px)
        require(
            len(self.labels) >= 2,
            f"expected at least two labels to tell apart, got {', '.join(self.labels) or 'none'}. "
            "Add faces of another class; if the recipe lists its labels, name the class there",
        )

    def as_dict(self) -> dict[str, Any]:
        """Return the recipe as plain dictionaries and tuples."""
        return asdict(self)
