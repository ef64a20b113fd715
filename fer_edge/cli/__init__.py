"""The ``fer-edge`` command line.

Each command imports the code that it needs when it runs, so that ``--help`` loads no torch.

Exit codes:

- 0: done
- 1: any other error
- 2: wrong usage
- 3: unusable input, data, labels or recipe
- 4: damaged checkpoint or bundle
- 5: missing target, device or library
- 6: training, conversion or engine failed
- 7: a variant failed its parity gate
- 8: a measurement broke its limit (bench --budget, bench compare --fail-if, embed --check), a
  release got worse (matrix --release), or two bundles differ (diff, score)
- 130: interrupted by Ctrl-C
- 143: ended by SIGTERM
"""

from __future__ import annotations

import importlib.util
import warnings
from pathlib import Path
from typing import Any, TextIO

import click

import fer_edge
from fer_edge.backends.base import offered
from fer_edge.cli.adapt import adapt
from fer_edge.cli.bench import bench
from fer_edge.cli.build import build
from fer_edge.cli.convert import convert
from fer_edge.cli.data import data as data_group
from fer_edge.cli.demo import demo
from fer_edge.cli.detector import detector
from fer_edge.cli.diff import diff
from fer_edge.cli.doctor import doctor
from fer_edge.cli.embed import embed
from fer_edge.cli.evaluate import evaluate
from fer_edge.cli.export import export
from fer_edge.cli.extras import for_command
from fer_edge.cli.familiarize import familiarize
from fer_edge.cli.import_ import import_
from fer_edge.cli.inspect import inspect
from fer_edge.cli.keygen import keygen
from fer_edge.cli.live import live
from fer_edge.cli.log import warnings_on_stderr
from fer_edge.cli.matrix import matrix
from fer_edge.cli.new import new
from fer_edge.cli.predict import predict
from fer_edge.cli.pull import pull
from fer_edge.cli.push import push
from fer_edge.cli.quantize import quantize
from fer_edge.cli.score import score
from fer_edge.cli.serve import serve
from fer_edge.cli.setup_converter import setup_converter
from fer_edge.cli.sign import sign
from fer_edge.cli.sigterm import orderly_end
from fer_edge.cli.torch_folder import no_empty_folder
from fer_edge.cli.train import train
from fer_edge.cli.verify import verify
from fer_edge.cli.video import video
from fer_edge.errors import FerEdgeError, MissingDependencyError, TargetError
from fer_edge.kept_memory import keep_memory
from fer_edge.module_command import ModuleCommand
from fer_edge.torch_threads import few_threads, short_waits

_EXTRA_OF = {
    **dict.fromkeys(("torch", "torchvision", "timm", "accelerate", "torchmetrics"), "train"),
    **dict.fromkeys(("pyarrow", "matplotlib", "yaml", "safetensors", "h5py", "datasets"), "train"),
    **dict.fromkeys(("onnx", "onnxscript", "nncf"), "convert"),
    **dict.fromkeys(("psutil", "rich"), "bench"),
    **dict.fromkeys(("fastapi", "python_multipart", "prometheus_client", "uvicorn"), "serve"),
    **dict.fromkeys(("starlette", "websockets"), "serve"),
    "huggingface_hub": "hub",
    **dict.fromkeys(("fsspec", "mcap", "ray", "rosbags"), "fleet"),
}


_SECTIONS: dict[str, tuple[click.Command, ...]] = {
    "Run a model": (predict, live, video, score, serve, embed, demo),
    "Make a model": (
        *(new, data_group, train, import_, quantize, familiarize),
        *(convert, adapt, build, export),
    ),
    "Check and measure": (inspect, evaluate, bench, matrix, doctor),
    "Release": (keygen, sign, verify, diff, push, pull),
    "Set up": (detector, setup_converter),
}
"""Commands by what a user does, in the order of ``fer-edge --help``."""


