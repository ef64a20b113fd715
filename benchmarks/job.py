"""What every scenario is given: the predictors that run here, and how long they may."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt

from fer_edge import Predictor
from fer_edge.progress import Step

CROP_PX = 200
"""Side of the BGR crops that are timed: a driver's face from a 720p cabin camera."""

Ready = Callable[[npt.NDArray[np.uint8]], object]
"""A callable that is given a ready batch: uint8 ``[N, S, S, 3]`` BGR."""


@dataclass(frozen=True)
class Job:
    """budget_s: for each batch size, all variants together. references: others to compare with,
    by name. tool: a name in TOOLS, to run beside. deadline_ms: None means one period of ``hz``."""

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

    def crops(self, batch: int) -> list[npt.NDArray[np.uint8]]:
        return list(_noise(batch, CROP_PX))

    def ready(self, batch: int) -> npt.NDArray[np.uint8]:
        return _noise(batch, self.size_px)


def _noise(batch: int, px: int) -> npt.NDArray[np.uint8]:
    return np.random.default_rng(0).integers(0, 256, (batch, px, px, 3), np.uint8)
