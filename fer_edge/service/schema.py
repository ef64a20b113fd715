"""Answers of the service, as /openapi.json describes them."""

from __future__ import annotations

from pydantic import BaseModel, Field

from fer_edge.monitor import PersonState
from fer_edge.preprocess import Box
from fer_edge.results import Prediction

_BUNDLE = "File name of the bundle that answered."
_BUNDLE_SHA256 = "SHA-256 of its bundle.json, which vouches for all its files; empty if in memory."
_COMPATIBLE = "The same as label: the name that POST /predict/ has published. Prefer label."


class FaceAnswer(BaseModel):
    """Expression of one face."""

    label: str = Field(description="The likeliest expression, also if uncertain.")
    emotion: str = Field(description=_COMPATIBLE)
    confidence: float = Field(description="Calibrated probability of the label, 0..1.")
    probabilities: dict[str, float] = Field(description="Probability by label; they sum to 1.")
    box: Box = Field(description="x, y, width, height in pixels of the upright image.")
    uncertain: bool = Field(description="True: do not act on the label.")
    reason: str | None = Field(description="Sentence that explains why the face is uncertain.")

    @classmethod
    def of(cls, prediction: Prediction, box: Box) -> FaceAnswer:
        """Return the answer for a Prediction and its box."""
        return cls(
            label=prediction.label,
            emotion=prediction.label,
            confidence=prediction.confidence,
            probabilities=dict(prediction.probabilities),
            box=box,
            uncertain=prediction.uncertain,
            reason=prediction.reason,
        )


class TimesResponse(BaseModel):
    """Milliseconds in the server. ``predict_ms`` includes the wait for the engine."""

    decode_ms: float
    detect_ms: float
    predict_ms: float


class PictureAnswer(BaseModel):
    """All faces of one image, the most confident detection first."""

    faces: list[FaceAnswer]
    width_px: int = Field(description="Width after the EXIF orientation is applied.")
    height_px: int = Field(description="Height after the EXIF orientation is applied.")
    whole_picture: bool = Field(
        description="True: the server has no face detector and took the image as one face."
    )
    times: TimesResponse
    bundle: str = Field(description=_BUNDLE)
    bundle_sha256: str = Field(description=_BUNDLE_SHA256)


class LivePerson(BaseModel):
    """State of one person, smoothed over the earlier frames."""

    person: int = Field(description="Number of the person on this connection.")
    label: str | None = Field(description="Expression; null if unknown.")
    emotion: str | None = Field(description=_COMPATIBLE)
    confidence: float = Field(description="Smoothed probability of the label, 0..1; 0 if unknown.")
    probabilities: dict[str, float] | None = Field(
        description="Smoothed probability by label; null without a recent good view."
    )
    box: Box = Field(description="x, y, width, height in pixels; the last box of a lost face.")
    uncertain: bool = Field(description="True: the expression is unknown.")
    reason: str | None = Field(description="Sentence that explains an unknown expression.")
    cause: str | None = Field(description="Word for programs that names the cause.")
    since_s: float = Field(description="Seconds that the label, or unknown, has held.")

    @classmethod
    def of(cls, state: PersonState) -> LivePerson:
        """Return the answer for a PersonState."""
        return cls(
            person=state.person,
            label=state.label,
            emotion=state.label,
            confidence=state.confidence,
            probabilities=None if state.probabilities is None else dict(state.probabilities),
            box=state.box,
            uncertain=state.uncertain,
            reason=state.reason,
            cause=state.cause,
            since_s=state.since_s,
        )


class LiveAnswer(BaseModel):
    """State after one frame."""

    frame: int = Field(description="Number of the frame on this connection, from 1.")
    dropped: int = Field(description="Earlier frames that were dropped for newer ones.")
    age_ms: float = Field(description="Milliseconds from the frame's arrival to this answer.")
    faces: list[LivePerson]
    width_px: int
    height_px: int
    whole_picture: bool = Field(description="True: the frame was taken as one face.")
    health: str = Field(description="ok, degraded, or lost (the frame shows nothing usable).")
    health_reasons: list[str] = Field(description="One sentence per fault.")
    times: TimesResponse
    bundle: str = Field(description=_BUNDLE)
    bundle_sha256: str = Field(description=_BUNDLE_SHA256)


class ErrorAnswer(BaseModel):
    """Error of one request."""

    error: str = Field(description="Sentence: what was expected, what came, what to do.")


class HealthResponse(BaseModel):
    """Sign of life."""

    status: str = Field(description="ok")
    bundle: str = Field(description="File name of the bundle that answers now.")
    bundle_sha256: str = Field(description=_BUNDLE_SHA256)


class Info(BaseModel):
    """Versions and limits of this server."""

    version: str = Field(description="Version of fer_edge.")
    model: str = Field(description="File name of the bundle.")
    bundle_sha256: str = Field(description=_BUNDLE_SHA256)
    variant: str = Field(description="Target and precision in use on this machine.")
    labels: list[str] = Field(description="All labels.")
    detector: str | None = Field(description="Face detector; null takes each image as one face.")
    max_bytes: int = Field(description="Most bytes of one request or live frame.")
    max_pixels: int = Field(description="Most pixels of one image.")
