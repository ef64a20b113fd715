"""YAML that costs more than it says, or that PyYAML stumbles over, is one sentence."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from fer_edge.bounded_yaml import MAX_BYTES
from fer_edge.errors import RecipeError
from fer_edge.training.config.read_yaml import read_yaml
from fer_edge.training.config.recipe import load_recipe


def bomb(levels: int) -> str:
    """Lists of ten aliases of the list before: 10^levels values in 30 bytes a level."""
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    for i in range(1, levels):
        lines.append(f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]")
    return "\n".join(lines)


def message(work: Callable[[], object]) -> str:
    """The sentence that work ends with; empty where the value is accepted."""
    try:
        work()
    except RecipeError as error:
        return str(error)
    return ""


@pytest.mark.parametrize("text", [bomb(9), "a: &a [*a]", "a: &a 1\nb: *a", "<<: &m {a: 1}\nb: *m"])
def test_aliases_are_refused(text: str) -> None:
    with pytest.raises(RecipeError, match="aliases"):
        read_yaml(text, "the recipe")


@pytest.mark.parametrize(
    "text",
    [
        "seed: 1\nseed: 2",
        "fit:\n  lr: 1\n  epochs: 2\n  lr: 3",
        "labels: [{a: 1, a: 2}]",
        "{1: a, 0x1: b}",
        "yes: 1\ntrue: 2",
        "!!set {a, a}",
    ],
)
def test_a_repeated_key_is_refused(text: str) -> None:
    with pytest.raises(RecipeError, match=r"line \d: a key appears twice"):
        read_yaml(text, "the recipe")


@pytest.mark.parametrize("text", ["<<: {a: 1}\na: 2", "<<: [{a: 2}, {a: 3}]", "a: 2\n<<: {a: 1}"])
def test_a_merged_key_may_be_overridden(text: str) -> None:
    assert read_yaml(text, "the recipe") == {"a": 2}


@pytest.mark.parametrize(
    "value",
    [
        "0b_",
        "2001-99-99",
        "!!int x",
        "!!float x",
        "!!timestamp x",
        "!!binary x",
        "9" * 5000,
        "0x" + "f" * 5000,
        "[" * 3000,
        "{a: " * 300,
        "!!python/object/apply:os.system [x]",
        "!!bool maybe",
        "!!set [1]",
        "? [1, 2]",
        "\x07",
        "%YAML 9.9",
        "!!omap [1]",
        "!<x> 1",
    ],
)
def test_what_cannot_be_read_is_one_short_sentence(value: str) -> None:
    assert len(message(lambda: read_yaml(f"seed: {value}", "the recipe"))) < 300


def test_a_recipe_that_is_too_large_is_refused(tmp_path: Path) -> None:
    (tmp_path / "r.yaml").write_text("a: 1\n" * (MAX_BYTES // 5 + 1))
    with pytest.raises(RecipeError, match="64 KiB"):
        load_recipe(tmp_path / "r.yaml")


@pytest.mark.parametrize(
    "value", ["1" + "0" * 400, "[" + "1, " * 10_000 + "1]", '"' + "x" * 9999 + '"']
)
@pytest.mark.parametrize(
    "key", ["seed", "fit.lr", "model.backbone", "model.neck", "labels", "fit.train"]
)
def test_a_message_never_holds_a_large_value(key: str, value: str) -> None:
    assert len(message(lambda: load_recipe("edge-default", (f"{key}={value}",)))) < 600
