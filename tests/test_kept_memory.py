"""Memory that is kept is not fetched from the system again."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from fer_edge.child import python_command

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the allocator is GNU's")

_FAULTS = """
import resource
import numpy as np
from fer_edge.kept_memory import keep_memory

def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    np.ones(64 << 20, np.uint8)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

kept = {call}
faults()
print(kept, faults())
"""


def _run(call: str, **chosen: str) -> tuple[str, int]:
    """Return what the call gave, and the page faults of 64 MiB after another 64 MiB were freed."""
    done = subprocess.run(
        python_command("-c", _FAULTS.replace("{call}", call)),
        env=os.environ | chosen,
        capture_output=True,
        text=True,
        check=True,
    )
    kept, faults = done.stdout.split()
    return kept, int(faults)


def test_large_blocks_are_fetched_once() -> None:
    fresh = _run("None")[1]
    kept, faults = _run("keep_memory()")
    if kept == "False":
        pytest.skip("not the GNU C library")
    assert fresh > 30  # huge pages have 2 MiB
    assert faults < fresh / 4


def test_the_users_own_setting_stays() -> None:
    assert _run("keep_memory()", MALLOC_MMAP_MAX_="65536")[0] == "False"
