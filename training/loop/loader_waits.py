"""Time that training waits for faces."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Iterator
from typing import Any

from fer_edge.cores import usable_cores

_LONG = 0.3
"""Share (0..1) of the time from which on more processes that load faces would help."""
_LEAST_S = 1.0
"""Seconds of an epoch that are worth a sentence."""
_MOST_WORKERS = 16


class LoaderWaits:
    """Batches of a loader, and the time that each is waited for.

    The first batch does not count: it comes after the processes have started.

    Args:
        batches: Loader of the batches.
    """

    def __init__(self, batches: Iterable[Any]) -> None:
        self._batches = batches
        self._waited_s = self._all_s = 0.0

    def __iter__(self) -> Iterator[Any]:
        batches, end = iter(self._batches), object()
        batch = next(batches, end)
        begun_s = time.monotonic()
        while batch is not end:
            yield batch
            wait_s = time.monotonic()
            batch = next(batches, end)
            self._waited_s += time.monotonic() - wait_s
            self._all_s = time.monotonic() - begun_s

    def advice(self, workers: int) -> str | None:
        """Return advice on faster loading of faces, or None.

        None if loading is fast enough or no core is free.

        Args:
            workers: Processes that load faces for each process that trains.
        """
        share = self._waited_s / max(self._all_s, _LEAST_S)
        training = int(os.environ.get("LOCAL_WORLD_SIZE", 1))
        free = min(_MOST_WORKERS, usable_cores() // training - 1)
        if self._waited_s < _LEAST_S or share < _LONG or workers >= free:
            return None
        return (
            f"{share:.0%} of the time was spent waiting for faces. This machine can load more at a "
            f"time: --set fit.workers={free}"
        )
