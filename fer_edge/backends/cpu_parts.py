"""Parts of a batch that a CPU computes at once."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from fer_edge.backends.base import Batch, Outputs

_PIXELS_PER_CORE = 2**17
"""Pixels of the faces that each core computes at once: eight faces of 128 px.

With more faces, the numbers between two layers leave the caches. On two cores, a face of the
default model takes 1.2 times as long in a batch of 64 as in one of 16, and 1.3 to 1.4 times in one
of 256. A batch of 2,000 takes 6 GB.
"""


def cpu_parts(batch: Batch, cores: int) -> list[Batch]:
    """Return a batch in parts that a number of cores computes at once, in order."""
    faces = max(1, cores * _PIXELS_PER_CORE // (batch.shape[1] * batch.shape[2]))
    return [batch[i : i + faces] for i in range(0, len(batch), faces)]


def run_in_parts(run: Callable[[Batch], Outputs], batch: Batch, cores: int) -> Outputs:
    """Return the outputs of a batch that is run in parts.

    Args:
        run: Runs one part.
        batch: Faces, uint8 ``[N, S, S, 3]`` BGR.
        cores: Number of cores that ``run`` uses.
    """
    parts = cpu_parts(batch, cores)
    if len(parts) == 1:
        return run(batch)
    probabilities, embeddings = zip(*map(run, parts), strict=True)
    return np.concatenate(probabilities), np.concatenate(embeddings)
