"""Routes of the service."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any

from fastapi import FastAPI, Request, Response

import fer_edge
from fer_edge.monitor import Detector
from fer_edge.predictor import Predictor
from fer_edge.service.body import FIELD, picture_of, whole_body
from fer_edge.service.limits import Buffer, ServiceLimits
from fer_edge.service.live import Live
from fer_edge.service.metrics import Metrics
from fer_edge.service.recogniser import Recogniser
from fer_edge.service.refusals import RefusedError
from fer_edge.service.schema import ErrorAnswer, HealthResponse, Info, LiveAnswer, PictureAnswer

_REFUSALS: dict[int | str, dict[str, Any]] = {
    400: {"model": ErrorAnswer, "description": "The form or JSON differs from the description."},
    401: {"model": ErrorAnswer, "description": "The token is missing or wrong."},
    403: {"model": ErrorAnswer, "description": "The request comes from a page of another site."},
    408: {"model": ErrorAnswer, "description": "The request is too slow."},
    413: {"model": ErrorAnswer, "description": "The request has too many bytes."},
    415: {
        "model": ErrorAnswer,
        "description": "The body is compressed, or no image, form or JSON.",
    },
    422: {
        "model": ErrorAnswer,
        "description": "The image is damaged, no image, or has too many pixels.",
    },
    429: {
        "model": ErrorAnswer,
        "description": "The client sends too many requests; see Retry-After.",
    },
    503: {"model": ErrorAnswer, "description": "The server is busy; see Retry-After."},
}
_LIVE: dict[int | str, dict[str, Any]] = {
    200: {"model": LiveAnswer, "description": "Each message after the upgrade."},
    **{status: _REFUSALS[status] for status in (401, 403, 429, 503)},
    426: {"model": ErrorAnswer, "description": "The request has no WebSocket upgrade."},
}
_PICTURE: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "required": [FIELD],
                    "properties": {FIELD: {"type": "string", "format": "binary"}},
                }
            },
            "application/json": {
                "schema": {
                    "type": "object",
                    "required": [FIELD],
                    "additionalProperties": False,
                    "properties": {FIELD: {"type": "string", "format": "byte"}},
                }
            },
            "image/*": {"schema": {"type": "string", "format": "binary"}},
        },
    }
}


@dataclass(frozen=True)
class Routes:
    """Answers of the service, by path. Their first lines are its description for clients.

    Attributes:
        predictor: Classifies the faces.
        detector: Finds the faces, or None.
        recogniser: Classifies all faces of a picture.
        limits: Limits of clients.
        metrics: Counts and times of the service.
        buffer: Memory for bodies of requests.
    """

    predictor: Predictor
    detector: Detector | None
    recogniser: Recogniser
    limits: ServiceLimits
    metrics: Metrics
    buffer: Buffer

    def add_to(self, app: FastAPI) -> None:
        """Add all routes to the application."""
        post = partial(app.add_api_route, endpoint=self.predict, methods=["POST"])
        post("/predict", responses=_REFUSALS, openapi_extra=_PICTURE)
        post("/predict/", include_in_schema=False)
        app.add_api_websocket_route("/live", Live(self.recogniser, self.limits, self.metrics).serve)
        app.add_api_route("/live", self.live_without_upgrade, responses=_LIVE)
        app.add_api_route("/info", self.info, responses={401: _REFUSALS[401]})
        app.add_api_route("/healthz", self.healthz)
        app.add_api_route(
            "/metrics", self.prometheus, response_class=Response, responses={401: _REFUSALS[401]}
        )

    async def predict(self, request: Request) -> PictureAnswer:
        """Classify all faces in one image: JPEG, PNG, BMP or WebP."""
        kind = request.headers.get("content-type", "")
        async with whole_body(request, self.limits, self.buffer) as body:
            return await self.recogniser.recognise(partial(picture_of, body, kind))

    async def live_without_upgrade(self) -> None:
        """Classify live frames over a WebSocket.

        Send each frame as one binary message: JPEG, PNG, BMP or WebP. Each answer is one JSON
        message. While the server processes a frame, it keeps the newest of the arriving frames and
        drops the others. An unusable frame is answered with an error.
        """
        raise RefusedError(426, "expected a WebSocket; see /docs")

    async def info(self) -> Info:
        """Return the versions and limits of this server."""
        return Info(
            version=fer_edge.__version__,
            model=self.predictor.bundle.path.name,
            bundle_sha256=self.predictor.bundle.sha256,
            variant=self.predictor.variant.name,
            labels=list(self.predictor.labels),
            detector=None if self.detector is None else type(self.detector).__name__,
            max_bytes=self.limits.body_bytes,
            max_pixels=self.limits.pixels,
        )

    async def healthz(self) -> HealthResponse:
        """Return a sign of life."""
        bundle = self.predictor.bundle
        return HealthResponse(status="ok", bundle=bundle.path.name, bundle_sha256=bundle.sha256)

    async def prometheus(self) -> Response:
        """Return counts and times for Prometheus, without expressions."""
        kind = "text/plain; version=0.0.4; charset=utf-8"
        return Response(self.metrics.text(), media_type=kind)
