"""Shell completion: targets, precisions, scenarios, recipes and weights."""

from __future__ import annotations

import pytest
from click.shell_completion import BashComplete

from fer_edge.cli import main
from fer_edge.training.config.recipe import RECIPE_DIR


def completed(*words: str) -> list[str]:
    shell = BashComplete(main, {}, "fer-edge", "_FER_EDGE_COMPLETE")
    items = shell.get_completions(list(words[:-1]), words[-1])
    return [item.value for item in items if item.type == "plain"]


@pytest.mark.parametrize(
    "command",
    ["predict", "live", "video", "score", "serve", "embed", "evaluate", "bench", "convert c"],
)
def test_targets_and_precisions_are_completed(command: str) -> None:
    line = command.split()
    assert completed(*line, "--target", "onnx") == ["onnxruntime"]
    assert "fp32" in completed(*line, "--precision", "fp")
    assert "fake" not in completed(*line, "--target", "")


def test_what_only_convert_takes_is_completed_there() -> None:
    assert "all" in completed("convert", "c", "--target", "")
    assert completed("convert", "c", "--precision", "a") == ["all", "auto"]
    assert completed("score", "d", "--against-target", "openv") == ["openvino"]


def test_scenarios_are_completed() -> None:
    assert completed("bench", "run", "--scenario", "mult") == ["multistream"]


def test_recipes_are_completed_by_name() -> None:
    shipped = {path.stem for path in RECIPE_DIR.glob("*.yaml")}
    assert set(completed("train", "")) == shipped
    assert completed("train", "fine") == ["finetune"]
    assert completed("train", "finetune", "--weights", "im") == ["imagenet"]