_TRAINS = ("train", "quantize")
"""Commands that change weights, and fetch and free large blocks of memory for each batch."""
_LOGGED = ("serve", "live", "score")
"""Commands whose log goes to standard error; ``video`` prints the faults of its camera itself."""
_OWN_END = ("serve", "live")
"""Commands that end in their own way at SIGTERM: they finish the requests under way."""
_PACKAGE = Path(fer_edge.__file__).parent


class _Group(ModuleCommand, click.Group):
    """Root group: errors end as one sentence with their exit code; help lists by section."""

    def main(self, *args: Any, **more: Any) -> Any:
        with no_empty_folder():
            return super().main(*args, **more)

    def invoke(self, ctx: click.Context) -> Any:
        warnings.showwarning = _show_warning
        try:
            return super().invoke(ctx)
        finally:
            warnings.showwarning = _PYTHON_SHOWS

    def ending(self, ctx: click.Context, error: Exception) -> FerEdgeError | None:
        if isinstance(error, ModuleNotFoundError):
            name = (error.name or "").split(".")[0]
            extra = _EXTRA_OF.get(name) or _extra_of_engine(name)
            if extra is not None and importlib.util.find_spec(name) is None:
                error = MissingDependencyError(name, extra)
        if isinstance(error, MissingDependencyError):
            return TargetError(for_command(error, ctx.invoked_subcommand))
        return super().ending(ctx, error)

    def interrupted(self, ctx: click.Context) -> str:
        return _interrupted(ctx.invoked_subcommand)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        for heading, commands in _SECTIONS.items():
            width = formatter.width - 6 - max(len(str(one.name)) for one in commands)
            with formatter.section(heading):
                formatter.write_dl(
                    [(str(one.name), one.get_short_help_str(width)) for one in commands]
                )


_MANY_WORKERS = (
    "fit.workers asks for more processes than this machine has cores, which may be slower. Fewer: "
    "--set fit.workers=1"
)
"""Sentence in place of torch's warning, which names no option of a recipe."""
_PYTHON_SHOWS = warnings.showwarning


def _show_warning(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: TextIO | None = None,
    line: str | None = None,
) -> None:
    """Print a warning that concerns the user as a sentence, without file and source line."""
    if str(message).startswith("This DataLoader will create"):
        click.echo(_MANY_WORKERS, err=True)
    elif category is UserWarning and Path(filename).is_relative_to(_PACKAGE):
        click.echo(str(message), err=True)
    else:
        _PYTHON_SHOWS(message, category, filename, lineno, file, line)


def _interrupted(command: str | None) -> str:
    if command == "score":
        return "interrupted. Continue with the same command"
    if command == "train":
        return "interrupted. Continue with the same command and --resume"
    return "interrupted"


def _extra_of_engine(module: str) -> str | None:
    return next((facts.extra for facts in offered().values() if module in facts.modules), None)


@click.group("fer-edge", cls=_Group, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(fer_edge.__version__, prog_name="fer-edge")
@click.pass_context
def main(ctx: click.Context) -> None:
    """Train a facial-expression model once and run it on any edge chip.

    \b
    Exit codes:
      0 done                           5 missing target, device or library
      1 any other error                6 training, conversion or engine failed
      2 wrong usage                    7 parity gate failed
      3 unusable input, data, recipe   8 over a limit, or bundles differ (diff)
      4 damaged checkpoint or bundle   130 interrupted by Ctrl-C, 143 by SIGTERM
    Shell completion: eval "$(_FER_EDGE_COMPLETE=bash_source fer-edge)"
    """
    if ctx.invoked_subcommand != "bench":  # which times torch with the waits that torch has
        short_waits()
    few_threads()
    if ctx.invoked_subcommand in _TRAINS:
        keep_memory()
    if ctx.invoked_subcommand not in _OWN_END:
        ctx.with_resource(orderly_end())
    if ctx.invoked_subcommand in _LOGGED:
        ctx.with_resource(warnings_on_stderr())


for commands in _SECTIONS.values():
    for command in commands:
        main.add_command(command)
