"""Pictures of a run."""

from __future__ import annotations

import json
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
from matplotlib import pyplot as plt


def draw_curves(metrics: Path, out: Path) -> None:
    """Loss, held-out accuracy and learning rate by epoch, as PNG."""
    rows = [json.loads(line) for line in metrics.read_text("utf-8").splitlines()]
    epochs = [row["epoch"] for row in rows]
    figure, (left, right) = plt.subplots(1, 2, figsize=(10, 4), layout="constrained")
    left.plot(epochs, [row["train_loss"] for row in rows], label="training loss (augmented)")
    left.plot(epochs, [row["held_nll"] for row in rows], label="held-out NLL")
    left.set_ylabel("nats")
    right.plot(epochs, [row["held_accuracy"] for row in rows], label="held-out accuracy")
    right.plot(epochs, [row["held_balanced_accuracy"] for row in rows], label="balanced accuracy")
    right.set_ylabel("share of faces")
    for axes in (left, right):
        axes.set_xlabel("epoch")
        axes.grid(alpha=0.3)
        axes.legend()
    figure.savefig(out, dpi=120)
    plt.close(figure)
