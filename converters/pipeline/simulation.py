"""Session of a simulator in several processes.

A simulator of a chip runs one face at a time in a process, whatever the number of threads. Run as
``python -P -m fer_edge.converters.pipeline.simulation BUNDLE``, this module answers each batch that
it reads with the outputs of the bundle's first variant.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import IO, Any

import numpy as np

from fer_edge.backends.base import Batch, Options, Outputs, backend
from fer_edge.bundle import Bundle, open_bundle, write_bundle
from fer_edge.child import MARK, end_with_parent, python_command
from fer_edge.cores import usable_cores
from fer_edge.errors import EngineError

_MOST = 8
"""Largest number of processes: the HTP's simulator takes 240 MB in each."""


def simulation(bundle: Bundle, contents: Mapping[str, bytes]) -> Simulation:
    """Return a session of a bundle's first variant, with a process for each usable core.

    Args:
        bundle: Bundle with one variant; its path is not used.
        contents: Files of the variant, by ``folder/name``.

    Raises:
        EngineError: The simulator refuses the files.
    """
    with tempfile.TemporaryDirectory(prefix="fer_edge_") as folder:
        path = Path(folder, "simulated.fer")
        write_bundle(replace(bundle, path=path), contents)
        return Simulation(path, min(usable_cores(), _MOST))


class Simulation:
    """Session of a simulator in several processes, which share the faces of each batch.

    Args:
        bundle: Folder of a bundle; its first variant runs. It is read before this returns.
        processes: Number of processes.

    Attributes:
        at_once: Number of faces that run at the same time.
    """

    def __init__(self, bundle: Path, processes: int) -> None:
        self.at_once = processes
        self._children: list[_Child] = []
        try:
            for _ in range(processes):
                self._children.append(_Child(bundle))
            for child in self._children:
                child.answer()
        except BaseException:
            self.close()
            raise

    def run(self, batch: Batch) -> Outputs:
        parts = np.array_split(batch, min(len(batch), len(self._children)))
        busy = list(zip(self._children, parts, strict=False))
        for child, part in busy:
            child.send(part)
        answers = [child.outputs(len(part)) for child, part in busy]
        probabilities, embeddings = zip(*answers, strict=True)
        return np.concatenate(probabilities), np.concatenate(embeddings)

    def close(self) -> None:
        """End the processes; harmless if they have ended."""
        for child in self._children:
            child.close()


class _Child:
    """Process with one session; it reads and answers a line of JSON, and arrays as bytes."""

    def __init__(self, bundle: Path) -> None:
        command = python_command("-m", "fer_edge.converters.pipeline.simulation", str(bundle))
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,  # Ctrl-C is for the command, which ends its children
        )

    def send(self, faces: Batch) -> None:
        assert self._process.stdin
        head = json.dumps({"shape": faces.shape}).encode()
        try:
            self._process.stdin.write(head + b"\n" + faces.tobytes())
            self._process.stdin.flush()
        except OSError as error:
            raise self._ended() from error

    def outputs(self, faces: int) -> Outputs:
        """Return the outputs for the faces that were sent. Raises EngineError."""
        widths = self.answer()["widths"]
        probabilities, embeddings = (self._array(faces, width) for width in widths)
        return probabilities, embeddings

    def answer(self) -> dict[str, Any]:
        """Return the next answer. Raises EngineError."""
        assert self._process.stdout
        mark = MARK.encode()
        for line in self._process.stdout:
            if line.startswith(mark):
                content: dict[str, Any] = json.loads(line.removeprefix(mark))
                if "error" in content:
                    raise EngineError(content["error"])
                return content
        raise self._ended()

    def _array(self, faces: int, width: int) -> Any:
        assert self._process.stdout
        data = self._process.stdout.read(4 * faces * width)
        if len(data) != 4 * faces * width:
            raise self._ended()
        return np.frombuffer(data, np.float32).reshape(faces, width)

    def _ended(self) -> EngineError:
        code = self._process.wait()
        return EngineError(
            f"a process of the simulator ended with exit code {code}. Convert again, with "
            "another --precision or without this target"
        )

    def close(self) -> None:
        self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                with contextlib.suppress(OSError):  # what was not sent
                    pipe.close()


def _serve(folder: Path, requests: IO[bytes], answers: IO[bytes]) -> None:
    """Answer each batch of ``requests`` with the outputs of a bundle's first variant."""

    def answer(content: dict[str, Any], *arrays: Any) -> None:
        answers.write(f"{MARK}{json.dumps(content)}\n".encode())
        answers.writelines(array.astype(np.float32).tobytes() for array in arrays)
        answers.flush()

    try:
        bundle = open_bundle(folder)
        variant = bundle.variants[0]
        session = backend(variant.target).load(variant, bundle.read(variant), Options())
        answer({"ready": True})
        for line in requests:
            shape = json.loads(line)["shape"]
            faces = np.frombuffer(requests.read(int(np.prod(shape))), np.uint8).reshape(shape)
            outputs = session.run(faces)
            answer({"widths": [output.shape[1] for output in outputs]}, *outputs)
    except Exception as error:  # native engines raise many types
        answer({"error": str(error)})


if __name__ == "__main__":
    end_with_parent()
    own = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what a simulator prints is no answer
    _serve(Path(sys.argv[1]), sys.stdin.buffer, own)
