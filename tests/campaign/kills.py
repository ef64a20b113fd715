"""Writers that are killed: the file or folder is the old one or the new one, and complete.

PYTHONPATH=tests/campaign python tests/campaign/kills.py --count 100
"""

from __future__ import annotations

import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from common import CHANGED, Case, main

from fer_edge import open_bundle
from fer_edge.backends.fake import write_fake_bundle
from fer_edge.child import python_command

WRITE = """
import sys
from fer_edge.backends.fake import write_fake_bundle
print("ready", flush=True)
for i in range(10_000):
    write_fake_bundle(sys.argv[1], {"fear" if i % 2 else "happiness": 0.9})
"""


def cases(rng: np.random.Generator, folder: Path) -> Iterator[Case]:
    while True:
        wait_s = float(rng.uniform(0, 0.08))

        def case(wait_s: float = wait_s) -> str | None:
            bundle = folder / "b.fer"
            write_fake_bundle(bundle, {"neutral": 0.9})
            child = subprocess.Popen(
                python_command("-c", WRITE, str(bundle)), stdout=subprocess.PIPE
            )
            assert child.stdout is not None
            child.stdout.readline()
            time.sleep(wait_s)
            child.send_signal(signal.SIGKILL)
            child.wait()
            child.stdout.close()
            opened = open_bundle(bundle)  # raises BundleError, a fault here, if it is torn
            files = opened.read(opened.variants[0])
            if not files:
                return CHANGED
            write_fake_bundle(bundle, {"neutral": 0.9})
            left = [path.name for path in folder.iterdir() if path != bundle]
            return f"{CHANGED}: leftovers" if left else None

        yield case


if __name__ == "__main__":
    main(cases, 100)
