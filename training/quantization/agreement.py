"""Decisions that an int8 network shares with its float network."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor, nn

from fer_edge.training.checkpoint import Checkpoint
from fer_edge.training.deploy import check_answers
from fer_edge.training.evaluation.intervals import paired_change_interval, share_interval
from fer_edge.training.loop.dataset import FaceDataset, predict_logits


@dataclass(frozen=True)
class Agreement:
    """Counts of faces, float network against int8 network.

    Attributes:
        faces: Number of faces.
        same: Faces with the same decision.
        answered: Faces that the float network answers, above its threshold.
        same_answered: Of those, faces with the same decision.
        gained: Faces that only the int8 network has right.
        lost: Faces that only the float network has right.
    """

    faces: int
    same: int
    answered: int
    same_answered: int
    gained: int
    lost: int

    @property
    def all(self) -> float:
        """Share (0..1) of the decisions that are kept."""
        return self.same / self.faces

    def record(self) -> dict[str, Any]:
        """Return the figures with 95 % intervals as plain values."""
        return {
            **asdict(self),
            "agreement": self.all,
            "agreement_95": list(share_interval(self.same, self.faces)),
            "answered_agreement": self.same_answered / max(self.answered, 1),
            "accuracy_change": (self.gained - self.lost) / self.faces,
            "accuracy_change_95": list(paired_change_interval(self.gained, self.lost, self.faces)),
        }

    def __str__(self) -> str:
        answered = self.same_answered / max(self.answered, 1)
        change = 100 * (self.gained - self.lost) / self.faces
        return (
            f"decisions kept {self.all:.2%}, of the answered {answered:.2%}, accuracy "
            f"{change:+.2f} points"
        )


def float_answers(checkpoint: Checkpoint, faces: FaceDataset) -> Tensor:
    """Return the float network's probabilities, float32 ``[N, C]``.

    Raises:
        CheckpointError: Some are not numbers.
    """
    answers = _answers(checkpoint.model, checkpoint, faces, torch.device("cpu"))
    check_answers(answers.numpy())
    return answers


def agreement(
    net: nn.Module,
    checkpoint: Checkpoint,
    faces: FaceDataset,
    expected: Tensor,
    device: torch.device,
) -> Agreement:
    """Count the decisions of an int8 network that are those of the float network.

    Args:
        net: int8 network.
        checkpoint: Float checkpoint, for its labels, temperature and threshold.
        faces: Faces to decide.
        expected: Result of ``float_answers`` for them.
        device: Device of ``net``.
    """
    in_int8 = _answers(net, checkpoint, faces, device).argmax(1)
    confidence, in_float = expected.max(1)
    names = checkpoint.spec.labels
    truth = torch.tensor([names.index(face.label) for face in faces.faces])
    same, answered = in_int8 == in_float, confidence >= checkpoint.abstain_below
    return Agreement(
        faces=len(in_int8),
        same=int(same.sum()),
        answered=int(answered.sum()),
        same_answered=int((same & answered).sum()),
        gained=int(((in_int8 == truth) & (in_float != truth)).sum()),
        lost=int(((in_int8 != truth) & (in_float == truth)).sum()),
    )


def _answers(
    net: nn.Module, checkpoint: Checkpoint, faces: FaceDataset, device: torch.device
) -> Tensor:
    logits = predict_logits(net, faces, device)
    return (logits / checkpoint.temperature).softmax(1)
