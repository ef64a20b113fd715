"""Errors as HTTP answers: status, sentence and Retry-After."""

from __future__ import annotations

import logging
import math

from starlette.responses import JSONResponse

from fer_edge.errors import FerEdgeError, InputError
from fer_edge.service.headers import SECURITY_HEADERS

log = logging.getLogger("fer_edge.service")


class RefusedError(FerEdgeError):
    """Request that is answered with an HTTP error.

    Attributes:
        status: HTTP status.
        retry_after_s: seconds until another try is worth it, or None.
    """

    def __init__(self, status: int, sentence: str, *, retry_after_s: float | None = None) -> None:
        super().__init__(sentence)
        self.status = status
        self.retry_after_s = retry_after_s


def refusal_for(error: FerEdgeError) -> RefusedError:
    """Return an error's answer to a client.

    The cause inside an engine goes to the log alone.
    """
    if isinstance(error, RefusedError):
        return error
    if isinstance(error, InputError):
        return RefusedError(422, str(error))
    log.error("%s: %s", type(error).__name__, error)
    return RefusedError(500, "the server could not answer this. Its log says why")


def answer_to(refusal: RefusedError) -> JSONResponse:
    """Return the HTTP answer, with its security headers."""
    headers = dict(SECURITY_HEADERS)
    if refusal.retry_after_s is not None:
        headers["Retry-After"] = str(math.ceil(refusal.retry_after_s))
    if refusal.status == 401:
        headers["WWW-Authenticate"] = "Bearer"
    return JSONResponse({"error": str(refusal)}, refusal.status, headers)
