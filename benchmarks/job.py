"""Job of a scenario: predictors to measure, inputs and time budget."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt

from fer_edge import Predictor
from fer_edge.progress import Step

CROP_PX = 200
"""Side in pixels of the timed BGR crops. A driver's face has it in a 720p cabin camera."""

Ready = Callable[[npt.NDArray[np.uint8]], object]
"""Callable that takes a ready batch: uint8 ``[N, S, S, 3]`` BGR."""


@dataclass(frozen=True)
class Run:
    """One variant at one batch size, with its share of the budget.

    Attributes:
        variant: Name, ``TARGET/PRECISION``.
        batch: Faces per call.
        predictor: Open predictor of the variant.
        crops: uint8 ``[200, 200, 3]`` BGR, one for each face of a call.
        budget_s: Seconds to measure.
        step: Progress callback ``(done, total)``.
    """

    variant: str
    batch: int
    predictor: Predictor
    crops: Sequence[npt.NDArray[np.uint8]]
    budget_s: float
    step: Callable[[int, int], None]

    @property
    def target_and_precision(self) -> tuple[str, str]:
        """Both parts of the variant's name."""
        target, _, precision = self.variant.partition("/")
        return target, precision


@dataclass(frozen=True)
class Job:
    """Work of a scenario.

    Attributes:
        bundle: Folder of the bundle.
        size_px: Side in pixels of the network's input.
        predictors: Open predictors by the name of their variant.
        batch_sizes: Faces per call, or cameras of a stream.
        budget_s: Seconds for each batch size, all variants together.
        step: Progress callback.
        hz: Frames per second of a stream.
        deadline_ms: Deadline of a stream's frame in ms; None means one period of ``hz``.
        references: Other callables to time as well, by name.
        tool: Name in ``vendor_tools.TOOLS`` to run as well.
        samples: Least samples of an offline row, for a percentile that a budget limits.
    """

    bundle: Path
    size_px: int
    predictors: Mapping[str, Predictor]
    batch_sizes: Sequence[int]
    budget_s: float
    step: Step
    hz: float = 30.0
    deadline_ms: float | None = None
    references: Mapping[str, Ready] = field(default_factory=dict)
    tool: str | None = None
    samples: int = 0

    def crops(self, batch: int) -> list[npt.NDArray[np.uint8]]:
        """Return crops of noise, uint8 ``[200, 200, 3]`` BGR."""
        return list(noise(batch, CROP_PX))

    def ready(self, batch: int) -> npt.NDArray[np.uint8]:
        """Return a batch of noise at the network's size.

        The batch is uint8 ``[N, S, S, 3]`` BGR.
        """
        return noise(batch, self.size_px)

    def runs(self, title: str) -> Iterator[Run]:
        """Yield every variant at every batch size.

        ``title`` names the work in the progress.
        """
        share_s = self.budget_s / len(self.predictors)
        for batch in self.batch_sizes:
            crops = self.crops(batch)
            for name, predictor in self.predictors.items():
                step = partial(self.step, f"{title} {name}")
                yield Run(name, batch, predictor, crops, share_s, step)


def noise(batch: int, px: int) -> npt.NDArray[np.uint8]:
    """Return noise, uint8 ``[batch, px, px, 3]``, the same on every call."""
    return np.random.default_rng(0).integers(0, 256, (batch, px, px, 3), np.uint8)
