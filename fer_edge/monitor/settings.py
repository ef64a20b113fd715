"""Settings of the monitor: every threshold with its unit and reason."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from fer_edge.errors import InputError
from fer_edge.monitor.settings_file import read_settings_file
from fer_edge.monitor.typed_fields import as_plain, from_plain, normalise_fields
from fer_edge.shown import shown

Shares = tuple[float, float, float, float]
"""``(x, y, width, height)`` as shares (0..1) of the frame."""

_EVENT_S, _UNKNOWN_S = 2.0, 3.0
"""Seconds that a label, or "unknown", must hold by default until it is an event."""


@dataclass(frozen=True)
class EventRule:
    """Emit an event once an expression has held for a minimum time.

    Attributes:
        kind: A label, such as "anger", or "unknown".
        min_s: Seconds that it must hold.

    Raises:
        InputError: ``kind`` is not text, or ``min_s`` is not a finite number of at least 0.
    """

    kind: str
    min_s: float

    def __post_init__(self) -> None:
        normalise_fields(self)
        if not self.kind or self.min_s < 0:
            raise InputError(
                "expected an event rule with a label and at least 0 seconds, got "
                f"{shown(self.kind)} and {self.min_s:g}"
            )


@dataclass(frozen=True)
class QualityLimits:
    """Limits of a readable face. Faces outside them are not classified.

    The first four limits come from 1,193 FER2013 faces (PublicTest), degraded on purpose and
    classified by the model of 2026-11-21. Accuracy is 67 % on the untouched faces and about 50 % on
    those that a limit rejects. The limits reject one of all 3,579 untouched faces of PublicTest.
    """

    dark_below: float = 45.0
    """Smallest 95th percentile of the pixels, 0..255. Dark skin in light has bright spots; a face
    in the dark has none. The smallest value in PublicTest is 53. At 32, accuracy is 51 %."""
    bright_share: float = 0.5
    """Largest share (0..1) of pixels at 250 or more. One face of PublicTest exceeds it. At twice
    the brightness most do, and accuracy on those is 52 %."""
    sharp_above: float = 0.010
    """Smallest sharpness of a face at 48 px, in the blurrier direction. Sharpness is the variance
    of the second difference over that of the brightness. The smallest value in PublicTest is 0.034.
    After a smear of 9 px or a blur of 1.5 px, 80 % of the faces are below 0.010; accuracy on those
    is 46 %."""
    min_face_px: int = 20
    """Smallest length in pixels of the longer side of the face's box. Accuracy is 59 % at 20 px and
    54 % at 17 px."""
    turned_above: float = 0.5
    """Largest offset of the nose from the middle of the eyes. The unit is the distance between the
    eyes. A nose protrudes by 0.45 of that distance, so 0.5 is a rotation of about 48 degrees."""
    flat_mouth: float = 0.25
    """Smallest strength of edges around the mouth, as a share of the face's mean. Uncovered mouths
    and eyes are above 0.55 in all pictures examined; a mask or a bar of one colour is below.
    Sunglasses with a rim and spread fingers have edges and pass."""
    flat_eyes: float = 0.35
    """Smallest strength of edges around the eyes, as for ``flat_mouth``."""

    def __post_init__(self) -> None:
        normalise_fields(self)
        for item in fields(self):
            if (value := getattr(self, item.name)) < 0:
                raise InputError(f"expected {item.name} of at least 0, got {value}")
        if self.bright_share > 1:
            raise InputError(f"expected bright_share as 0 to 1, got {self.bright_share}")


@dataclass(frozen=True)
class Settings:
    """Settings of detection, smoothing, events and health.

    Times are seconds of stream time.

    Raises:
        InputError: A value is out of range.
    """

    # Detection.
    detect_every: int = 3
    """Frames per run of the detector; 1 detects on every frame. Between detections, boxes are
    extrapolated at constant velocity."""
    detect_within_s: float = 0.2
    """Most seconds between detections: with a slow camera, faces move far in three frames."""
    forget_s: float = 2.0
    """Seconds without a detection until a person is dropped. A later face gets a new number."""
    max_persons: int = 8
    """Most faces classified per frame, the largest first."""
    driver_region: Shares = (0.0, 0.0, 1.0, 1.0)
    """Region of the driver's face. The largest face in it becomes the driver and stays the driver
    while tracked."""
    align: bool = False
    """Rotate faces so that the eyes are level, before classification. Needs a detector with
    landmarks. Off by default: the model of 2026-11-21 lost nothing up to a roll of 20 degrees, and
    YuNet reports a third of the actual roll. It changed 2 of 98 answers on real pictures."""

    # Smoothing.
    smooth_s: float = 0.5
    """Time constant of the smoothing, in seconds. Spontaneous expressions last 0.5 to 4 s
    (Ekman)."""
    hysteresis: float = 0.1
    """Lead (0..1) in probability that another label needs to replace the current one."""
    dwell_s: float = 0.3
    """Seconds that another label must lead until it replaces the current one."""
    hold_s: float = 0.5
    """Seconds that a label is kept after the last good view of the face. Then it is unknown."""
    known_above: float | None = None
    """Smoothed probability (0..1) from which a label is known. None uses the bundle's threshold. A
    known label becomes unknown ``hysteresis`` below it."""

    # Baseline and events.
    baseline_s: float = 20.0
    """Seconds of good view over which the driver's baseline is learned."""
    use_baseline: bool = False
    """Subtract the baseline. Off by default: it assumes a neutral face during the first baseline_s
    seconds, which cannot be verified."""
    events: tuple[EventRule, ...] | None = None
    """Rules for events. None takes 2 s for each label of the bundle but neutral, and 3 s for
    "unknown". A rule for a label that the bundle does not have is refused."""

    # Health.
    deadline_s: float = 0.05
    """Oldest age in seconds of a live answer. The monitor skips stages to keep it."""
    no_frame_s: float = 0.5
    """Seconds without a frame until health is "lost"; states are then emitted at this interval."""
    frozen_s: float | None = 1.0
    """Seconds of identical pixels until the camera counts as frozen. None disables the check (still
    images). Real sensors have noise; recordings repeat a frame, but not for a second."""
    black_below: float = 4.0
    """Smallest standard deviation (0..255) of the frame's brightness. Below it the camera is unlit,
    covered or saturated. Equals the Predictor's limit for one face."""
    expected_size: tuple[int, int] | None = None
    """``(width, height)`` of frames in pixels. None expects the size of the first frame."""
    expected_hz: float | None = None
    """Frame rate in Hz. None skips the check."""
    watchdog_s: float = 2.0
    """Seconds until an inference counts as hung; the next variant then takes over."""

    quality: QualityLimits = field(default_factory=QualityLimits)
    """Limits of a readable face."""

    def __post_init__(self) -> None:
        normalise_fields(self)
        for item in fields(self):
            value = getattr(self, item.name)
            if item.name.endswith("_s") and value is not None and not 0 < value < 1e6:
                raise InputError(f"expected {item.name} in seconds, above 0, got {shown(value)}")
        if self.detect_every < 1 or self.max_persons < 1:
            raise InputError(
                "expected detect_every and max_persons of at least 1, got "
                f"{shown(self.detect_every)} and {shown(self.max_persons)}"
            )
        x, y, w, h = self.driver_region
        if not (0 <= x < x + w <= 1 + 1e-9 and 0 <= y < y + h <= 1 + 1e-9):
            raise InputError(
                "expected driver_region as (x, y, width, height) in shares of the frame, 0..1, "
                f"got {shown(self.driver_region)}"
            )
        if self.known_above is not None and not 0 <= self.known_above <= 1:
            raise InputError(
                f"expected known_above as 0 to 1 or None, got {shown(self.known_above)}"
            )
        if self.expected_hz is not None and self.expected_hz <= 0:
            raise InputError(f"expected expected_hz above 0 or None, got {shown(self.expected_hz)}")
        if self.expected_size is not None and min(self.expected_size) < 1:
            raise InputError(
                "expected expected_size as a width and height of at least 1 pixel or None, got "
                f"{shown(self.expected_size)}"
            )
        if self.black_below < 0:
            raise InputError(f"expected black_below of at least 0, got {shown(self.black_below)}")
        if not 0 <= self.hysteresis < 1:
            raise InputError(
                f"expected a hysteresis of at least 0 and below 1, got {shown(self.hysteresis)}"
            )

    @classmethod
    def from_file(cls, path: str | Path) -> Settings:
        """Read settings from a file.

        Args:
            path: JSON (.json), or YAML (.yaml, .yml) if pyyaml is installed. The keys are the
                fields of this class; ``quality`` and the items of ``events`` have keys of their
                own. Missing keys take their defaults.

        Raises:
            InputError: The file cannot be read, has an unknown key, or a value does not fit.
            MissingDependencyError: The file is YAML and pyyaml is not installed.
        """
        return from_plain(cls, read_settings_file(path), "settings")

    def as_dict(self) -> dict[str, Any]:
        """Return plain values for JSON, in the form that ``from_file`` reads."""
        return as_plain(self)

    def event_rules(self, labels: Sequence[str]) -> tuple[EventRule, ...]:
        """Return the rules for a bundle with these labels.

        Raises:
            InputError: A rule names a label that the bundle does not have.
        """
        if self.events is None:
            rules = [EventRule(label, _EVENT_S) for label in labels if label != "neutral"]
            return (*rules, EventRule("unknown", _UNKNOWN_S))
        for rule in self.events:
            if rule.kind not in (*labels, "unknown"):
                raise InputError(
                    f"no event can be {shown(rule.kind)}: the bundle has the labels "
                    f"{', '.join(labels)}. Name one of them, or unknown"
                )
        return self.events


def checked_settings(settings: object) -> Settings:
    """Return the settings, or the defaults for None. Raises InputError for another type."""
    if settings is None:
        return Settings()
    if not isinstance(settings, Settings):
        raise InputError(
            f"expected settings as Settings, got {shown(settings)}. Pass Settings(...), or "
            "Settings.from_file(FILE)"
        )
    return settings
