"""Largest and smallest numbers that a measurement accepts."""

from __future__ import annotations

MAX_BATCH = 4_096
"""Faces per call, or cameras; so many crops take 0.5 GB."""
MAX_BUDGET_S = 2_592_000.0
"""Seconds of the longest measurement: 30 days."""
MIN_HZ, MAX_HZ = 0.001, 10_000.0
"""Frames per second of the slowest and the fastest stream."""
MAX_DEADLINE_MS = 86_400_000.0
"""Milliseconds of the latest deadline: a day."""
