"""Schemas of the tables. Column types never follow the data.

Columns are flat: numbers, texts, truth values and moments, which sort, join and group everywhere.
Columns that hold times of the machine end in ``_ms``. All others are equal, bit for bit, for any
number of workers.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pyarrow as pa

_CLIP = (("drive", pa.string()), ("clip", pa.string()), ("camera", pa.string()))
_MADE_BY = (("bundle_sha256", pa.string()), ("variant", pa.string()), ("version", pa.string()))
_MOMENT = pa.timestamp("us", "UTC")


def probability_column(label: str) -> str:
    """Return the name of a label's column."""
    return f"p_{label}"


def states_schema(labels: Sequence[str]) -> Any:
    """Return the schema of ``states``: a row for each person of each written frame.

    A frame without a person has one row with an empty ``person``. A clip that failed has one row
    with its ``error``.

    Args:
        labels: Labels of the bundle; each has a column, such as ``p_anger``.
    """
    return pa.schema(
        [
            *_CLIP,
            ("frame", pa.int64()),
            ("time_s", pa.float64()),
            ("time", _MOMENT),
            ("person", pa.int32()),
            ("is_driver", pa.bool_()),
            ("box_x", pa.int32()),
            ("box_y", pa.int32()),
            ("box_w", pa.int32()),
            ("box_h", pa.int32()),
            ("label", pa.string()),
            ("confidence", pa.float64()),
            *((probability_column(label), pa.float64()) for label in labels),
            ("since_s", pa.float64()),
            ("flicker_hz", pa.float64()),
            ("cause", pa.string()),
            ("reason", pa.string()),
            ("health", pa.string()),
            ("health_causes", pa.string()),
            ("error", pa.string()),
            ("detect_ms", pa.float64()),
            ("predict_ms", pa.float64()),
            ("total_ms", pa.float64()),
            *_MADE_BY,
        ]
    )


EVENTS = pa.schema(
    [
        *_CLIP,
        ("kind", pa.string()),
        ("person", pa.int32()),
        ("start_s", pa.float64()),
        ("end_s", pa.float64()),
        ("start", _MOMENT),
        ("confidence", pa.float64()),
        *_MADE_BY,
    ]
)
"""Schema of ``events``. ``end_s`` is empty if the event lasts until the end of the clip."""

ALERTS = pa.schema(
    [
        *_CLIP,
        ("rule", pa.string()),
        ("start_s", pa.float64()),
        ("alert_s", pa.float64()),
        ("end_s", pa.float64()),
        ("start", _MOMENT),
        ("speed_kmh", pa.float64()),
        ("source", pa.string()),
        ("false_alert", pa.bool_()),
        *_MADE_BY,
    ]
)
"""Schema of ``alerts``: moments at which an in-car rule asks for an alert. ``source`` is "signals"
or "head"; ``false_alert`` is empty unless the clip is known to be attentive."""

DISAGREEMENTS = pa.schema(
    [
        *_CLIP,
        ("person", pa.int32()),
        ("is_driver", pa.bool_()),
        ("start_s", pa.float64()),
        ("end_s", pa.float64()),
        ("start", _MOMENT),
        ("frames", pa.int64()),
        ("label", pa.string()),
        ("label_against", pa.string()),
        ("confidence", pa.float64()),
        ("confidence_against", pa.float64()),
        *_MADE_BY,
    ]
)
"""Schema of ``disagreements``: stretches in which two bundles say different things."""

CLIPS = pa.schema(
    [
        *_CLIP,
        ("path", pa.string()),
        ("start", _MOMENT),
        ("speed_kmh", pa.float64()),
        ("status", pa.string()),
        ("error", pa.string()),
        ("frames", pa.int64()),
        ("stream_s", pa.float64()),
        ("valid_s", pa.float64()),
        ("first_answer_s", pa.float64()),
        ("p50_ms", pa.float64()),
        ("p99_ms", pa.float64()),
    ]
)
"""Schema of ``clips.parquet``: a row for each clip."""

DRIVES = pa.schema(
    [
        ("drive", pa.string()),
        ("clips", pa.int64()),
        ("failed", pa.int64()),
        ("partial", pa.int64()),
        ("frames", pa.int64()),
        ("stream_s", pa.float64()),
        ("valid_s", pa.float64()),
        ("availability", pa.float64()),
        ("first_answer_s", pa.float64()),
        ("flicker_per_min", pa.float64()),
        ("attention_known_s", pa.float64()),
        ("away_s", pa.float64()),
        ("eyes_known_s", pa.float64()),
        ("closed_s", pa.float64()),
        ("p50_ms", pa.float64()),
        ("p99_ms", pa.float64()),
        ("max_ms", pa.float64()),
    ]
)
"""Schema of ``drives.parquet``: a row for each drive."""

FIGURES = pa.schema(
    [
        ("drive", pa.string()),
        ("figure", pa.string()),
        ("name", pa.string()),
        ("value", pa.float64()),
    ]
)
"""Schema of ``figures.parquet``: a drive's figures with a value per name. ``missing_s``, for
example, has a value for each cause."""
