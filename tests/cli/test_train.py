"""``fer-edge train``: a run from the command line to a checkpoint."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from fer_edge.shipped import FACES


@pytest.mark.slow
def test_train_prints_where_the_checkpoint_is_and_evaluate_takes_it(
    run: Any, tmp_path: Path
) -> None:
    torch = pytest.importorskip("torch")
    torch.set_num_threads(1)  # of a tiny network, more would only wait for each other
    tiny = ["model.backbone=test_byobnet", "fit.epochs=1", "fit.batch=32", "fit.precision=fp32"]
    settings = [part for override in tiny for part in ("--set", override)]
    settings += ["--licence", "research use"]
    result = run("train", "edge-default", "--data", FACES, "-o", tmp_path / "run", *settings)
    assert result.exit_code == 0
    assert result.stdout.split() == [str(tmp_path / "run" / "best")]
    again = run("train", "edge-default", "--data", FACES, "-o", tmp_path / "run", *settings)
    assert again.exit_code == 6
    assert "--resume" in again.stderr
    card = json.loads((tmp_path / "run" / "best" / "card.json").read_text("utf-8"))
    assert card["licences"] == {"data": "research use"}
    report = json.loads(
        run("evaluate", tmp_path / "run" / "best", "--data", FACES, "--json").stdout
    )
    assert report["inputs"][0]["all"]["faces"] == 336
