"""Trial of a bundle's variants in a child process that may crash or hang.

Engines are native code, and an untrusted model may crash one. Run as
``python -P -m fer_edge.engine_trial FOLDER``, this module prints the decision about each variant.
"""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path

from fer_edge.bundle import Variant, open_bundle
from fer_edge.child import end_with_parent, python_command
from fer_edge.errors import FerEdgeError
from fer_edge.paths import absolute
from fer_edge.predictor import Predictor

TIMEOUT_S = 120.0
"""Seconds until an engine that does not load a variant counts as hung."""
_MOST_OUTPUT_BYTES = 100_000
_READY, _ANSWER = "fer_edge: ready", "fer_edge: answer "


def try_variants(bundle: Path, timeout_s: float = TIMEOUT_S) -> list[str]:
    """Return a sentence about each variant: taken, or why not.

    If the engine of the first variant that fits crashes or hangs, the others are tried one by
    one.

    Args:
        bundle: Folder of a bundle that open_bundle accepts.
        timeout_s: Seconds for each child process.
    """
    lines, failure = _child(bundle, None, timeout_s)
    if failure is None:
        return lines
    variants = open_bundle(bundle).variants
    if len(variants) == 1:
        return [f"{variants[0].name}: {failure}"]
    return [_one(bundle, variant, timeout_s) for variant in variants]


def _one(bundle: Path, variant: Variant, timeout_s: float) -> str:
    lines, failure = _child(bundle, variant, timeout_s)
    own = [line for line in lines if line.startswith(f"{variant.name}:")]
    return own[0] if own else f"{variant.name}: {failure or '; '.join(lines) or 'no answer'}"


def _child(bundle: Path, variant: Variant | None, timeout_s: float) -> tuple[list[str], str | None]:
    """Return the child's sentences, or why it gave none."""
    only = [] if variant is None else [variant.target, variant.precision]
    command = python_command("-m", "fer_edge.engine_trial", str(absolute(bundle)), *only)
    try:
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, timeout=timeout_s, check=False
        )
    except subprocess.TimeoutExpired:
        return [], f"its engine gave no answer within {timeout_s:g} s"
    except OSError as error:
        return [], f"no child process could be started to try it: {error.strerror}"
    output = done.stdout[-_MOST_OUTPUT_BYTES:].decode("utf-8", "replace")
    for line in output.splitlines():
        if line.startswith(_ANSWER):
            answer = json.loads(line.removeprefix(_ANSWER))
            return [str(sentence) for sentence in answer], None
    if done.returncode < 0:
        return [], f"its engine crashes on this machine ({_signal(-done.returncode)})"
    if _READY not in output:
        return [], "the child process could not import fer_edge. Run: fer-edge doctor"
    return [], f"its engine ended the process with exit code {done.returncode}"


def _signal(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def _main(folder: str, target: str | None = None, precision: str | None = None) -> None:
    end_with_parent()
    print(_READY, flush=True)
    try:
        with Predictor(folder, target, precision) as predictor:
            predictor.warm_up()
            sentences = [str(choice) for choice in predictor.explain(executed=True)]
    except FerEdgeError as error:
        sentences = [str(error)]
    print(_ANSWER + json.dumps(sentences), flush=True)


if __name__ == "__main__":
    _main(*sys.argv[1:])
