"""The page on installation names each extra, with the commands that need it."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

from fer_edge.cli import main
from fer_edge.cli.extras import CPU_TORCH, OF_COMMAND

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/how-to/install.md").read_text("utf-8")
EXTRAS = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"][
    "optional-dependencies"
]
ROWS = {
    name: row
    for row in PAGE.splitlines()
    if row.startswith("| `")
    for name in re.findall(r"`([a-z]+)`", row.split("|")[1])
}


def test_each_extra_has_a_row() -> None:
    assert set(ROWS) == set(EXTRAS) - {"dev", "docs"}


def test_each_command_is_in_the_row_of_its_extra() -> None:
    shipped = {command: extra for command, extra in OF_COMMAND.items() if command in main.commands}
    assert len(shipped) >= 11
    for command, extra in shipped.items():
        if command != "familiarize":
            assert re.search(rf"`{command}[ `]", ROWS[extra]), (command, extra)


def test_data_and_evaluation_need_no_library_of_training_or_conversion() -> None:
    reached = [*EXTRAS["data"], *EXTRAS["evaluate"]]
    assert not [line for line in reached if re.match("accelerate|coremltools|nncf|onnx", line)]


def test_the_line_for_torch_without_cuda_is_the_one_of_the_error() -> None:
    assert CPU_TORCH in PAGE
