"""Does an engine survive a variant? Asked in a process of its own: the answer may be a crash.

OpenVINO 2026.4 dies of a segmentation fault on some int8 networks on CPUs with AMX: a converter
that finds that out in its own process takes the user's other variants with it.
"""

from __future__ import annotations

import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from fer_edge.bundle import Bundle, write_bundle
from fer_edge.converters.pipeline.parity import BATCHES

_TIMEOUT_S = 600
_RUN = """
import sys
from fer_edge import Predictor
with Predictor(sys.argv[1]) as predictor:
    predictor.warm_up([int(n) for n in sys.argv[2:]])
"""


def crash(bundle: Bundle, contents: Mapping[str, bytes]) -> str | None:
    """How the engine of a bundle's first variant dies at one of the gate's batch sizes, or None.

    An engine that refuses with an exception survives: it will say why when it is judged.
    """
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "probe.fer")
        write_bundle(replace(bundle, path=path), contents)
        try:
            done = subprocess.run(
                [sys.executable, "-c", _RUN, str(path), *map(str, BATCHES)],
                capture_output=True,
                timeout=_TIMEOUT_S,
                check=False,
            )
        except subprocess.TimeoutExpired:
            return f"its engine gave no answer within {_TIMEOUT_S} s"
    if done.returncode < 0:
        return f"its engine crashes on this machine ({signal.Signals(-done.returncode).name})"
    return None
