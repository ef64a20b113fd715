"""Libraries that are missing or cannot be imported, as sentences with the next command."""

from __future__ import annotations

import errno
import importlib
import os
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from fer_edge.errors import InputError, MissingDependencyError, TargetError, next_step
from fer_edge.shown import first_line, shown

_PACKAGES = {
    "cuda": "cuda-python",
    "cv2": "opencv-python-headless",
    "google": "protobuf",
    "mlperf_loadgen": "mlcommons-loadgen",
    "yaml": "pyyaml",
}
"""Name on PyPI of a module with another name."""
_SHORT = {errno.ENOMEM, errno.ENOSPC, errno.EDQUOT, errno.EMFILE, errno.ENFILE}
"""Errors of a machine that is short of something. To install the library again would not help."""
_OWN = sys.stdlib_module_names | {"fer_edge", "__main__"}


def broken(module: str, error: Exception) -> str:
    """Return the sentence about a library that is installed and cannot be imported."""
    if isinstance(error, MemoryError) or getattr(error, "errno", None) in _SHORT:
        advice = next_step(error, "Free memory or disk space, and run the command again")
        return f"{module} cannot be imported ({first_line(error)}). {advice}"
    return (
        f"{module} is installed but cannot be imported ({first_line(error)}). "
        f"Run: pip install --force-reinstall {_PACKAGES.get(module, module)}"
    )


@contextmanager
def needed(library: str, extra: str) -> Iterator[None]:
    """Import a library inside this context.

    Args:
        library: Name of the library on PyPI.
        extra: Extra of fer-edge that installs it.

    Raises:
        MissingDependencyError: The library is not installed.
        TargetError: It is installed and cannot be imported.
    """
    try:
        yield
    except Exception as error:  # of a missing shared library, another ABI, a broken file
        if (problem := broken_library(error)) is not None:
            raise problem from error
        if isinstance(error, ModuleNotFoundError):
            raise MissingDependencyError(library, extra) from error
        raise


def broken_library(error: Exception) -> TargetError | None:
    """Return the error for a library whose import failed; None if something else failed."""
    name = _failed_import(error)
    return None if name is None else TargetError(broken(name, error))


def _failed_import(error: BaseException) -> str | None:
    """Return the top-level module, of another author, whose body raised the error."""
    bodies = [
        str(frame.f_globals.get("__name__", "")).partition(".")[0]
        for frame, _ in traceback.walk_tb(error.__traceback__)
        if frame.f_code.co_name == "<module>"
    ]
    if isinstance(error, ImportError) and not isinstance(error, ModuleNotFoundError):
        bodies.insert(0, (error.name or "fer_edge").partition(".")[0])  # native code has no frame
    others = [name for name in bodies if name not in _OWN]
    return others[-1] if others else None


def failed_start(error: ValueError) -> InputError | None:
    """Return the InputError for a failed import of ``huggingface_hub``, also one by timm.

    It reads numbers and addresses from the environment as it is imported.

    Returns:
        The error with its next step; None if the error came from something else.
    """
    if _failed_import(error) != "huggingface_hub":
        return None
    return InputError(
        f"huggingface_hub does not start: {shown(str(error))}. Correct the environment variable "
        "with this value; its name begins with HF_"
    )


def check_opencv() -> None:
    """Import OpenCV; end a command of fer_edge with a sentence if that fails.

    Each module needs it, so that no command line is there yet to catch the error. In another
    program, the error is left as it is.
    """
    try:
        importlib.import_module("cv2")
    except Exception as error:
        if not _is_command():
            raise
        is_missing = isinstance(error, ModuleNotFoundError) and error.name == "cv2"
        problem = (
            MissingDependencyError("cv2", "", "pip install fer-edge")
            if is_missing
            else broken_library(error) or TargetError(broken("cv2", error))
        )
        print(f"fer-edge: {problem}", file=sys.stderr)
        sys.exit(problem.exit_code)


def draw_into_files() -> None:
    """Let matplotlib draw into files alone, in a command of fer_edge.

    A notebook's MPLBACKEND reaches the commands that it starts, and matplotlib cannot be imported
    if the package that it names is not installed beside it.
    """
    if _is_command():
        os.environ["MPLBACKEND"] = "agg"


def _is_command() -> bool:
    """Return True in ``fer-edge`` and ``python -m fer_edge``."""
    program = sys.argv[0] if sys.argv else ""
    if program == "-m":  # while Python looks for the module that it is to run
        return any(word.partition(".")[0] == "fer_edge" for word in sys.orig_argv)
    return Path(program).stem == "fer-edge"
