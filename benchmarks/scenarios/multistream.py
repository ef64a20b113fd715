"""Scenario ``multistream``: eight cameras that tick together, one batch for each tick."""

from __future__ import annotations

from dataclasses import replace

from fer_edge.benchmarks.scenarios import stream

SCENARIO = replace(
    stream.SCENARIO,
    help="Several cameras at a fixed rate that tick together: frames answered in time, their age.",
    batch_sizes=(8,),
)
