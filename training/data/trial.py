"""Trial of an untrusted data file in a child process that may crash or hang.

The library that reads HDF5 is native code. It trusts the file, so a damaged one can crash it. The
child reads the complete file once, in bounded time and memory. Only then does this process open
the file.
"""

from __future__ import annotations

import functools
import importlib
import json
import logging
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

from fer_edge.child import end_with_parent, python_command
from fer_edge.errors import DataError
from fer_edge.training.data.bounds import most_memory
from fer_edge.training.data.dataset_spec import DatasetSpec

ReadAll = Callable[[DatasetSpec, str | None], None]
"""Module-level function that reads a file with all that is used of it. The child imports it."""

BASE_S = 120.0
"""Seconds that a file of any size may take, the start of the child included."""
_BYTES_A_SECOND = 2 << 20
"""Slowest reading in bytes a second: a network drive."""
_BASE_BYTES = 256 << 20
"""Bytes in memory that reading takes beside the file's content, the libraries' code excluded."""
_READY, _ANSWER = "fer_edge: ready", "fer_edge: answer "
_MAIN = "import sys; from fer_edge.training.data.trial import main; main(*sys.argv[1:])"
_log = logging.getLogger("fer_edge")


def try_file(read_all: ReadAll, source: DatasetSpec, split: str | None) -> None:
    """Read a file in a child process first.

    An unchanged file is read once.

    Args:
        read_all: Reads the file. DataError is the answer that it is refused.
        source: The file and its options.
        split: Part that is read, or None for all.

    Raises:
        DataError: The library crashes, hangs or fills the memory on the file, or refuses it.
    """
    path = source.file.resolve()
    state = path.stat()
    name = f"{read_all.__module__}:{read_all.__qualname__}"
    options = json.dumps({**asdict(source), "path": str(path)})
    version = (state.st_dev, state.st_ino, state.st_mtime_ns)
    _tried(name, options, split or "", state.st_size, version, BASE_S)


@functools.lru_cache(maxsize=1024)
def _tried(
    name: str, options: str, split: str, size: int, version: tuple[int, ...], base_s: float
) -> None:
    where = DatasetSpec(**json.loads(options)).path
    timeout_s = base_s + size / _BYTES_A_SECOND
    try:
        done = subprocess.run(
            python_command("-c", _MAIN, name, options, split, str(size)),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            timeout=timeout_s,
            check=False,
            env={**os.environ, "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"},
        )
    except subprocess.TimeoutExpired:
        raise DataError(
            f"cannot read {where}: no answer within {timeout_s:.0f} s. The file is damaged, or its "
            "drive is too slow: write it again, or copy it to a local drive"
        ) from None
    except OSError as error:  # an embedded interpreter: the checks of the reader remain
        _log.warning("%s is read without a trial, no child process starts: %s", where, error)
        return
    lines = done.stdout.decode("utf-8", "replace").splitlines()
    answers = [line.removeprefix(_ANSWER) for line in lines if line.startswith(_ANSWER)]
    if answers:
        if refusal := json.loads(answers[0]):
            raise DataError(str(refusal))
        return
    if _READY not in lines:
        raise DataError(
            f"cannot read {where}: the child process that tries it cannot import fer_edge. "
            "Run: fer-edge doctor"
        )
    end = f"exit code {done.returncode}"
    if done.returncode < 0:
        number = -done.returncode
        known = {each.value: each.name for each in signal.Signals}
        end = known.get(number, f"signal {number}")
    raise DataError(
        f"cannot read {where}: the file is damaged, and brings its library down ({end}). "
        "Write it again with fer-edge data pack"
    )


def main(name: str, options: str, split: str, size: str) -> None:
    """Read a file and print the answer; runs in the child."""
    end_with_parent()
    module, _, function = name.partition(":")
    read_all: ReadAll = getattr(importlib.import_module(module), function)
    values = json.loads(options)
    lists = {key: tuple(value) for key, value in values.items() if isinstance(value, list)}
    source = DatasetSpec(**values | lists)
    print(_READY, flush=True)
    _bound_memory(int(size))
    refusal = None
    try:
        read_all(source, split or None)
    except MemoryError:
        refusal = (
            f"cannot read {source.path}: it takes more than {_most(int(size)) >> 20} MiB of "
            f"memory, and has {int(size):,} bytes. It is damaged: write it again with "
            "fer-edge data pack"
        )
    except DataError as error:
        refusal = str(error) if type(error) is DataError else None  # this process raises the rest
    except Exception:  # this process raises it with its type
        refusal = None
    print(_ANSWER + json.dumps(refusal), flush=True)
    sys.stdout.flush()
    os._exit(0)  # a library that crashes as it closes a damaged file has answered already


def _most(size: int) -> int:
    return _BASE_BYTES + most_memory(size)


def _bound_memory(size: int) -> None:
    """Bound this process's memory, where the system can."""
    try:
        import resource
    except ImportError:  # Windows
        return
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    statistics = Path("/proc/self/statm")
    if not statistics.exists():  # macOS cannot bound the address space
        return
    used = int(statistics.read_text("ascii").split()[0]) * resource.getpagesize()
    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    bound = used + _most(size)
    if hard == resource.RLIM_INFINITY or bound < hard:
        resource.setrlimit(resource.RLIMIT_AS, (bound, hard))
