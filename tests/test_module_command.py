"""Command lines of modules: input that cannot be used is answered with a sentence."""

from __future__ import annotations

import importlib
import re
import shutil
import subprocess
import sys
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

import fer_edge
from fer_edge import reseal
from fer_edge.benchmarks.studies import backbones, predictor_overhead, training_step
from fer_edge.module_command import ModuleCommand
from fer_edge.training import (
    average,
    blendshapes,
    compare_recipes,
    corruptions,
    make_composites,
)
from fer_edge.training.loop import write_opinions
from fer_edge.training.reports import group_card, model_card


@pytest.mark.parametrize(
    ("command", "words"),
    [
        (predictor_overhead.main, ["missing.fer"]),
        (training_step.main, ["no-such-recipe"]),
        (backbones.main, ["damaged"]),
        (average.main, ["missing", "default", "--data", "damaged", "-o", "out"]),
        (blendshapes.main, ["missing.task", "--data", "damaged", "-o", "out"]),
        (corruptions.main, ["default", "--data", "damaged"]),
        (corruptions.main, ["default", "--data", "damaged", "-o", "damaged"]),
        (write_opinions.main, ["missing", "--data", "damaged", "-o", "out"]),
        (model_card.main, ["missing", "missing.fer", "damaged", "out"]),
        (group_card.main, ["missing", "missing.fer", "damaged", "damaged", "out"]),
        (make_composites.main, ["missing", "missing", "out"]),
        (compare_recipes.main, ["missing", "--data", "damaged", "-o", "table.md"]),
        (reseal.main, ["missing.fer"]),
    ],
)
def test_what_cannot_be_used_is_answered_with_a_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: click.Command, words: list[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "damaged" / "a.fer").mkdir(parents=True)
    result = CliRunner().invoke(command, words)
    assert isinstance(result.exception, SystemExit), result.exception
    assert result.exit_code > 1  # 1 is click's, for anything
    assert result.stderr.startswith(f"{command.name}: ")
    assert not (tmp_path / "out").exists()


DOORS = [
    ".".join(("fer_edge", *path.relative_to(ROOT).with_suffix("").parts))
    for ROOT in [Path(fer_edge.__file__).parent]
    for folder in (ROOT, *(ROOT / name for name in ("benchmarks", "converters", "training")))
    for path in sorted(folder.rglob("*.py"))
    if re.search(r"^@click.command", path.read_text("utf-8"), re.MULTILINE)
    and '__name__ == "__main__"' in path.read_text("utf-8")
]


@pytest.mark.parametrize("name", sorted(set(DOORS)))
def test_a_command_has_the_name_of_its_module_and_the_exit_codes_of_fer_edge(name: str) -> None:
    command = importlib.import_module(name).main
    assert isinstance(command, ModuleCommand)
    assert command.name == name.rpartition(".")[2]


def test_the_commands_are_found() -> None:
    assert {"fer_edge.reseal", "fer_edge.benchmarks.studies.precisions"} < set(DOORS)


def test_ctrl_c_ends_a_command_as_it_ends_fer_edge() -> None:
    @click.command("study", cls=ModuleCommand)
    def study() -> None:
        raise KeyboardInterrupt

    result = CliRunner().invoke(study)
    assert (result.exit_code, result.stderr) == (130, "study: interrupted\n")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full")
@pytest.mark.parametrize("words", [["new.fer", "--name", "x"], ["--help"]])
def test_a_full_disk_behind_the_output_is_a_sentence(
    fake_bundle: Path, tmp_path: Path, words: list[str]
) -> None:
    shutil.copytree(fake_bundle, tmp_path / "new.fer")
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "fer_edge.reseal", *words],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
            cwd=tmp_path,
        )
    assert done.returncode == 3
    assert done.stderr == "reseal: cannot write the output: the disk is full. Free some\n"
