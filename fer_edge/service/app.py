"""Application of the service."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from functools import partial
from importlib import resources

from fastapi import FastAPI, Request, Response
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

import fer_edge
from fer_edge.errors import FerEdgeError, InputError
from fer_edge.monitor import Detector
from fer_edge.monitor.detector import check_detector
from fer_edge.predictor import Predictor
from fer_edge.service.example import example_picture
from fer_edge.service.limits import Buffer, ServiceLimits
from fer_edge.service.metrics import Metrics
from fer_edge.service.origins import Origins
from fer_edge.service.recogniser import Recogniser
from fer_edge.service.refusals import RefusedError, answer_to, refusal_for
from fer_edge.service.routes import Routes
from fer_edge.service.security import SecurityMiddleware, check_hosts, check_names
from fer_edge.shown import shown
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
        InputError: The token is not visible ASCII, a host or an origin is malformed, or an argument
            has another type.
    """
    _check_arguments(predictor, token, limits)
    check_names(hosts, "hosts")
    check_names(origins, "origins")
    check_hosts(hosts)
    if trusted_keys is not None:
        predictor.trust(trusted_keys)
    if detector is not None:
        check_detector(detector)
    if limits is None:
        limits = ServiceLimits()
    metrics = Metrics()
    recogniser = Recogniser(predictor, detector, limits, metrics)

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
        redirect_slashes=False,  # behind a proxy, its address would be wrong
    )
    buffer = Buffer(limits.buffered_bytes)
    Routes(predictor, detector, recogniser, limits, metrics, buffer).add_to(app)
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


def _check_arguments(predictor: object, token: object, limits: object) -> None:
    """Raise InputError for arguments of another type, and for a token that no header carries."""
    if not isinstance(predictor, Predictor):
        raise InputError(f"expected a Predictor, got {shown(predictor)}. Pass Predictor(BUNDLE)")
    is_text = isinstance(token, str) and re.fullmatch(r"[!-~]+", token)
    if token is not None and not is_text:  # a secret: it is not shown
        raise InputError(
            "expected a token of visible ASCII characters without spaces. Choose another one"
        )
    if not isinstance(limits, ServiceLimits | None):
        raise InputError(f"expected limits, got {shown(limits)}. Pass ServiceLimits(live=2)")


def _file(data: bytes, media_type: str) -> Response:
    return Response(data, media_type=media_type)


async def _refused(_: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, FerEdgeError)
    return answer_to(refusal_for(error))


async def _http_error(_: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)
    headers = error.headers or {}
    sentence = str(error.detail)
    if error.status_code == 404:
        sentence = "there is nothing at this path. See /docs"
    elif error.status_code == 405:
        sentence = f"expected the method {headers.get('Allow')} here. See /docs"
    answer = answer_to(RefusedError(error.status_code, sentence))
    answer.headers.update(headers)
    return answer


async def _failed(_: Request, error: Exception) -> JSONResponse:
    return answer_to(RefusedError(500, "the server could not answer this. Its log says why"))
