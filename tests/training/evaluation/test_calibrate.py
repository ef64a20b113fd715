"""Fitted temperature and threshold against planted ones."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from fer_edge.training.evaluation.calibrate import (
    ABSTAIN_TARGET_ACCURACY,
    BAR,
    FEW,
    abstention_threshold,
    fit_temperature,
    threshold_under_effects,
)


def sampled_logits(seed: int, faces: int = 20_000) -> tuple[torch.Tensor, torch.Tensor]:
    """Logits whose softmax is the very distribution that the truth is drawn from: T is 1."""
    generator = torch.Generator().manual_seed(seed)
    logits = 2 * torch.randn(faces, 7, generator=generator)
    return logits, torch.multinomial(logits.softmax(1), 1, generator=generator)[:, 0]


@pytest.mark.parametrize("planted", [0.3, 1.0, 3.0])
def test_a_planted_temperature_is_found(planted: float) -> None:
    logits, truth = sampled_logits(1)
    assert fit_temperature(planted * logits, truth) == pytest.approx(planted, rel=0.05)


@pytest.mark.parametrize("right", [True, False])
def test_the_temperature_stays_in_bounds_where_the_best_one_is_extreme(right: bool) -> None:
    logits = 5 * torch.eye(3).repeat(10, 1)
    truth = torch.arange(3).repeat(10)
    assert 0.05 <= fit_temperature(logits, truth if right else (truth + 1) % 3) <= 20


def test_few_faces_that_are_all_right_do_not_make_every_answer_certain() -> None:
    logits = 5 * torch.eye(3).repeat(10, 1)
    temperature = fit_temperature(logits, torch.arange(3).repeat(10))
    assert 0.9 < float((logits / temperature).softmax(1).max()) < 0.99


def answers(confidences: Any, right: Any) -> tuple[torch.Tensor, torch.Tensor]:
    confidence = torch.tensor(confidences, dtype=torch.float64)
    p = torch.stack([confidence, *[(1 - confidence) / 6] * 6], dim=1)
    return p, 1 - torch.tensor(right, dtype=torch.int64)


def withheld(p: torch.Tensor, threshold: float) -> torch.Tensor:
    """Return True for each row that the Predictor calls uncertain."""
    return p.max(1).values < threshold


def test_the_threshold_is_the_lowest_that_reaches_the_accuracy() -> None:
    """Twelve right ones, then twelve that are wrong: 15 of 24 answered, 12 of 15 right."""
    p, truth = answers(np.linspace(0.99, 0.4, 24), [1] * 12 + [0] * 12)
    answered = ~withheld(p, abstention_threshold(p, truth))
    assert int(answered.sum()) == 15
    assert float((truth == 0)[answered].double().mean()) >= ABSTAIN_TARGET_ACCURACY


@given(
    st.lists(st.tuples(st.floats(0.2, 0.999), st.booleans()), min_size=2, max_size=80),
)
def test_the_threshold_withholds_at_most_half(faces: list[tuple[float, bool]]) -> None:
    p, truth = answers([c for c, _ in faces], [r for _, r in faces])
    assert withheld(p, abstention_threshold(p, truth)).double().mean() <= 0.5


@pytest.mark.parametrize("confidence", [1 / 7, 1 / 3, 0.99996])
def test_equally_confident_answers_are_not_all_withheld(confidence: float) -> None:
    p, truth = answers([confidence] * 10, [0] * 10)
    assert not withheld(p, abstention_threshold(p, truth)).any()


def test_nothing_is_withheld_where_all_answers_are_right() -> None:
    p, truth = answers(np.linspace(0.3, 0.9, 50), [1] * 50)
    assert not withheld(p, abstention_threshold(p, truth)).any()


def test_effects_that_hold_leave_the_threshold() -> None:
    p, truth = answers(np.linspace(0.99, 0.4, 100), [1] * 100)
    assert threshold_under_effects(0.5432, [p, p], truth) == 0.5432
    assert threshold_under_effects(0.5432, [], truth) == 0.5432


def test_an_effect_that_makes_a_network_wrong_and_sure_raises_the_threshold() -> None:
    """The surest 24 are right, and of the others none.

    24 of 28 are 85.7 %, and 75 % with its standard error are 83.2; of 29, 82.8 and 83.0 %.
    """
    good, truth = answers(np.linspace(0.99, 0.4, 100), [1] * 100)
    bad = torch.cat([good[:24], good[24:].roll(1, 1)])
    threshold = threshold_under_effects(0.45, [good, bad], truth)
    assert int((~withheld(bad, threshold)).sum()) == 28
    assert int((~withheld(bad, threshold - 0.005)).sum()) > 28


def test_an_effect_that_blinds_a_network_leaves_few_answers() -> None:
    blind, truth = answers(np.linspace(0.99, 0.4, 100), [0] * 100)
    threshold = threshold_under_effects(0.45, [blind], truth)
    assert 19 <= int((~withheld(blind, threshold)).sum()) <= FEW * 100
    certain, truth = answers([1.0] * 100, [0] * 100)
    assert threshold_under_effects(0.45, [certain], truth) == 1.0


@given(st.lists(st.tuples(st.floats(0.2, 1), st.booleans()), min_size=1, max_size=60))
def test_no_effect_breaks_the_bar_at_the_threshold(faces: list[tuple[float, bool]]) -> None:
    p, truth = answers([c for c, _ in faces], [r for _, r in faces])
    threshold = threshold_under_effects(0.3, [p], truth)
    answered = ~withheld(p, threshold)
    right = int((answered & (p.argmax(1) == truth)).sum())
    count = int(answered.sum())
    error = (BAR * (1 - BAR) * count) ** 0.5
    assert threshold == 1 or count <= FEW * len(p) or right >= BAR * count + error
