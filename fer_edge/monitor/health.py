"""Health of the monitor, part by part."""

from __future__ import annotations

import logging

from fer_edge.monitor.state import Health, Status

_WORST_FIRST: tuple[Status, ...] = ("lost", "degraded")
_QUIET_PARTS = {"deadline"}
"""Parts whose faults are logged at INFO: a slow machine misses deadlines again and again."""


class HealthMonitor:
    """Current fault of each part of the monitor.

    The parts are camera, picture, size, rate, detector, model and deadline.

    Args:
        log: Gets a WARNING when a fault begins, and INFO when it ends. None logs nothing.
    """

    def __init__(self, log: logging.Logger | None = None) -> None:
        self._log = log
        self._faults: dict[str, tuple[Status, str]] = {}
        self._logged: dict[str, tuple[Status, str]] = {}

    def report(self, part: str, status: Status, reason: str, kind: str = "") -> None:
        """Set the fault of a part, in place of an earlier one.

        Args:
            part: Name of the part.
            status: "degraded" or "lost".
            reason: Sentence for people. It may change while the fault lasts.
            kind: Distinguishes faults of one part: a new kind is logged as a new fault.
        """
        self._faults[part] = status, reason
        if self._log is not None and self._logged.get(part) != (status, kind):
            self._logged[part] = status, kind
            level = logging.INFO if part in _QUIET_PARTS else logging.WARNING
            self._log.log(level, "%s %s: %s", part, status, reason)

    def clear(self, part: str) -> None:
        """Remove the fault of a part, if it has one."""
        self._faults.pop(part, None)
        if self._logged.pop(part, None) is not None and self._log is not None:
            self._log.info("%s ok again", part)

    def state(self) -> Health:
        """Return the worst status and all reasons, the worst first."""
        faults = sorted(self._faults.values(), key=lambda fault: _WORST_FIRST.index(fault[0]))
        if not faults:
            return Health()
        return Health(faults[0][0], tuple(reason for _, reason in faults))
