"""User's own inference function (``--against module:function``)."""

from __future__ import annotations

import contextlib
import ctypes
import importlib
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

import numpy as np
import numpy.typing as npt

from fer_edge import EngineError, InputError
from fer_edge.benchmarks.job import Ready, noise
from fer_edge.paths import absolute


@contextmanager
def prints_on_stderr() -> Iterator[None]:
    """Send what this process prints on standard output to standard error.

    Also what C libraries print: standard output may be the report's JSON.
    """
    if sys.stdout is None or sys.stderr is None:  # closed before the start
        yield
        return
    out, kept = sys.stdout, os.dup(1)
    _flush(out)
    os.dup2(2, 1)
    try:
        with contextlib.redirect_stdout(sys.stderr):
            yield
    finally:
        _flush(out)
        os.dup2(kept, 1)
        os.close(kept)


def _flush(out: TextIO) -> None:
    out.flush()
    if sys.platform != "win32":
        ctypes.CDLL(None).fflush(None)


def load_against(text: str, size_px: int) -> Ready:
    """Import a function, and try it on one face.

    Args:
        text: ``module:function``. The module may be in the current folder.
        size_px: Side in pixels of the network's input.

    Returns:
        The function. It takes a ready batch, uint8 ``[N, S, S, 3]`` BGR; its result is ignored. It
        raises EngineError if it fails on a later batch.

    Raises:
        InputError: There is no such module or function.
        EngineError: The function failed on the trial.
    """
    module_name, colon, name = text.partition(":")
    if not (module_name and colon and name):
        raise InputError(f"expected module:function, for example mine:infer, got {text!r}")
    here = str(absolute(Path()))
    if here not in sys.path:
        sys.path.insert(0, here)
    try:
        module = importlib.import_module(module_name)
    except (Exception, SystemExit) as error:  # a module can raise anything when it is imported
        raise InputError(f"cannot import {module_name} of {text!r}: {error!r}") from error
    function = getattr(module, name, None)
    if not callable(function):
        raise InputError(
            f"expected a function {name} in the module {module_name}, got {function!r}"
        )

    def call(batch: npt.NDArray[np.uint8]) -> object:
        try:
            return function(batch)
        except (Exception, SystemExit) as error:
            raise EngineError(
                f"{text} failed on uint8 {list(batch.shape)}: {error!r}. Correct the function, or "
                "measure batch sizes that it takes, such as: --batch-sizes 1"
            ) from error

    call(noise(1, size_px))
    return call
