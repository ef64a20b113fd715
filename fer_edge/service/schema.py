"""What the service answers; also what /openapi.json says about it."""

from __future__ import annotations

from pydantic import BaseModel, Field

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


class Times(BaseModel):
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
    times: Times


class ErrorAnswer(BaseModel):
    error: str = Field(description="A sentence: expected, got, what to do.")


class Health(BaseModel):
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
