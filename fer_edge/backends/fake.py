"""Fake engine, to test an application without model and chip.

``write_fake_bundle`` writes a real bundle, checked and hashed like any other. Its only variant
gives the planned answers, takes the planned time, and fails at the planned call.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from fer_edge.backends.base import Batch, Options, Outputs, TargetFacts
from fer_edge.bundle import Bundle, Variant, listed, write_bundle
from fer_edge.errors import EngineError, InputError
from fer_edge.execution import Execution, Operation
from fer_edge.json_check import read_integer, read_number, read_share
from fer_edge.labels import EMOTIONS
from fer_edge.manifest import today
from fer_edge.one_at_a_time import own_lock
from fer_edge.paths import as_path
from fer_edge.preprocess import CropRule
from fer_edge.shown import shown

FACTS = TargetFacts(
    chips="no chip at all", precisions=("fp32",), survives_fork=True, in_tests_only=True
)

_EMBEDDING_DIM = 4
_ROUNDING = 1e-6
"""Largest difference between 1 and a sum of probabilities."""
_MOST_MS = 1e6
"""Longest time of a call, in milliseconds."""


def write_fake_bundle(
    path: str | Path,
    answers: Mapping[str, float] | None = None,
    *,
    latency_ms: float = 0.0,
    fail_after: int | None = None,
    crash: bool = False,
    abstain_below: float = 0.0,
) -> Path:
    """Write a bundle that gives the same probabilities to every face.

    Args:
        path: Folder of the bundle, ``NAME.fer``.
        answers: Probability (0..1) by canonical name; the other names share the rest. None is 0.9
            for "neutral".
        latency_ms: Milliseconds that each call takes.
        fail_after: Number of calls that succeed; later ones raise EngineError. None never fails.
        crash: The first call kills its process, as a broken engine does.
        abstain_below: Confidence (0..1) below which the Predictor abstains.

    Returns:
        Path of the bundle.

    Raises:
        InputError: The answers are not probabilities by canonical name, ``latency_ms`` or
            ``fail_after`` is below 0, ``abstain_below`` is no share, or ``crash`` is no bool.
    """
    path = as_path(path, "the bundle")
    plan: dict[str, Any] = {"latency_ms": latency_ms, "fail_after": fail_after, "crash": crash}
    try:
        plan["row"] = _row({"neutral": 0.9} if answers is None else answers)
        _check_plan(plan)
        read_share(abstain_below, "abstain_below")
    except ValueError as error:
        raise InputError(f"{error}. Choose another value") from error
    data = json.dumps(plan).encode()
    file = listed("fake-fp32/answers.json", data)
    bundle = Bundle(
        path=path,
        labels=EMOTIONS,
        crop=CropRule(48),
        temperature=1.0,
        abstain_below=abstain_below,
        embedding_dim=_EMBEDDING_DIM,
        provenance={"made_by": "fer_edge.backends.fake"},
        variants=(Variant("fake", "fp32", file.path, (file,)),),
        name=path.stem,
        created=today(),
    )
    write_bundle(bundle, {file.path: data})
    return bundle.path


def _row(answers: object) -> list[float]:
    """Return the probability of each label. Raises ValueError."""
    if not isinstance(answers, Mapping) or set(answers) - set(EMOTIONS):
        raise ValueError(f"expected probabilities by canonical name, got {shown(answers)}")
    shares = {name: read_share(value, f"the answer {name}") for name, value in answers.items()}
    left, missing = 1.0 - sum(shares.values()), len(EMOTIONS) - len(shares)
    if left < -_ROUNDING or (left > _ROUNDING and not missing):
        raise ValueError(
            f"expected probabilities by canonical name that sum to 1, got {shown(answers)}"
        )
    return [shares.get(name, max(left, 0.0) / max(missing, 1)) for name in EMOTIONS]


def preflight(variant: Variant, options: Options) -> str | None:
    return None


def load(variant: Variant, files: Mapping[str, bytes], options: Options) -> FakeSession:
    try:
        plan = json.loads(files[variant.entry])
        _check_plan(plan)
        return FakeSession(plan)
    except (KeyError, TypeError, ValueError) as error:
        raise EngineError(f"the fake engine cannot read its answers: {error!r}") from error


def executed(
    variant: Variant, files: Mapping[str, bytes], options: Options, size_px: int
) -> Execution:
    return Execution.of(
        "the fake engine", "no chip", [Operation("Answer", "no chip", "fp32", True)]
    )


def _check_plan(plan: Mapping[str, Any]) -> None:
    """Raise ValueError for what a session cannot follow."""
    read_number(plan["latency_ms"], "latency_ms", 0, _MOST_MS)
    if plan["fail_after"] is not None:
        read_integer(plan["fail_after"], "fail_after", 0, 2**53)
    if type(plan.get("crash", False)) is not bool:
        raise ValueError(f"expected crash as True or False, got {shown(plan['crash'])}")


class FakeSession:
    """Session that follows the plan of ``write_fake_bundle``."""

    def __init__(self, plan: Mapping[str, Any]) -> None:
        self._row = np.array(plan["row"], np.float32)
        self._latency_s = plan["latency_ms"] / 1e3
        self._left = plan["fail_after"]
        self._crash = plan.get("crash", False)
        self._lock = own_lock(self)

    def run(self, batch: Batch) -> Outputs:
        if self._crash:
            os.abort()
        with self._lock:
            if self._left is not None:
                if self._left == 0:
                    raise EngineError("the fake engine was told to fail by now")
                self._left -= 1
        if self._latency_s:
            time.sleep(self._latency_s)
        count = len(batch)
        return np.tile(self._row, (count, 1)), np.zeros((count, _EMBEDDING_DIM), np.float32)

    def close(self) -> None:
        pass
