"""What the service answers; also what /openapi.json says about it."""

from __future__ import annotations

from pydantic import BaseModel, Field

from fer_edge.monitor import PersonState
from fer_edge.preprocess import Box
from fer_edge.results import Prediction


class FaceAnswer(BaseModel):
    """One face. uncertain means "I don't know", and reason says why."""

    emotion: str = Field(description="Canonical name of the likeliest emotion, also if uncertain.")
    confidence: float = Field(description="Its calibrated probability, 0..1.")
    probabilities: dict[str, float] = Field(description="By name; 1 in all.")
    box: Box = Field(description="x, y, width, height in pixels of the upright picture.")
    uncertain: bool = Field(description="True: do not act on the emotion.")
    reason: str | None = Field(description="Why it is uncertain, as a sentence.")

    @classmethod
    def of(cls, prediction: Prediction, box: Box) -> FaceAnswer:
        return cls(
            emotion=prediction.label,
            confidence=prediction.confidence,
            probabilities=dict(prediction.probabilities),
            box=box,
            uncertain=prediction.uncertain,
            reason=prediction.reason,
        )


class TimesResponse(BaseModel):
    """Milliseconds in the server. predict includes waiting for the engine."""

    decode_ms: float
    detect_ms: float
    predict_ms: float


class PictureAnswer(BaseModel):
    """All faces of one picture, the surest detection first."""

    faces: list[FaceAnswer]
    width_px: int = Field(description="Of the upright picture: EXIF orientation is applied.")
    height_px: int
    whole_picture: bool = Field(
        description="True: the server has no face detector and took all of the picture as one face."
    )
    times: TimesResponse


class LivePerson(BaseModel):
    """One person now, smoothed over the frames before."""

    person: int = Field(description="Stays with the person on this connection.")
    emotion: str | None = Field(description="Canonical name; null is unknown.")
    confidence: float = Field(description="Its smoothed probability, 0..1; 0 if unknown.")
    probabilities: dict[str, float] | None = Field(
        description="Smoothed, by name; null if there is nothing recent."
    )
    box: Box = Field(description="x, y, width, height in pixels; of a lost face the last one.")
    uncertain: bool = Field(description="True: the emotion is unknown.")
    reason: str | None = Field(description="Why it is unknown, as a sentence.")
    cause: str | None = Field(description="The same as a word for programs.")
    since_s: float = Field(description="For how long the emotion, or unknown, has held.")

    @classmethod
    def of(cls, state: PersonState) -> LivePerson:
        return cls(
            person=state.person,
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
    """The state after one frame."""

    frame: int = Field(description="Which frame this answers, counted from 1.")
    dropped: int = Field(description="Frames before it that were passed over for newer ones.")
    age_ms: float = Field(description="From the frame's arrival to this answer.")
    faces: list[LivePerson]
    width_px: int
    height_px: int
    whole_picture: bool = Field(description="True: the whole frame was taken as one face.")
    health: str = Field(description="ok, degraded, or lost: the frame shows nothing of now.")
    health_reasons: list[str] = Field(description="A sentence for each cause.")
    times: TimesResponse


class ErrorAnswer(BaseModel):
    error: str = Field(description="A sentence: expected, got, what to do.")


class HealthResponse(BaseModel):
    status: str = Field(description="ok")


class Info(BaseModel):
    """What this server runs."""

    version: str
    model: str = Field(description="Name of the bundle.")
    variant: str = Field(description="Target and precision that were taken on this machine.")
    labels: list[str]
    detector: str | None = Field(description="None: the whole picture is taken as one face.")
    max_bytes: int = Field(description="Of one request or live frame.")
    max_pixels: int = Field(description="Of one picture.")
