"""Every threshold of the monitor, with its unit and its reason. docs/explanation/monitor.md tells more."""

from __future__ import annotations

from dataclasses import dataclass, field, fields

from fer_edge.errors import InputError
from fer_edge.labels import EMOTIONS

Shares = tuple[float, float, float, float]
"""``(x, y, width, height)`` as shares of the frame, 0..1."""


@dataclass(frozen=True)
class EventRule:
    """Tell when ``kind`` (a label, or "unknown") has held for ``min_s`` seconds."""

    kind: str
    min_s: float


@dataclass(frozen=True)
class QualityLimits:
    """When a face is not good enough to be read.

    The first four were measured with the shipped model on 1,193 FER2013 faces (PublicTest) that
    were degraded on purpose. It is right on 67 % of them untouched, and on about half of what a
    limit refuses. Of all 3,579 untouched faces of PublicTest the limits refuse one.
    """

    dark_below: float = 45.0
    """95 % of the face's pixels are below this (0..255). A dark skin in light has bright spots, a
    face in the dark has none: 53 is the least in PublicTest. At 32: 51 % right."""
    bright_share: float = 0.5
    """Share of pixels at 250 or more. One face of PublicTest is over it. At twice the brightness
    most are, and 52 % of those right."""
    sharp_above: float = 0.010
    """Variance of the second difference over that of the brightness, at 48 px, in the direction in
    which it is less. 0.034 is the least in PublicTest; smeared over 9 px or blurred by 1.5 px, 80 %
    are below 0.010, and 46 % of those right."""
    min_face_px: int = 20
    """The longer side of the face's box. Faces of that size: 59 % right; of 17 px: 54 %."""
    turned_above: float = 0.5
    """How far the nose is off the middle of the eyes, in distances between the eyes. A nose stands
    out by 0.45 of that distance, so this is a head turned by about 48 degrees."""
    flat_mouth: float = 0.25
    flat_eyes: float = 0.35
    """Edges in the region of the mouth, or of both eyes, against those of the whole face. Bare ones
    are over 0.55 in all pictures that were looked at; under a mask or a bar of one colour, below.
    Sunglasses with a rim, and hands with fingers spread, have edges of their own and pass."""


@dataclass(frozen=True)
class Settings:
    """How the monitor looks, smooths and doubts. Times are in seconds of the stream."""

    # Looking.
    detect_every: int = 3
    """The detector runs on each n-th frame; between them boxes move on as they did. 1 is always."""
    detect_within_s: float = 0.2
    """But never less often than this: a slow camera's faces move far in three frames."""
    forget_s: float = 2.0
    """A person who is not found for so long is gone; who comes then gets a new number."""
    max_persons: int = 8
    """No more faces than this are read in one frame, the largest first."""
    driver_region: Shares = (0.0, 0.0, 1.0, 1.0)
    """Where the driver's face is. The largest face in it is the driver, and stays it while seen."""
    align: bool = False
    """Turn faces upright by the eyes before they are read; needs a detector with landmarks. Off:
    the shipped model loses nothing up to a roll of 20 degrees, and YuNet sees a third of the roll
    there is. It changed 2 of 98 answers on real pictures."""

    # Smoothing.
    smooth_s: float = 0.5
    """Time constant of the probabilities. A spontaneous expression lasts 0.5 to 4 s (Ekman)."""
    hysteresis: float = 0.1
    """By how much another label's probability must lead before it is taken."""
    dwell_s: float = 0.3
    """For how long it must lead."""
    hold_s: float = 0.5
    """How long a label outlives the last good view of the face. Then it is unknown."""
    known_above: float | None = None
    """Smoothed probability from which an expression is known; None is the bundle's own threshold
    for "unsure". It is lost again at ``hysteresis`` below."""

    # Baseline and events.
    baseline_s: float = 20.0
    """Seconds of good view from which the driver's face at rest is learned."""
    use_baseline: bool = False
    """Subtract it. Off: it takes a driver who rests in the first seconds, and that is not known."""
    events: tuple[EventRule, ...] = field(
        default_factory=lambda: (
            *(EventRule(label, 2.0) for label in EMOTIONS if label != "neutral"),
            EventRule("unknown", 3.0),
        )
    )

    # Health.
    deadline_s: float = 0.05
    """A live frame's answer shall not be older. Work is left out where it would be."""
    no_frame_s: float = 0.5
    """Without a frame for so long, the camera is lost; so often a state tells so."""
    frozen_s: float | None = 1.0
    """So long the very same pixels: the camera is frozen. None for stills. A real sensor has
    noise; recordings repeat a frame, but not for a second."""
    black_below: float = 4.0
    """Standard deviation of the frame's brightness under which it shows nothing: an unlit, covered
    or saturated camera. The same as the Predictor's for one face."""
    expected_size: tuple[int, int] | None = None
    """``(width, height)`` in px; None takes the first frame's."""
    expected_hz: float | None = None
    """Frames per second that should come; None expects nothing."""
    watchdog_s: float = 2.0
    """An inference that takes longer is given up, and the next variant is taken."""

    quality: QualityLimits = field(default_factory=QualityLimits)

    def __post_init__(self) -> None:
        for item in fields(self):
            value = getattr(self, item.name)
            if item.name.endswith("_s") and value is not None and not 0 < value < 1e6:
                raise InputError(f"expected {item.name} above 0, in seconds, got {value!r}")
        if self.detect_every < 1 or self.max_persons < 1:
            raise InputError("expected detect_every and max_persons of at least 1")
        x, y, w, h = self.driver_region
        if not (0 <= x < x + w <= 1 + 1e-9 and 0 <= y < y + h <= 1 + 1e-9):
            raise InputError(
                "expected driver_region as (x, y, width, height) in shares of the frame, 0..1, "
                f"got {self.driver_region}"
            )
        if not 0 <= self.hysteresis < 1:
            raise InputError(f"expected a hysteresis from 0 to 1, got {self.hysteresis}")
