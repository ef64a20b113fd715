"""Every ``fer-edge`` line of README and docs is parsed by the command that it names."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator

import click
import pytest
from docs_pages import fences

from fer_edge.benchmarks.reports.budget import parse_budget
from fer_edge.cli import main
from fer_edge.errors import InputError

_SHELL = ("sh", "bash", "console", "shell", "text", "yaml", "")
_AT_LEAST = 60
"""Commands in README and docs; fewer means that they are not found."""


def command_lines() -> Iterator[tuple[str, str]]:
    """Yield place and text of each command line, continuation lines joined."""
    for fence in fences():
        if fence.language not in _SHELL:
            continue
        for line in re.sub(r" *\\\n *", " ", fence.text).splitlines():
            command = re.sub(r"^(\$ |- run: |[A-Z_]+=\S*(\$\([^)]*\))? )+", "", line.strip())
            if re.match(r"fer-edge [a-z-]+( |$)", command):
                yield fence.page, command


LINES = list(command_lines())


def parse(command: str) -> None:
    """Parse a line as the shell and click do, without running the command."""
    words = shlex.split(command, comments=True)[1:]
    context: click.Context | None = None
    node: click.Command = main
    while isinstance(node, click.Group):
        context = node.make_context(node.name, list(words), parent=context)
        name, found, words = node.resolve_command(
            context, [*context._protected_args, *context.args]
        )
        assert found is not None, name
        node = found
    values = node.make_context(node.name, words, parent=context).params
    if values.get("budget"):  # parsed by the command's body
        parse_budget(values["budget"], values["scenario"], with_data=values["data"] is not None)


@pytest.mark.parametrize(("page", "command"), LINES, ids=[f"{p} {c[:40]}" for p, c in LINES])
def test_command_line_is_accepted(page: str, command: str) -> None:
    try:
        parse(command)
    except click.exceptions.Exit:  # --help and --version end here
        pass
    except click.ClickException as error:
        pytest.fail(f"{page}: {command}\n{error.format_message()}")
    except InputError as error:
        pytest.fail(f"{page}: {command}\n{error}")


def test_command_lines_are_found() -> None:
    assert len(LINES) >= _AT_LEAST


@pytest.mark.parametrize(
    "command", ["fer-edge bench run --no-such", "fer-edge convert x", "fer-edge nothing"]
)
def test_a_wrong_line_is_refused(command: str) -> None:
    with pytest.raises(click.ClickException):
        parse(command)
