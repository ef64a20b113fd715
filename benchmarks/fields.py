"""Types of the fields that several scenarios of a report share.

A field is ``Annotated[TYPE, "meaning"]``. The JSON Schema of a report is made from these types
(``reports.schema``), and mypy checks the code that writes them.
"""

from __future__ import annotations

from typing import Annotated, NotRequired, TypedDict

Count = Annotated[int, {"minimum": 0}]
Positive = Annotated[int, {"minimum": 1}]

PercentileMs = Annotated[
    float | None,
    "Percentile of a call's latency in ms; of a stream: of a frame's age when it is answered. "
    "null with fewer samples than MLPerf's early stopping needs for an estimate.",
]
ThroughputHz = Annotated[float, "Faces per second of wall time."]
RssBytes = Annotated[float, "Resident memory at the end in bytes; of cold starts the median."]
ClockMhz = Annotated[float | None, "Mean clock of the cores in MHz."]
TemperatureC = Annotated[float | None, "Hottest sensor in degrees Celsius."]
MedianMs = Annotated[float, "Median in ms."]


class Ratio(TypedDict):
    """Ratio of two percentiles with its 95 % interval.

    The interval of fewer than 240 samples is too narrow.
    """

    ratio: Annotated[float, "Ratio of two percentiles."]
    low: Annotated[float, "Lower end of the 95 % interval; too narrow with under 240 samples."]
    high: Annotated[float, "Upper end of the 95 % interval; too narrow with under 240 samples."]


class Accuracy(TypedDict):
    """Accuracy of a variant on labelled faces; ``--data`` adds it."""

    labelled_faces: Annotated[Count, "Labelled faces of --data."]
    accuracy: Annotated[float, "Share (0..1) of the labelled faces that were classified right."]
    agreement: Annotated[float, "Share (0..1) of decisions equal to those of the variant in `of`."]
    of: Annotated[str, "Variant that agreement is computed against."]
    pareto: NotRequired[
        Annotated[bool, "No other row of this batch size is both faster and more accurate."]
    ]


class Row(TypedDict):
    """Fields of a row of any scenario."""

    variant: Annotated[str, "TARGET/PRECISION, or the name of a reference."]
    batch: Annotated[Positive, "Faces per call, or cameras of a stream."]
