"""Several processes learn what one does."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from fer_edge.training.recipe import load_recipe
from fer_edge.training.train import train

LOSS, WEIGHT = 1e-4, 1e-3
"""Largest differences to one process: sums in another order, which AdamW enlarges."""


@pytest.mark.slow
def test_two_processes_learn_what_one_does(few_faces: Path, tmp_path: Path) -> None:
    """The same batches, each shared by two processes over gloo, also in parts and in a second
    phase. A network without batch norm, dropout or augmentation: each process has its own of
    those."""
    content = {
        "name": "pair",
        "seed": 1,
        "model": {"backbone": "test_vit", "backbone_args": {"img_size": 48}},
        "input": {"size_px": 48, "colour": "grey", "mean": [0.508], "std": [0.255]},
        "data": {"holdout": 0.1},
        "augment": {"flip": 0.0},
        "fit": {
            "epochs": 2, "batch": 16, "lr": 3e-3, "optimizer": "adamw", "accumulate": 2,
            "grad_clip": 1.0, "ema": 0.9, "workers": 0,
            "then": [{"train": "head", "epochs": 1, "lr": 1e-3}],
        },
    }  # fmt: skip
    recipe = tmp_path / "pair.yaml"
    recipe.write_text(yaml.safe_dump(content), "utf-8")
    train(load_recipe(recipe), few_faces, tmp_path / "one", say=lambda _: None)
    done = subprocess.run(
        [
            sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2",
            "-m", "fer_edge.cli", "train", str(recipe), "--data", str(few_faces),
            "-o", str(tmp_path / "two"),
        ],
        env={**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""},
        capture_output=True,
        text=True,
        timeout=600,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [str(tmp_path / "two" / "best")]  # the first alone speaks
    facts = json.loads((tmp_path / "two" / "run.json").read_text("utf-8"))
    assert facts["environment"]["processes"] == 2
    assert len(list((tmp_path / "two" / "tensorboard").iterdir())) == 1
    one, two = rows(tmp_path / "one"), rows(tmp_path / "two")
    assert len(one) == len(two) == 3
    for alone, shared in zip(one, two, strict=True):
        for key in ("train_loss", "held_nll", "lr"):
            assert shared[key] == pytest.approx(alone[key], abs=LOSS), key
    weights = [
        torch.load(tmp_path / n / "state.pt", weights_only=True)["net"] for n in ("one", "two")
    ]
    for name, alone in weights[0].items():
        torch.testing.assert_close(weights[1][name], alone, rtol=0, atol=WEIGHT)


def rows(run: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text("utf-8").splitlines()]
