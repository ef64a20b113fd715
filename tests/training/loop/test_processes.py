"""Several processes learn what one does."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import psutil
import pytest
import torch
import yaml

from fer_edge.training.config.recipe import load_recipe
from fer_edge.training.loop.train import train

pytestmark = pytest.mark.usefixtures("undrawn")

LOSS, WEIGHT = 1e-4, 1e-3
"""Largest differences to one process: sums in another order, which AdamW enlarges."""


@pytest.mark.slow
def test_two_processes_killed_and_resumed_learn_what_one_does(
    few_faces: Path, tmp_path: Path
) -> None:
    """The same batches, each shared by two processes over gloo, also in parts.

    More and more of the network is trained. The network has no batch norm, dropout or augmentation:
    each process has its own of those.
    """
    content = {
        "name": "pair",
        "seed": 1,
        "model": {"backbone": "test_vit", "backbone_args": {"img_size": 48}},
        "input": {"size_px": 48, "colour": "grey", "mean": [0.508], "std": [0.255]},
        "data": {"holdout": 0.1},
        "augment": {"flip": 0.0},
        "fit": {
            "train": "gradual 1",
            "epochs": 2,
            "batch": 16,
            "lr": 3e-3,
            "optimizer": "adamw",
            "accumulate": 2,
            "grad_clip": 1.0,
            "ema": 0.9,
            "workers": 0,
            "then": [{"train": "full", "epochs": 2, "lr": 3e-3}],
        },
    }
    recipe = tmp_path / "pair.yaml"
    recipe.write_text(yaml.safe_dump(content), "utf-8")
    train(load_recipe(recipe), few_faces, tmp_path / "one", say=lambda _: None)

    two = tmp_path / "two"
    killed = start(recipe, few_faces, two)
    while killed.poll() is None and not (two / "state.pt").exists():
        time.sleep(0.01)
    family = [*psutil.Process(killed.pid).children(recursive=True), psutil.Process(killed.pid)]
    for process in reversed(family):  # the launcher first: it would end the others more kindly
        process.kill()
    psutil.wait_procs(family)
    killed.communicate()
    assert (two / "metrics.jsonl").read_text("utf-8")

    resumed = start(recipe, few_faces, two, "--resume")
    out, said = resumed.communicate(timeout=600)
    assert resumed.returncode == 0, said
    assert "Going on after epoch" in said
    assert out.splitlines() == [str(two / "best")]  # the first process alone speaks
    facts = json.loads((two / "run.json").read_text("utf-8"))
    assert facts["environment"]["processes"] == 2
    expected, found = rows(tmp_path / "one"), rows(two)
    assert len(found) == len(expected) == 4
    for alone, shared in zip(expected, found, strict=True):
        for key in ("train_loss", "held_nll", "lr"):
            assert shared[key] == pytest.approx(alone[key], abs=LOSS), key
    one_net, two_net = (
        torch.load(run / "state.pt", weights_only=True)["net"] for run in (tmp_path / "one", two)
    )
    for name, weight in one_net.items():
        torch.testing.assert_close(two_net[name], weight, rtol=0, atol=WEIGHT)


def start(recipe: Path, data: Path, run: Path, *more: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [
            sys.executable,
            "-m",
            "torch.distributed.run",
            "--standalone",
            "--nproc-per-node",
            "2",
            "-m",
            "fer_edge.cli",
            "train",
            str(recipe),
            "--data",
            str(data),
            "-o",
            str(run),
            *more,
        ],
        env={**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def rows(run: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text("utf-8").splitlines()]
