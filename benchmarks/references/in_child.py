"""Reference in a process of its own, which stands still between its turns.

torch's threads wait actively for a while after a call, and would take the cores from the engine
whose turn comes next. A stopped process takes none, and torch keeps the settings that it is fastest
with. Run as ``python -P -m fer_edge.benchmarks.references.in_child CHECKPOINT [compiled]``, this
module answers one line of JSON for each line that it reads.
"""

from __future__ import annotations

import contextlib
import json
import os
import selectors
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.typing as npt

from fer_edge.benchmarks.job import noise
from fer_edge.benchmarks.measure.timing import settle_and_time
from fer_edge.child import MARK, end_with_parent, python_command
from fer_edge.errors import EngineError
from fer_edge.paths import absolute
from fer_edge.torch_threads import torchs_own

TIMEOUT_S = 600.0
"""Seconds without an answer after which a reference counts as hung; torch.compile takes minutes."""
_CAN_STOP = hasattr(signal, "SIGSTOP")


class ChildReference:
    """torch on a checkpoint, in a child process.

    Args:
        checkpoint: Folder of the checkpoint.
        compiled: Run it through ``torch.compile``.
        env: Environment of the child; None means that of this process, with torch's own waits.

    Raises:
        EngineError: torch cannot run the checkpoint on this machine.
    """

    def __init__(
        self,
        checkpoint: str | Path,
        *,
        compiled: bool = False,
        env: Mapping[str, str] | None = None,
    ) -> None:
        words = [str(absolute(Path(checkpoint))), *(["compiled"] if compiled else [])]
        command = python_command("-m", "fer_edge.benchmarks.references.in_child", *words)
        # In a group of its own: if this process dies, POSIX wakes and ends a stopped orphan.
        self._child = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=torchs_own() if env is None else dict(env),
            process_group=0 if _CAN_STOP else None,
        )
        try:
            self._answer()
        except BaseException:
            self.close()
            raise
        self._stop()

    @property
    def pid(self) -> int:
        """Process id of the child."""
        return self._child.pid

    def __call__(self, batch: npt.NDArray[np.uint8]) -> object:
        """Run once, on noise of the batch's shape."""
        return self.times_ns(batch.shape, 0, 1)

    def at(self, shape: Sequence[int]) -> ChildCall:
        """Return a call on noise of a shape, ``[N, S, S, 3]``."""
        return ChildCall(self, tuple(shape))

    def times_ns(self, shape: Sequence[int], settle: int, calls: int) -> list[int]:
        """Let the child run and time calls, and stop it again. Raises EngineError."""
        request = {"shape": list(shape), "settle": settle, "calls": calls}
        assert self._child.stdin is not None
        try:
            self._signal("SIGCONT")
            self._child.stdin.write(json.dumps(request).encode() + b"\n")
            self._child.stdin.flush()
        except OSError as error:
            raise EngineError(f"the process of the reference ended: {error}") from error
        times: list[int] = self._answer()["ns"]
        self._stop()
        return times

    def close(self) -> None:
        """End the child."""
        self._child.kill()
        self._child.wait()
        for pipe in (self._child.stdin, self._child.stdout):
            if pipe is not None:
                with contextlib.suppress(OSError):
                    pipe.close()

    def _answer(self) -> dict[str, Any]:
        assert self._child.stdout is not None
        line = _line(self._child.stdout, TIMEOUT_S)
        if line is None:
            raise EngineError("the process of the reference ended or hung. Run it again")
        answer: dict[str, Any] = json.loads(line.removeprefix(MARK))
        if "error" in answer:
            raise EngineError(answer["error"])
        return answer

    def _stop(self) -> None:
        self._signal("SIGSTOP")

    def _signal(self, name: str) -> None:
        if _CAN_STOP:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self._child.pid, getattr(signal, name))


class ChildCall:
    """Call of a child reference on one batch; it times itself.

    Args:
        reference: Child that runs it.
        shape: Shape of the batch.
    """

    def __init__(self, reference: ChildReference, shape: tuple[int, ...]) -> None:
        self._reference, self._shape = reference, shape

    def __call__(self) -> object:
        return self._reference.times_ns(self._shape, 0, 1)

    def times_ns(self, settle: int, calls: int) -> list[int]:
        """Return the nanoseconds of each call, after ``settle`` uncounted ones."""
        return self._reference.times_ns(self._shape, settle, calls)


def _line(pipe: IO[bytes], timeout_s: float) -> str | None:
    """Return the next marked line; None if the pipe ends or nothing comes in time."""
    end_s = time.monotonic() + timeout_s
    read = bytearray()
    with selectors.DefaultSelector() as selector:
        selector.register(pipe, selectors.EVENT_READ)
        while selector.select(max(end_s - time.monotonic(), 0)):
            part = os.read(pipe.fileno(), 1 << 16)
            if not part:
                return None
            read += part
            while b"\n" in read:
                line, _, rest = read.partition(b"\n")
                read = bytearray(rest)
                text = line.decode("utf-8", "replace")
                if text.startswith(MARK):
                    return text
    return None


def _serve(checkpoint: str, compiled: bool) -> None:
    """Answer each request with the times of its calls."""
    from fer_edge.benchmarks.references.in_torch import in_torch

    end_with_parent()
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what torch and its compiler print is not an answer

    def answer(content: dict[str, Any]) -> None:
        answers.write(f"{MARK}{json.dumps(content)}\n")
        answers.flush()

    try:
        run = in_torch(checkpoint, compiled=compiled)
    except Exception as error:
        answer({"error": str(error)})
        return
    answer({"ready": True})
    batches: dict[tuple[int, ...], Any] = {}
    for line in sys.stdin:
        request = json.loads(line)
        shape = tuple(request["shape"])
        if shape not in batches:
            batches[shape] = noise(shape[0], shape[1])
        try:
            call = partial(run, batches[shape])
            times = settle_and_time(call, request["settle"], request["calls"])
        except Exception as error:
            answer({"error": f"torch failed on a batch {shape}: {error}"})
            return
        answer({"ns": times})


if __name__ == "__main__":
    _serve(sys.argv[1], sys.argv[2:] == ["compiled"])
