"""Help of every command: complete, alike, light, and wrong usage."""

from __future__ import annotations

import inspect
import os
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterator
from typing import Any

import click
import pytest

import fer_edge
from fer_edge.cli import main

HEAVY = {
    *("torch", "timm", "onnx", "onnxruntime", "openvino", "coremltools", "nncf", "tensorrt"),
    *("rich", "fastapi", "uvicorn", "matplotlib", "pyarrow", "datasets", "huggingface_hub"),
}


def every_command(group: click.Group = main, path: str = "") -> Iterator[tuple[str, click.Command]]:
    for name, command in group.commands.items():
        yield (line := f"{path} {name}".strip()), command
        if isinstance(command, click.Group):
            yield from every_command(command, line)


COMMANDS = dict(every_command())


@pytest.mark.parametrize("command", sorted(main.commands))
def test_every_command_has_help_with_an_example(run: Any, command: str) -> None:
    result = run(command, "--help")
    assert result.exit_code == 0
    assert f"Example: fer-edge {command}" in " ".join(result.output.split())


@pytest.mark.parametrize("command", COMMANDS)
def test_every_option_has_a_full_sentence_of_help(command: str) -> None:
    for option in COMMANDS[command].params:
        if isinstance(option, click.Option):
            assert option.help, option.name
            assert option.help[0].isupper(), option.help
            assert option.help.endswith("."), option.help
            assert "[" not in option.help or "[N," in option.help, option.help


@pytest.mark.parametrize("command", COMMANDS)
def test_help_fits_a_terminal_of_80_columns(
    run: Any, command: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    page = run(*command.split(), "--help").output
    assert not [line for line in page.splitlines() if len(line) > 80]
    assert "None]" not in page


def test_the_list_of_commands_is_complete_and_unabridged(run: Any, monkeypatch: Any) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    page = run("--help").output
    listed = [
        line.split()[0] for line in page.split("Run a model:")[1].splitlines() if line[:2] == "  "
    ]
    assert sorted(listed) == sorted(main.commands)
    assert "..." not in page.split("Run a model:")[1]


@pytest.mark.parametrize(
    "name", ["--json", "--bundle", "--target", "--precision", "--data", "--split", "--broken"]
)
def test_an_option_reads_the_same_in_every_command(name: str) -> None:
    """--target and --precision that select what to convert, and may be repeated, are others."""
    helps: dict[object, list[str]] = defaultdict(list)
    for line, command in COMMANDS.items():
        for option in command.params:
            if name in option.opts and isinstance(option, click.Option):
                if name == "--data":  # each purpose is its own, the form of DATA is not
                    helps[option.metavar].append(line)
                elif not option.multiple and (line, name) != ("train", "--bundle"):  # it writes one
                    helps[option.help, option.metavar].append(line)
    assert len(helps) == 1, dict(helps)


def test_every_command_takes_quiet() -> None:
    """A script may pass it to any, with progress or without."""
    loud = [
        line
        for line, command in COMMANDS.items()
        if not isinstance(command, click.Group) or command.invoke_without_command
        if not {"-q", "--quiet"} <= {name for option in command.params for name in option.opts}
    ]
    assert not loud


def test_every_command_with_progress_can_be_quiet() -> None:
    """Help says so alike; that nothing is printed is tested beside each command."""
    loud = {
        line: {name for option in command.params for name in option.opts}
        for line, command in COMMANDS.items()
        if "progress(" in inspect.getsource(inspect.unwrap(command.callback or main.invoke))
    }
    assert len(loud) >= 15, sorted(loud)
    assert not [line for line, names in loud.items() if not {"-q", "--quiet"} <= names]


def test_help_and_version_load_no_heavy_library() -> None:
    lines = [["--help"], ["--version"], *([*line.split(), "--help"] for line in COMMANDS)]
    code = (
        "import sys\nfrom fer_edge.cli import main\n"
        f"for line in {lines}:\n"
        "    try: main(line)\n"
        "    except SystemExit: pass\n"
        f"loaded = {HEAVY} & sys.modules.keys()\n"
        "sys.exit(f'loaded {loaded}' if loaded else 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("module", ["fer_edge", "fer_edge.cli"])
def test_the_package_runs_as_a_module(module: str) -> None:
    command = [sys.executable, "-m", module, "predict", "--help"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=os.environ)
    assert (done.returncode, done.stdout[:23]) == (0, "Usage: fer-edge predict")


def test_version(run: Any) -> None:
    assert fer_edge.__version__ in run("--version").output


@pytest.mark.parametrize(
    "arguments",
    [
        ["no-such-command"],
        ["predict"],
        ["predict", "a.png", "--no-such-option"],
        ["predict", "a.png", "--box", "1", "2", "3"],
        ["train", "edge-default"],
        ["evaluate", "best"],
        ["convert", "best", "-o", "x.fer"],
        ["convert", "best", "--target", "openvino"],
        ["convert", "best", "--target", "openvino", "-o", "x.fer", "--allow-drop", "101"],
        ["bench", "--batch-sizes", "1,many"],
        ["export", "best", "-o", "x.pt"],
        ["export", "best", "-o", "x.pt", "--format", "caffe"],
        ["import", "x.pth", "--backbone", "resnet18", "--labels", "fear", "-o", "best"],
        ["embed", "a.png"],
        ["embed", "--check"],
        ["embed", "--check", "--data", "x", "-o", "x.npz"],
        ["bench", "--budget-s", "soon"],
        ["serve", "--port", "70000"],
        ["serve", "--rate", "0"],
        ["serve", "--rate", "inf"],
        ["serve", "--rate", "nan"],
        ["video", "a.mp4", "--seconds", "nan"],
        ["adapt", "a.fer", "--data", "x", "-o", "b.fer", "--answer", "nan"],
        ["convert", "best", "--target", "all", "-o", "x.fer", "--judge-seconds", "nan"],
        ["bench", "a.fer", "--hz", "nan"],
        ["bench", "a.fer", "--budget-s", "nan"],
        ["bench", "a.fer", "--budget-s", "-5"],
    ],
    ids=" ".join,
)
def test_wrong_usage_ends_with_2_and_points_to_help(run: Any, arguments: list[str]) -> None:
    result = run(*arguments)
    assert result.exit_code == 2
    assert result.stdout == ""
    assert "Error" in result.stderr
