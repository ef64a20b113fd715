"""Counting, limits and the command line that the campaigns share.

Each campaign is a module with ``cases(rng, folder)``, an endless iterator of functions that
return one of the words below. CI runs a few hundred of each (test_campaigns.py); the figures of
docs/explanation/trust.md come from the commands in the modules' docstrings.
"""

from __future__ import annotations

import argparse
import collections
import resource
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from fer_edge import FerEdgeError

REFUSED, ANSWERED = "refused with a sentence", "answered or accepted"
CHANGED, FOREIGN, SLOW = "ACCEPTED WITH ANOTHER MEANING", "FOREIGN ERROR", "OVER 1 S OF CPU"
BAD = (CHANGED, FOREIGN, SLOW)

MOST_CPU_S = 1.0
"""CPU seconds that one hostile input of up to 8 MiB may cost."""
MOST_MEMORY_BYTES = 6 * 1024**3
"""Address space of the process, so that a memory bomb is an error and not the machine's end."""

Case = Callable[[], str]
Cases = Callable[[np.random.Generator, Path], Iterator[Case]]


def judged(work: Callable[[], str | None]) -> str:
    """Run one case: our own errors are refusals, any other error is a fault."""
    start = time.process_time()
    try:
        outcome = work() or ANSWERED
    except FerEdgeError:
        outcome = REFUSED
    except Exception as error:  # whatever a hostile input brought about
        return f"{FOREIGN}: {type(error).__name__}: {str(error)[:120]}"
    return SLOW if time.process_time() - start > MOST_CPU_S else outcome


def run(cases: Cases, count: int, seed: int = 0) -> collections.Counter[str]:
    """Run ``count`` cases in this process and count their outcomes."""
    rng = np.random.default_rng(seed)
    with tempfile.TemporaryDirectory() as folder:
        endless = cases(rng, Path(folder))
        return collections.Counter(judged(next(endless)) for _ in range(count))


def faults(outcomes: collections.Counter[str]) -> dict[str, int]:
    return {word: n for word, n in outcomes.items() if word.startswith(BAD)}


def main(cases: Cases, count: int) -> None:
    """Command line of a campaign; exit code 1 if there is a fault."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--count", type=int, default=count)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    resource.setrlimit(resource.RLIMIT_AS, (MOST_MEMORY_BYTES, MOST_MEMORY_BYTES))
    start = time.monotonic()
    outcomes = run(cases, given.count, given.seed)
    for word, n in outcomes.most_common():
        print(f"{n:8,}  {word}")
    peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"{given.count:,} cases, {time.monotonic() - start:.0f} s, peak {peak_mb:.0f} MB")
    sys.exit(bool(faults(outcomes)))
