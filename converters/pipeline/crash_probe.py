"""Crash probe: runs a variant's engine once in a separate process.

OpenVINO 2026.4 dies of a segmentation fault on some int8 networks on CPUs with AMX. In the
converter's own process, that crash would lose the user's other variants.
"""

from __future__ import annotations

import signal
import subprocess
import tempfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from fer_edge.backends.base import Options, simulator
from fer_edge.bundle import Bundle, write_bundle
from fer_edge.child import python_command
from fer_edge.converters.pipeline.parity import BATCHES
from fer_edge.errors import ConversionError

_TIMEOUT_S = 600
"""Seconds until an engine that does not answer counts as crashed."""
_RAISED = 1
"""Exit code of a Python program that an exception ends."""
_RUN = """
import sys
from fer_edge.child import end_with_parent
end_with_parent()
from fer_edge import Predictor
print("imported", flush=True)
with Predictor(*sys.argv[1:3]) as predictor:
    predictor.warm_up([int(n) for n in sys.argv[3:]])
"""


def crash_reason(bundle: Bundle, contents: Mapping[str, bytes]) -> str | None:
    """Return the crash of a bundle's first variant, or None.

    The engine runs at the batch sizes of the gate, a simulator at the first two: it runs face by
    face, and takes up to a second for each. An exception is not a crash: the gate reports it.

    Args:
        bundle: Bundle with one variant; its path is not used.
        contents: Files of the variant, by ``folder/name``.

    Returns:
        The signal or the timeout in one sentence, or None.

    Raises:
        ConversionError: The child cannot import fer_edge, so that nothing was tried.
    """
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "probe.fer")
        write_bundle(replace(bundle, path=path), contents)
        target = bundle.variants[0].target  # a simulator runs for those who name it
        sizes = BATCHES if simulator(target, Options()) is None else BATCHES[:2]
        try:
            done = subprocess.run(
                python_command("-c", _RUN, str(path), target, *map(str, sizes)),
                capture_output=True,
                text=True,
                errors="replace",
                timeout=_TIMEOUT_S,
                check=False,
            )
        except subprocess.TimeoutExpired:
            return f"its engine gave no answer within {_TIMEOUT_S} s"
    if done.returncode < 0:
        return f"its engine crashes on this machine ({_signal_name(-done.returncode)})"
    if "imported" not in done.stdout:
        reason = (done.stderr.strip().splitlines() or ["no message"])[-1]
        raise ConversionError(
            f"the child that tries an engine cannot import fer_edge: {reason}. "
            "Check the installation: fer-edge doctor"
        )
    if done.returncode not in (0, _RAISED):  # Windows has no signals
        return f"its engine ends the process with exit code {done.returncode:#x}"
    return None


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:  # real-time signals have no name
        return f"signal {number}"
