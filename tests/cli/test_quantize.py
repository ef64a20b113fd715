"""``fer-edge quantize``: from a checkpoint to one with int8 weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from fer_edge.labels import EMOTIONS
from fer_edge.shipped import FACES
from fer_edge.training.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from fer_edge.training.models.network import ExpressionNet, InputSpec, ModelSpec


@pytest.fixture(scope="module")
def float_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    spec = ModelSpec("test_resnet", EMOTIONS, InputSpec(48, "grey", (0.5,), (0.25,)))
    folder = tmp_path_factory.mktemp("float") / "checkpoint"
    save_checkpoint(Checkpoint(ExpressionNet(spec).eval(), 1.0, 0.2), folder)
    return folder


def test_the_command_writes_a_checkpoint(run: Any, float_folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "new" / "c8"
    result = run("quantize", float_folder, "--data", FACES, "--fast", "-o", out)
    assert result.exit_code == 0, result.output
    assert result.stdout.strip() == str(out)
    assert load_checkpoint(out).int8 is not None


def test_a_wrong_argument_is_a_sentence(run: Any, float_folder: Path, tmp_path: Path) -> None:
    result = run("quantize", tmp_path / "none", "--data", FACES, "-o", tmp_path / "c8")
    assert result.exit_code == 4
    assert run("quantize", float_folder, "-o", tmp_path / "c8").exit_code == 2
    (tmp_path / "file").write_text("")
    blocked = run("quantize", float_folder, "--data", FACES, "-o", tmp_path / "file" / "c8")
    assert blocked.exit_code == 3
    assert "Choose another path with -o" in blocked.stderr
    missing = run("quantize", float_folder, "--data", tmp_path / "no", "-o", tmp_path / "c8")
    assert missing.exit_code == 3


@pytest.mark.parametrize("option", ["--epochs 5", "--batch 8", "--lr 1e-4", "--resume"])
def test_options_of_training_do_not_go_with_fast(
    run: Any, float_folder: Path, tmp_path: Path, option: str
) -> None:
    more = ["--data", FACES, "--fast", *option.split(), "-o", tmp_path / "c8"]
    result = run("quantize", float_folder, *more)
    assert result.exit_code == 2
    assert f"{option.split()[0]} does not go with --fast" in result.stderr
