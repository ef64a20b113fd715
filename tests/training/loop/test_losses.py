"""Losses by their formulas."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional as F

from fer_edge.training.config.schema import Fit
from fer_edge.training.data.faces import LabelledFace
from fer_edge.training.loop.losses import class_weights, loss_function

LABELS = ("anger", "fear", "neutral")
FACES = [LabelledFace(b"", name, "") for name in ("anger", "anger", "anger", "fear")]


def batch(seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    torch.manual_seed(seed)
    return torch.randn(5, 3), torch.rand(5, 3).softmax(1)


@given(st.integers(0, 10_000), st.floats(0, 0.5), st.booleans())
def test_focal_loss_without_focus_is_cross_entropy(seed: int, smooth: float, weigh: bool) -> None:
    logits, targets = batch(seed)
    focal, plain = (
        loss_function(
            Fit(1, 2, 0.1, loss=name, label_smoothing=smooth, class_weights=weigh), FACES, LABELS
        )
        for name in ("focal 0", "cross-entropy")
    )
    torch.testing.assert_close(focal(logits, targets), plain(logits, targets))


def test_focal_loss_is_that_of_its_paper() -> None:
    """For one class: -(1 - p)^gamma log p."""
    logits = torch.tensor([[2.0, 0.5, -1.0]])
    p = logits.softmax(1)[0, 1]
    loss = loss_function(Fit(1, 2, 0.1, loss="focal 2.5"), FACES, LABELS)
    expected = -((1 - p) ** 2.5) * p.log()
    torch.testing.assert_close(loss(logits, torch.tensor([[0.0, 1.0, 0.0]])), expected)


@pytest.mark.parametrize("gamma", ["0", "0.3", "1", "2.5"])
@pytest.mark.parametrize("sure", [12.0, 17.0, 40.0, 1000.0])
def test_the_gradient_of_a_certain_answer_is_finite(gamma: str, sure: float) -> None:
    """Rounded to float32, the probability is 1."""
    logits = torch.tensor([[sure, 0.0, 0.0], [1.0, 0.0, 0.0]], requires_grad=True)
    loss = loss_function(Fit(1, 2, 0.1, loss=f"focal {gamma}"), FACES, LABELS)
    value = loss(logits, F.one_hot(torch.tensor([0, 1]), 3).float())
    value.backward()
    assert value.isfinite()
    assert logits.grad is not None
    assert logits.grad.isfinite().all()
    assert logits.grad[0].abs().max() < 1e-3
    assert logits.grad[1].abs().max() > 0.1


def test_a_rare_class_weighs_more_and_one_without_faces_nothing() -> None:
    weights = class_weights(FACES, LABELS)
    assert weights.tolist() == pytest.approx([4 / 6, 4 / 2, 0])
    assert sum(weights[LABELS.index(face.label)] for face in FACES) == pytest.approx(len(FACES))
    logits, _ = batch(0)
    targets = F.one_hot(torch.tensor([0, 0, 1, 1, 1]), 3).float()
    loss = loss_function(Fit(1, 2, 0.1, class_weights=True), FACES, LABELS)
    each = F.cross_entropy(logits, targets, reduction="none")
    expected = (each * torch.tensor([4 / 6, 4 / 6, 2, 2, 2])).mean()
    torch.testing.assert_close(loss(logits, targets), expected)
