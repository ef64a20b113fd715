"""Training under torchrun whose processes are killed: restarted, it ends with the same weights.

PYTHONPATH=tests/campaign python tests/campaign/restarts.py --count 5
"""

from __future__ import annotations

import itertools
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import torch
import yaml
from common import CHANGED, Case, main

from fer_edge.shipped import FACES

RECIPE = {
    "name": "restarted",
    "seed": 1,
    "model": {"backbone": "test_vit", "dropout": 0.1, "backbone_args": {"img_size": 48}},
    "input": {"size_px": 48, "colour": "grey", "mean": [0.508], "std": [0.255]},
    "data": {"holdout": 0.1},
    "augment": {"flip": 0.5, "rotate_deg": 10},
    "fit": {
        "train": "full",
        "epochs": 5,
        "batch": 16,
        "lr": 3e-3,
        "optimizer": "adamw",
        "accumulate": 2,
        "ema": 0.9,
        "workers": 0,
    },
}
TIMEOUT_S = 600


def cases(rng: np.random.Generator, folder: Path) -> Iterator[Case]:
    recipe, whole = folder / "r.yaml", folder / "whole"
    recipe.write_text(yaml.safe_dump(RECIPE), "utf-8")
    if said := ended(start(recipe, whole)):
        raise SystemExit(said)
    for number in itertools.count():
        run = folder / f"run-{number}"
        kills = [(str(rng.integers(2)), int(rng.integers(1, 3))), (str(rng.integers(2)), 3)]

        def case(run: Path = run, kills: list[tuple[str, int]] = kills) -> str | None:
            launcher = start(recipe, run, restarts=len(kills))
            for rank, epochs in kills:
                wait_for_epochs(run, epochs, launcher)
                worker(launcher, rank).kill()
            if said := ended(launcher):
                return f"{CHANGED}: {said}"
            if metrics(run) != metrics(whole):
                return f"{CHANGED}: other metrics"
            one, other = (torch.load(each / "state.pt", weights_only=True) for each in (run, whole))
            for part in ("net", "average"):
                if any(not torch.equal(one[part][name], other[part][name]) for name in one[part]):
                    return f"{CHANGED}: other weights"
            return None

        yield case


def start(recipe: Path, run: Path, restarts: int = 0) -> subprocess.Popen[str]:
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    launcher += ["--nproc-per-node", "2", f"--max-restarts={restarts}", "-m", "fer_edge.cli"]
    return subprocess.Popen(
        [*launcher, "train", str(recipe), "--data", str(FACES), "-o", str(run)],
        env={**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )


def ended(launcher: subprocess.Popen[str]) -> str:
    """Wait for a launcher; return what it said if it failed."""
    try:
        _, said = launcher.communicate(timeout=TIMEOUT_S)
    finally:
        launcher.terminate()  # it ends its workers
    return f"exit code {launcher.returncode}: {said[-500:]}" if launcher.returncode else ""


def wait_for_epochs(run: Path, epochs: int, launcher: subprocess.Popen[str]) -> None:
    deadline_s = time.monotonic() + TIMEOUT_S
    while not (run / "state.pt").exists() or len(metrics(run)) < epochs:
        if launcher.poll() is not None or time.monotonic() > deadline_s:
            raise SystemExit(ended(launcher))
        time.sleep(0.01)


def worker(launcher: subprocess.Popen[str], rank: str) -> psutil.Process:
    """Return the running process of a rank."""
    (found,) = (
        child
        for child in psutil.Process(launcher.pid).children()
        if child.status() != psutil.STATUS_ZOMBIE and child.environ().get("RANK") == rank
    )
    return found


def metrics(run: Path) -> list[dict[str, Any]]:
    """Return the figures of each epoch, without its time."""
    lines = (run / "metrics.jsonl").read_text("utf-8").splitlines()
    return [{k: v for k, v in json.loads(line).items() if k != "seconds"} for line in lines]


if __name__ == "__main__":
    main(cases, 5)
