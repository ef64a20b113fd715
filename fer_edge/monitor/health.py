"""Health of the monitor, part by part."""

from __future__ import annotations

import logging

from fer_edge.monitor.causes import HealthCause
from fer_edge.monitor.state import Health, HealthFinding, Status

_WORST_FIRST: tuple[Status, ...] = ("lost", "degraded")
_QUIET_PARTS = {"deadline"}
"""Parts whose faults are logged at INFO: a slow machine misses deadlines again and again."""


class HealthMonitor:
    """Current fault of each part of the monitor.

    A part has one fault at a time.

    Args:
        log: Gets a WARNING when a fault begins, and INFO when it ends. None logs nothing.
    """

    def __init__(self, log: logging.Logger | None = None) -> None:
        self._log = log
        self._findings: dict[str, HealthFinding] = {}
        self._logged: dict[str, tuple[HealthCause, Status, str]] = {}

    def report(self, cause: HealthCause, severity: Status, reason: str, kind: str = "") -> None:
        """Set the fault of the cause's part, replacing an earlier one.

        Args:
            cause: The fault, for programs.
            severity: "degraded" or "lost".
            reason: Sentence for people. It may change while the fault lasts.
            kind: Distinguishes faults of one cause: a new kind is logged as a new fault.
        """
        part = cause.part
        self._findings[part] = HealthFinding(cause, severity, reason)
        if self._log is not None and self._logged.get(part) != (cause, severity, kind):
            self._logged[part] = cause, severity, kind
            level = logging.INFO if part in _QUIET_PARTS else logging.WARNING
            self._log.log(level, "%s %s: %s", part, severity, reason)

    def clear(self, part: str) -> None:
        """Remove the fault of a part, if it has one."""
        self._findings.pop(part, None)
        if self._logged.pop(part, None) is not None and self._log is not None:
            self._log.info("%s ok again", part)

    def state(self) -> Health:
        """Return the worst status and all faults, the worst first."""
        findings = sorted(
            self._findings.values(), key=lambda finding: _WORST_FIRST.index(finding.severity)
        )
        if not findings:
            return Health()
        reasons = tuple(finding.reason for finding in findings)
        return Health(findings[0].severity, reasons, tuple(findings))
