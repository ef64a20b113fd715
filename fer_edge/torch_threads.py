"""Threads of torch: short waits on a busy machine, and no more threads than a quota can run.

torch's threads wait for each other in a loop after each layer. If another program has one of two
cores, both threads share the other core. Each then waits while the other should compute. A network
takes 60 to 180 times as long (docs/decisions/0070-short-waits.md). The quota of a container has a
like effect on threads that it cannot run (docs/decisions/0075-cpu-quotas.md).
"""

from __future__ import annotations

import os

from fer_edge.cores import engine_threads

THREADS = "OMP_NUM_THREADS"
"""Environment variable for torch's number of threads."""
SPIN_COUNT = "GOMP_SPINCOUNT"
"""Environment variable for the rounds of the loop before a thread sleeps. GNU's OpenMP reads it,
which torch has on Linux."""
ROUNDS = "5000"
"""Rounds that cost nothing on a quiet machine; decision 70 has the measurements."""
_CHOICES = ("OMP_WAIT_POLICY", SPIN_COUNT)
"""Variables by which a user chooses the waits."""


def short_waits() -> None:
    """Shorten the waits unless the user chose them. It must run before torch is imported."""
    if not any(name in os.environ for name in _CHOICES):
        os.environ[SPIN_COUNT] = ROUNDS


def few_threads() -> None:
    """Start as many threads as cores may be used. It must run before torch is imported."""
    threads = engine_threads(None)
    if threads is not None:
        os.environ.setdefault(THREADS, str(threads))


def torchs_own() -> dict[str, str]:
    """Return the environment without what ``short_waits`` sets, for a child that times torch."""
    return {k: v for k, v in os.environ.items() if (k, v) != (SPIN_COUNT, ROUNDS)}
