"""Causes of the monitor's health, for programs."""

from __future__ import annotations

from enum import StrEnum


class HealthCause(StrEnum):
    """Cause of a health finding.

    Values and codes never change, and none is used twice.

    Attributes:
        code: Number for diagnostic trouble codes and CAN signals, 1..255.
        part: Part of the monitor. It has at most one finding at a time.
    """

    NO_FRAME = "no_frame", 1, "camera"
    """No frame came for ``no_frame_s``, and the source reports no fault."""
    CAMERA_FAILED = "camera_failed", 2, "camera"
    """The camera cannot be opened or read. It is opened again."""
    SOURCE_ENDED = "source_ended", 3, "camera"
    """A file or iterable ended early, or raised."""
    OLD_FRAME = "old_frame", 4, "camera"
    """The newest frame of a camera is older than ``no_frame_s``."""
    NOT_A_FRAME = "not_a_frame", 10, "picture"
    """The source gave something else than a uint8 frame of at least 8 px."""
    FROZEN = "frozen", 11, "picture"
    """Identical pixels for ``frozen_s``."""
    BLACK = "black", 12, "picture"
    """The picture is unlit, covered or saturated."""
    WRONG_SIZE = "wrong_size", 20, "size"
    """Frames have another size than expected."""
    WRONG_RATE = "wrong_rate", 21, "rate"
    """Frames come at another rate than expected."""
    CLOCK_INVALID = "clock_invalid", 30, "clock"
    """The source's time is not a finite number of seconds."""
    CLOCK_BACK = "clock_back", 31, "clock"
    """The source's time runs back."""
    CLOCK_LEAP = "clock_leap", 32, "clock"
    """The source's time leaps ahead."""
    CLOCK_STILL = "clock_still", 33, "clock"
    """The source's time stands still."""
    DETECTOR_FAILED = "detector_failed", 40, "detector"
    """Face detection raised an error."""
    FAILOVER = "failover", 50, "model"
    """A variant failed, and another one answers."""
    NO_ENGINE = "no_engine", 51, "model"
    """No variant runs."""
    LATE = "late", 60, "deadline"
    """Answers are older than ``deadline_s``, or work was skipped to keep it."""

    code: int
    part: str

    def __new__(cls, value: str, code: int, part: str) -> HealthCause:
        member = str.__new__(cls, value)
        member._value_ = value
        member.code = code
        member.part = part
        return member
