"""Application of the service: its routes."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from functools import partial
from importlib import resources
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

import fer_edge
from fer_edge.errors import FerEdgeError, InputError
from fer_edge.monitor import Detector
from fer_edge.predictor import Predictor
from fer_edge.service.body import FIELD, picture_of, whole_body
from fer_edge.service.example import example_picture
from fer_edge.service.limits import Buffer, ServiceLimits
from fer_edge.service.live import Live
from fer_edge.service.metrics import Metrics
from fer_edge.service.origins import Origins
from fer_edge.service.recogniser import Recogniser
from fer_edge.service.refusals import RefusedError, answer_to, refusal_for
from fer_edge.service.schema import ErrorAnswer, HealthResponse, Info, LiveAnswer, PictureAnswer
from fer_edge.service.security import SecurityMiddleware
from fer_edge.signing import Key

# Static files by path. A request selects one of these and never reaches the file system.
_FILES = {
    "/": ("index.html", "text/html; charset=utf-8"),
    "/docs": ("docs.html", "text/html; charset=utf-8"),
    "/static/style.css": ("style.css", "text/css; charset=utf-8"),
    "/static/page.js": ("page.js", "text/javascript; charset=utf-8"),
    "/static/client.js": ("client.js", "text/javascript; charset=utf-8"),
    "/static/faces.js": ("faces.js", "text/javascript; charset=utf-8"),
    "/static/history.js": ("history.js", "text/javascript; charset=utf-8"),
    "/static/docs.js": ("docs.js", "text/javascript; charset=utf-8"),
    "/static/icon.svg": ("icon.svg", "image/svg+xml"),
}

_EXAMPLE = "/static/example.jpg"
"""Path of the page's example picture."""

_ABOUT = (
    "Facial expressions of all faces in an image, or of persons over time. The server stores and "
    "logs nothing of an image. If the server has a token, send `Authorization: Bearer TOKEN`. "
    "Browsers send it to a WebSocket as the subprotocol `fer-edge.bearer.`, followed by the token "
    "in base64url, beside the subprotocol `fer-edge`."
)

