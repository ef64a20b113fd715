"""Answer pictures in an application of your own, behind a proxy.

    pip install 'fer-edge[serve,detect]'
    python examples/fastapi_app.py --host-name faces.example.org

``POST /mood`` is a route of the application. The complete service of ``fer-edge serve``, with its
page, limits and metrics, is mounted at ``/faces``. The proxy speaks TLS, and passes Host,
X-Forwarded-For and X-Forwarded-Proto on: docs/how-to/serve-behind-tls.md has its configuration.
"""

import argparse
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import uvicorn
from fastapi import FastAPI, HTTPException, Request
from starlette.concurrency import run_in_threadpool

from fer_edge import InputError, Predictor, analyze
from fer_edge.monitor import Detector, default_detector
from fer_edge.service.app import create_app

MOST_BYTES = 8 * 1024 * 1024


def application(
    predictor: Predictor, detector: Detector | None, hosts: tuple[str, ...] = ()
) -> FastAPI:
    """Create the application. The caller closes the Predictor."""
    service = create_app(predictor, detector, hosts=hosts)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        async with service.router.lifespan_context(service):  # a mounted application's is not run
            yield

    app = FastAPI(lifespan=lifespan)
    app.mount("/faces", service)

    @app.post("/mood")
    async def mood(request: Request) -> dict:
        """Take a JPEG, PNG, BMP or WebP as the body."""
        body = bytearray()
        async for part in request.stream():
            body += part
            if len(body) > MOST_BYTES:
                raise HTTPException(413, f"expected at most {MOST_BYTES} bytes")
        try:  # in a thread: the event loop must answer others meanwhile
            faces = await run_in_threadpool(analyze, bytes(body), predictor, detector)
        except InputError as error:
            raise HTTPException(422, str(error)) from error
        sure = [face.prediction.label for face in faces if not face.prediction.uncertain]
        return {"faces": len(faces), "moods": sure}

    return app


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, default=8000)
    parser.add_argument("--host-name", action="append", default=[], help="name that clients use")
    parser.add_argument("--proxy", default="127.0.0.1", help="address of the proxy")
    words = parser.parse_args()
    with Predictor() as predictor:
        predictor.warm_up((1, 2, 4))
        app = application(predictor, default_detector(), tuple(words.host_name))
        # Headers of the proxy are believed, those of others are not: they could fake addresses.
        uvicorn.run(app, port=words.port, proxy_headers=True, forwarded_allow_ips=words.proxy)


if __name__ == "__main__":
    main()
