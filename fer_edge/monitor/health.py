"""Whether the answers can be relied on, part by part."""

from __future__ import annotations

from fer_edge.monitor.state import Health, Status

_WORST_FIRST: tuple[Status, ...] = ("lost", "degraded")


class HealthMonitor:
    """Holds one finding for each part (camera, picture, size, rate, detector, model, deadline)."""

    def __init__(self) -> None:
        self._findings: dict[str, tuple[Status, str]] = {}

    def report(self, part: str, status: Status, reason: str) -> None:
        self._findings[part] = status, reason

    def clear(self, *parts: str) -> None:
        for part in parts:
            self._findings.pop(part, None)

    def state(self) -> Health:
        """The worst status, and all reasons, the worst first."""
        reasons = [
            (status, reason)
            for status in _WORST_FIRST
            for found, reason in self._findings.values()
            if found == status
        ]
        return (
            Health(reasons[0][0], tuple(reason for _, reason in reasons)) if reasons else Health()
        )
