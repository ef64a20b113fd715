"""Stored report: the JSON that a comparison reads, parsed strictly.

A report may come from anyone, and its texts are printed. So control characters are escaped when
they are read: a name with a line's end would forge a verdict.
"""

from __future__ import annotations

import json
import shlex
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_type_hints

import numpy as np
import numpy.typing as npt

from fer_edge import DataError
from fer_edge.benchmarks.measure.rows import unpack
from fer_edge.benchmarks.measure.share_difference import PARTS
from fer_edge.benchmarks.reports.report import SCHEMA
from fer_edge.benchmarks.scenarios.base import names, scenario
from fer_edge.plain_file import read_plain
from fer_edge.shown import printable, shown

_MOST_FRAMES = 2**53
_MOST_BYTES = 64 << 20
"""Largest report. A row of 20,000 samples takes up to 400 KB."""


@dataclass(frozen=True)
class StoredStream:
    """Frames of a stream's row.

    Attributes:
        frames: Frames that arrived.
        deadline_ms: Deadline in ms from a frame's arrival to its answer.
        misses: Missed frames in each of ``PARTS`` equal parts of the stream.
        drops: Dropped frames in each of these parts.
    """

    frames: int
    deadline_ms: float
    misses: tuple[int, ...]
    drops: tuple[int, ...]

    @classmethod
    def parse(cls, row: Any) -> StoredStream:
        """Read a row. Raises KeyError, TypeError or ValueError."""
        frames = _field(row, "frames", int)
        if not 1 <= frames <= _MOST_FRAMES:
            raise ValueError(
                f"expected frames above 0 and up to {_MOST_FRAMES}, got {shown(frames)}"
            )
        misses, drops = (_counts(row, f"{name}_by_part", frames) for name in ("missed", "dropped"))
        return cls(frames, _field(row, "deadline_ms", int, float), misses, drops)


@dataclass(frozen=True)
class StoredRow:
    """Latencies of one row.

    Attributes:
        variant: Name, ``TARGET/PRECISION``.
        batch: Faces per call.
        ns: Latencies in ns, int64 ``[N]``.
        hz: Frames per second of a stream.
        state: ``alone`` or ``contended`` in the scenario ``contended``.
        steady: Whether the steady state was reached; None if unknown.
        reference: True for torch and ``--against``.
        stream: Frames of a stream.
    """

    variant: str
    batch: int
    ns: npt.NDArray[np.int64]
    hz: float | None = None
    state: str | None = None
    steady: bool | None = None
    reference: bool = False
    stream: StoredStream | None = None

    @property
    def identity(self) -> tuple[str | int, ...]:
        """Values that a row of another report must share to be compared."""
        parts: list[str | int] = [self.variant, self.batch]
        if self.hz is not None:
            parts.append(f"{self.hz:g} Hz")
        if self.stream is not None:
            parts.append(f"deadline {self.stream.deadline_ms:g} ms")
        if self.state is not None:
            parts.append(self.state)
        return tuple(parts)

    @classmethod
    def parse(cls, row: Any) -> StoredRow:
        """Read a row. Raises KeyError, TypeError or ValueError."""
        ns = unpack(_field(row, "latencies_ns", str))
        if (ns < 1).any():
            raise ValueError(f"expected latencies_ns above 0, got {ns.min()}")
        return cls(
            variant=printable(_field(row, "variant", str)),
            batch=_field(row, "batch", int),
            ns=ns,
            hz=_optional(row, "hz", int, float),
            state=_text(row, "state"),
            steady=_optional(row, "steady", bool),
            reference=_optional(row, "reference", bool) or False,
            stream=StoredStream.parse(row) if "frames" in row else None,
        )


@dataclass(frozen=True)
class StoredReport:
    """Report of one measurement.

    Attributes:
        scenario: Name of the scenario.
        crop_px: Side in pixels of the timed crops.
        environment: Environment of the measurement.
        note: Reasons to call the machine noisy, or None.
        rows: Rows with their latencies.
    """

    scenario: str
    crop_px: int
    environment: Mapping[str, Any]
    note: str | None
    rows: tuple[StoredRow, ...]

    @classmethod
    def parse(cls, report: Any) -> StoredReport:
        """Read a report. Raises KeyError, TypeError or ValueError."""
        schema = _field(report, "schema", int)
        if schema != SCHEMA:
            raise ValueError(f"expected schema {SCHEMA}, got {schema}")
        environment = _field(report, "environment", dict)
        _field(environment, "cpu", str)
        _optional(environment, "cores", int)
        for gpu in _optional(environment, "gpus", list) or []:
            _field(gpu, "name", str)
        rows = tuple(map(StoredRow.parse, _field(report, "rows", list)))
        counts = Counter(row.identity for row in rows)
        if repeated := [key for key, count in counts.items() if count > 1]:
            raise ValueError(f"several rows are of {shown(' '.join(map(str, repeated[0])))}")
        return cls(
            scenario=_field(report, "scenario", str),
            crop_px=_field(report, "crop_px", int),
            environment=environment,
            note=_text(report, "note"),
            rows=rows,
        )


def load_report(path: str | Path) -> StoredReport:
    """Read a report that ``bench -o`` wrote.

    Raises:
        DataError: The file is not a report of this version, or its scenario takes no latency
            samples.
    """
    name = "single"
    try:
        content = json.loads(read_plain(Path(path), _MOST_BYTES, pipes=True).decode("utf-8"))
        if isinstance(content, dict) and content.get("scenario") in names():
            name = content["scenario"]
        if "latencies_ns" not in get_type_hints(scenario(name).row):
            raise DataError(
                f"expected a report with latency samples, got one of {name}: {path}. Measure "
                "latencies: fer-edge bench --scenario single -o new.json"
            )
        return StoredReport.parse(content)
    except OSError as error:
        raise DataError(
            f"cannot read the report {path}: {error.strerror}. Check the path"
        ) from error
    except (KeyError, TypeError, ValueError, OverflowError, RecursionError) as error:
        missing = isinstance(error, KeyError)
        reason = f"the key {error} is missing" if missing else str(error)
        raise DataError(
            f"expected {path} to be a report of fer-edge bench with latency samples, but {reason}. "
            f"Measure again with this version: fer-edge bench --scenario {name} -o "
            f"{shlex.quote(str(path))}"
        ) from error


def _field(item: Any, key: str, *kinds: type) -> Any:
    if not isinstance(item, dict):
        raise TypeError(f"expected an object with the key {key}, got {shown(item)}")
    value = item[key]
    if not isinstance(value, kinds) or (isinstance(value, bool) and bool not in kinds):
        names = " or ".join(kind.__name__ for kind in kinds)
        raise TypeError(f"expected {key} to be {names}, got {shown(value)}")
    return value


def _counts(row: Any, key: str, frames: int) -> tuple[int, ...]:
    counts, most = _field(row, key, list), -(-frames // PARTS)
    if len(counts) != PARTS or any(type(n) is not int or not 0 <= n <= most for n in counts):
        raise ValueError(
            f"expected {key} to be {PARTS} counts of frames, each up to {most}, got {shown(counts)}"
        )
    return tuple(counts)


def _text(item: Any, key: str) -> str | None:
    text = _optional(item, key, str)
    return None if text is None else printable(text)


def _optional(item: Any, key: str, *kinds: type) -> Any:
    return None if item.get(key) is None else _field(item, key, *kinds)