_REFUSALS: dict[int | str, dict[str, Any]] = {
    400: {"model": ErrorAnswer, "description": "The form or JSON differs from the description."},
    401: {"model": ErrorAnswer, "description": "The token is missing or wrong."},
    403: {"model": ErrorAnswer, "description": "The request comes from a page of another site."},
    408: {"model": ErrorAnswer, "description": "The request is too slow."},
    413: {"model": ErrorAnswer, "description": "The request has too many bytes."},
    415: {"model": ErrorAnswer, "description": "The request is no image, form or JSON."},
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


def create_app(
    predictor: Predictor,
    detector: Detector | None = None,
    *,
    token: str | None = None,
    hosts: tuple[str, ...] = (),
    origins: tuple[str, ...] = (),
    limits: ServiceLimits | None = None,
    trusted_keys: Sequence[Key] | None = None,
) -> FastAPI:
    """Create the ASGI application of the service.

    Run it with ``service.server.serve``, which also limits slow clients.

    Args:
        predictor: Classifies the faces. The caller closes it.
        detector: Finds the faces. None takes each image as one face.
        token: Bearer token for all paths but the page and /healthz. None admits everybody.
        hosts: Names of the server besides localhost and IP addresses.
        origins: Other sites whose pages may use the service, such as "http://localhost:3000".
        limits: Limits of clients. None uses the defaults.
        trusted_keys: As for Predictor. The predictor's bundle is verified at once, and each bundle
            that is swapped in later. None leaves it to the predictor.

    Raises:
        BundleError: The bundle is not signed by a trusted key.
        InputError: The token is not visible ASCII, or an origin is not one.
    """
    if token is not None and not re.fullmatch(r"[!-~]+", token):  # limits of a header
        raise InputError(
            "expected a token of visible ASCII characters without spaces. Choose another one"
        )
    if trusted_keys is not None:
        predictor.trust(trusted_keys)
    limits = limits or ServiceLimits()
    metrics = Metrics()
    recogniser = Recogniser(predictor, detector, limits, metrics)
    live = Live(recogniser, limits, metrics)
    buffer = Buffer(limits.buffered_bytes)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        yield
        recogniser.close()

    app = FastAPI(
        title="fer_edge",
        version=fer_edge.__version__,
        description=_ABOUT,
        docs_url=None,  # FastAPI's own pages load their scripts from another host
        redoc_url=None,
        lifespan=lifespan,
    )

    @app.post("/predict", responses=_REFUSALS, openapi_extra=_PICTURE)
    @app.post("/predict/", include_in_schema=False)
    async def predict(request: Request) -> PictureAnswer:
        """Classify all faces in one image: JPEG, PNG, BMP or WebP."""
        kind = request.headers.get("content-type", "")
        async with whole_body(request, limits, buffer) as body:
            return await recogniser.recognise(partial(picture_of, body, kind))

    app.add_api_websocket_route("/live", live.serve)

    @app.get("/live", responses=_LIVE)
    async def live_without_upgrade() -> None:
        """Classify live frames over a WebSocket.

        Send each frame as one binary message: JPEG, PNG, BMP or WebP. Each answer is one JSON
        message. While the server processes a frame, it keeps the newest of the arriving frames and
        drops the others. An unusable frame is answered with an error.
        """
        raise RefusedError(426, "expected a WebSocket; see /docs")

    @app.get("/info", responses={401: _REFUSALS[401]})
    async def info() -> Info:
        """Return the versions and limits of this server."""
        return Info(
            version=fer_edge.__version__,
            model=predictor.bundle.path.name,
            bundle_sha256=predictor.bundle.sha256,
            variant=predictor.variant.name,
            labels=list(predictor.labels),
            detector=None if detector is None else type(detector).__name__,
            max_bytes=limits.body_bytes,
            max_pixels=limits.pixels,
        )

    @app.get("/healthz")
    async def healthz() -> HealthResponse:
        """Return a sign of life."""
        bundle = predictor.bundle
        return HealthResponse(status="ok", bundle=bundle.path.name, bundle_sha256=bundle.sha256)

    @app.get("/metrics", response_class=Response, responses={401: _REFUSALS[401]})
    async def prometheus() -> Response:
        """Return counts and times for Prometheus, without expressions."""
        return Response(metrics.text(), media_type="text/plain; version=0.0.4; charset=utf-8")

    for path, (name, media_type) in _FILES.items():
        data = resources.files("fer_edge.service").joinpath("static", name).read_bytes()
        app.add_api_route(path, partial(_file, data, media_type), include_in_schema=False)
    example = example_picture() if detector is not None else example_picture(0)
    app.add_api_route(_EXAMPLE, partial(_file, example, "image/jpeg"), include_in_schema=False)

    app.add_exception_handler(FerEdgeError, _refused)
    app.add_exception_handler(HTTPException, _http_error)
    app.add_exception_handler(Exception, _failed)
    app.state.recogniser = recogniser  # server.serve asks it whether a thread still works
    paths = frozenset(route.path for route in app.routes if hasattr(route, "path"))
    app.add_middleware(
        SecurityMiddleware,
        token=token,
        hosts=hosts,
        origins=Origins(origins),
        paths=paths,
        open_paths=frozenset(_FILES) | {_EXAMPLE, "/healthz", "/openapi.json"},
        limits=limits,
        metrics=metrics,
    )
    return app


def _file(data: bytes, media_type: str) -> Response:
    return Response(data, media_type=media_type)


async def _refused(_: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, FerEdgeError)
    return answer_to(refusal_for(error))


async def _http_error(_: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)
    return answer_to(RefusedError(error.status_code, str(error.detail)))


async def _failed(_: Request, error: Exception) -> JSONResponse:
    return answer_to(RefusedError(500, "the server could not answer this. Its log says why"))
