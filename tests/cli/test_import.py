"""``fer-edge import``, and ``fer-edge export`` of what it writes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from fer_edge.shipped import FACES

IMPORT = ["--backbone", "test_byobnet", "--size", "48", "--colour", "rgb"]
IMPORT += ["--mean", "0.5,0.5,0.5", "--std", "0.5,0.5,0.5"]
LABELS = ["--labels", "angry,disgust,fear,happy,neutral,sad,surprise"]


@pytest.mark.slow
def test_a_foreign_network_is_imported_evaluated_and_exported(run: Any, tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    from fer_edge.training.models import torchvision_compat  # noqa: F401

    import timm  # isort: skip

    torch.set_num_threads(1)
    torch.save(timm.create_model("test_byobnet", num_classes=7).state_dict(), tmp_path / "t.pth")
    result = run("import", "t.pth", *IMPORT, *LABELS, "-o", "theirs")
    assert result.exit_code == 0
    assert "102 of 102 tensors loaded from t.pth" in result.stderr
    assert "Not calibrated" in result.stdout
    assert run("evaluate", "theirs", "--data", FACES, "--json").exit_code == 0
    result = run("export", "theirs", "--format", "torchscript", "-o", "theirs.pt", "--json")
    assert json.loads(result.stdout)["agreement"] == 1
    assert "deprecated" in result.stderr
    own = "awake, drowsy,c,d,e,happy,g"
    assert run("import", "t.pth", *IMPORT, "--labels", own, "-o", "own").exit_code == 0
    card = json.loads((tmp_path / "own" / "card.json").read_text("utf-8"))
    assert card["model"]["labels"] == ["awake", "drowsy", "c", "d", "e", "happiness", "g"]
    wrong = run("import", "t.pth", *IMPORT, "--labels", "happy,sad", "-o", "other")
    assert (wrong.exit_code, (tmp_path / "other").exists()) == (3, False)
    torch.save(timm.create_model("test_byobnet"), tmp_path / "whole.pth")
    refused = run("import", "whole.pth", *IMPORT, *LABELS, "-o", "other")
    assert refused.exit_code == 4
    assert "pickled module" in refused.stderr
