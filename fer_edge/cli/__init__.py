"""The command line. Each command imports its work inside, so that --help needs no torch.

Exit codes: 0 done; 1 an error of our own making; 2 wrong usage; 3 input, data, labels or recipe
that cannot be used; 4 a damaged checkpoint or bundle; 5 a target, device or library that is not
here; 6 training, conversion or an engine failed; 7 a variant failed its parity gate;
8 a measurement broke a limit that was set for it (bench --budget, bench compare --fail-if).
"""

from __future__ import annotations

from typing import Any

import click

import fer_edge
from fer_edge.cli.bench import bench
from fer_edge.cli.build import build
from fer_edge.cli.convert import convert
from fer_edge.cli.data import data as data_group
from fer_edge.cli.demo import demo
from fer_edge.cli.detector import detector
from fer_edge.cli.doctor import doctor
from fer_edge.cli.embed import embed
from fer_edge.cli.evaluate import evaluate
from fer_edge.cli.export import export
from fer_edge.cli.import_ import import_
from fer_edge.cli.inspect import inspect
from fer_edge.cli.matrix import matrix
from fer_edge.cli.predict import predict
from fer_edge.cli.serve import serve
from fer_edge.cli.train import train
from fer_edge.cli.video import video
from fer_edge.errors import FerEdgeError, MissingDependencyError

_EXTRA_OF = {
    **dict.fromkeys(("torch", "torchvision", "timm", "accelerate", "torchmetrics"), "train"),
    **dict.fromkeys(("pyarrow", "matplotlib", "yaml", "safetensors", "h5py", "datasets"), "train"),
    **dict.fromkeys(("onnx", "onnxscript", "nncf"), "convert"),
    **dict.fromkeys(("psutil", "rich"), "bench"),
    **dict.fromkeys(("fastapi", "python_multipart", "prometheus_client", "uvicorn"), "serve"),
    **dict.fromkeys(("starlette", "websockets"), "serve"),
    "openvino": "openvino",
    "cuda": "tensorrt",
}


class _Group(click.Group):
    """Turns our errors into one sentence and their exit code, and missing libraries into a hint."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except FerEdgeError as error:
            click.echo(f"fer-edge: {error}", err=True)
            ctx.exit(error.exit_code)
        except ModuleNotFoundError as error:
            name = (error.name or "").split(".")[0]
            if name not in _EXTRA_OF:
                raise
            missing = MissingDependencyError(name, _EXTRA_OF[name])
            click.echo(f"fer-edge: {missing}", err=True)
            ctx.exit(missing.exit_code)


@click.group(cls=_Group, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(fer_edge.__version__, prog_name="fer-edge")
def main() -> None:
    """Train a face-expression model once, run it on any edge chip with the same answers.

    \b
    Exit codes: 0 done, 2 usage, 3 unusable input, data or recipe, 4 damaged checkpoint or
    bundle, 5 target or library not here, 6 training, conversion or engine failed,
    7 parity gate failed, 8 a benchmark broke its limit, 1 anything else.
    Shell completion: eval "$(_FER_EDGE_COMPLETE=bash_source fer-edge)"
    """


for command in (
    predict,
    convert,
    inspect,
    bench,
    video,
    serve,
    train,
    evaluate,
    data_group,
    import_,
    export,
    embed,
    matrix,
    build,
    detector,
    doctor,
    demo,
):
    main.add_command(command)
