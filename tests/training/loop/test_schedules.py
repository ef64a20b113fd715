"""Learning rates, step by step, as the recipe's words say."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch

from fer_edge.training.config.schema import Fit, Phase
from fer_edge.training.loop.schedules import optimiser, scheduler

EPOCHS, STEPS = 4, 5


def rates(schedule: str, warmup: float = 0, **options: Any) -> list[float]:
    """Of every step."""
    phase = Phase("full", EPOCHS, 0.1)
    fit = Fit(EPOCHS, 2, 0.1, schedule=schedule, warmup=warmup, **options)
    made = optimiser(fit, phase, torch.nn.Linear(2, 2))
    scheduled = scheduler(fit, phase, made, STEPS)
    seen = []
    for _ in range(EPOCHS * STEPS):
        seen.append(made.param_groups[0]["lr"])
        made.step()
        scheduled.step()
    return seen


def test_steps_are_counted_in_epochs() -> None:
    assert rates("step 2 0.5") == pytest.approx([0.1] * 10 + [0.05] * 10)


def test_cosine_ends_at_nothing() -> None:
    seen = rates("cosine")
    assert seen[0] == pytest.approx(0.1)
    assert seen[10] == pytest.approx(0.05)
    assert seen[-1] == pytest.approx(0.05 * (1 + math.cos(math.pi * 19 / 20)))


@pytest.mark.parametrize("schedule", ["constant", "cosine", "step 9 0.5", "onecycle"])
def test_warm_up_rises(schedule: str) -> None:
    seen = rates(schedule, warmup=0.25)
    assert seen[0] < 0.05
    assert seen[:5] == sorted(seen[:5])
    assert max(seen) <= 0.1 + 1e-9
    assert schedule != "constant" or seen[5:] == [0.1] * 15


def test_a_plateau_waits_and_then_lowers() -> None:
    phase = Phase("full", EPOCHS, 0.1)
    fit = Fit(EPOCHS, 2, 0.1, schedule="plateau 2 0.1", warmup=0)
    made = optimiser(fit, phase, torch.nn.Linear(2, 2))
    scheduled = scheduler(fit, phase, made, STEPS)
    seen = []
    for score in (1.0, 0.5, 0.6, 0.7, 0.8, 0.9):
        scheduled.step(score)
        seen.append(made.param_groups[0]["lr"])
    assert seen == pytest.approx([0.1, 0.1, 0.1, 0.01, 0.01, 0.001])


def test_only_weights_decay_and_only_what_is_trained_is_there() -> None:
    net = torch.nn.Sequential(torch.nn.Linear(2, 3), torch.nn.Linear(3, 2))
    net[0].requires_grad_(False)
    made = optimiser(Fit(1, 2, 0.1, optimizer="adamw"), Phase("full", 1, 0.2), net)
    assert [len(group["params"]) for group in made.param_groups] == [1, 1]
    assert [group["weight_decay"] for group in made.param_groups] == [5e-4, 0]
    assert {group["lr"] for group in made.param_groups} == {0.2}
