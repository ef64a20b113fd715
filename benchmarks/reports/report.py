"""Form of a report of ``fer-edge bench``."""

from __future__ import annotations

from typing import Annotated, NotRequired, TypedDict

from fer_edge.benchmarks.fields import Count, Row
from fer_edge.benchmarks.machine.environment import Environment, Noise
from fer_edge.benchmarks.references.loadgen import LoadgenRow
from fer_edge.benchmarks.reports.budget import Judgement

SCHEMA = 2
"""Number of the report's form. 2: percentiles of the steady state; rows carry their samples."""


class BundleId(TypedDict):
    """Measured bundle."""

    path: Annotated[str, "Path as it was passed."]
    sha256: Annotated[str, "Hash of bundle.json, which lists the hash of every file."]


class Refused(TypedDict):
    """Variant that does not run on this machine."""

    variant: Annotated[str, "TARGET/PRECISION."]
    reason: Annotated[str, "Reason, as a sentence."]


class PlacedOperations(TypedDict):
    """Operations that ran on one device in one precision."""

    device: Annotated[str, "Device, in the engine's words."]
    precision: Annotated[str, "Arithmetic."]
    layers: Annotated[Count, "Convolutions and matrix products."]
    others: Annotated[Count, "Other operations."]


class Executed(TypedDict):
    """Operations of a variant by device and precision, as its engine ran them."""

    variant: Annotated[str, "TARGET/PRECISION."]
    sentence: Annotated[str | None, "Engine, build, device and operations; null if it cannot say."]
    refusal: Annotated[str | None, "Why this is not what was asked for; null if it is."]
    simulator: NotRequired[
        Annotated[str, "Simulator that ran instead of a chip; its times are not those of a chip."]
    ]
    placements: list[PlacedOperations]


class Report(TypedDict):
    """Report of a measurement; a scenario adds its own parts."""

    schema: Annotated[int, {"const": SCHEMA}]
    scenario: str
    bundle: BundleId
    environment: Annotated[Environment, "Values that the system does not report are null."]
    noise: Noise
    note: Annotated[str | None, "Reasons to call the machine noisy, as a sentence."]
    crop_px: Annotated[Count, "Side in pixels of the timed BGR crops."]
    refused: list[Refused]
    executed: NotRequired[list[Executed]]
    rows: Annotated[list[Row], {"minItems": 1}]
    method: Annotated[str, "Method of the measurement."]
    loadgen: NotRequired[Annotated[list[LoadgenRow], "Figures of MLPerf's LoadGen."]]
    budget: NotRequired[Annotated[list[Judgement], "Limits of --budget, judged."]]
