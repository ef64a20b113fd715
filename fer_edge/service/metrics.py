"""Metrics for Prometheus: counts and times, no expressions."""

from __future__ import annotations

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    generate_latest,
)

_SECONDS = (0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30)


class Metrics:
    """Metrics of one application, in a registry of its own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        self.requests = Counter(
            "fer_edge_requests", "Answered requests.", ("path", "status"), registry=self.registry
        )
        self.request_s = Histogram(
            "fer_edge_request_seconds",
            "Seconds from a request's head to the end of its answer.",
            ("path",),
            buckets=_SECONDS,
            registry=self.registry,
        )
        self.infer_s = Histogram(
            "fer_edge_inference_seconds",
            "Seconds of one run of the engine.",
            buckets=_SECONDS,
            registry=self.registry,
        )
        self.batch_faces = Histogram(
            "fer_edge_batch_faces",
            "Faces in one run of the engine.",
            buckets=(1, 2, 4, 8, 16, 32, 64),
            registry=self.registry,
        )
        self.pending = Gauge(
            "fer_edge_pending_pictures",
            "Images that arrived and are not answered yet.",
            registry=self.registry,
        )
        self.live = Gauge(
            "fer_edge_live_connections", "Open live connections.", registry=self.registry
        )
        self.frames = Counter(
            "fer_edge_live_frames",
            "Live frames: answered, dropped for a newer one, or refused.",
            ("outcome",),
            registry=self.registry,
        )

    def text(self) -> bytes:
        """Return the metrics in Prometheus' text format."""
        return generate_latest(self.registry)
