"""Steps of a DriverMonitor that outlive the wait for them."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable

from fer_edge.monitor.state import MonitorState

Step = Callable[[], MonitorState | None]
"""Function that makes the next state; None at the end."""


class KeptStep:
    """Outcome of a step whose wait was cancelled, for the next one who asks, in any loop.

    Args:
        lock: Held during a step.
    """

    def __init__(self, lock: threading.RLock) -> None:
        self._lock = lock
        self._kept: list[MonitorState | BaseException | None] = []
        self._pending: asyncio.Task[None] | None = None

    def now(self, step: Step) -> MonitorState | None:
        """Return the kept state, or raise the kept error; else make the step in this thread."""
        with self._lock:
            return self._taken() if self._kept else step()

    async def later(self, step: Step) -> MonitorState | None:
        """Return the kept state, or raise the kept error; else make the step in another thread."""
        while not self._kept:
            task = self._pending
            if task is None or task.done() or task.get_loop() is not asyncio.get_running_loop():
                task = self._pending = asyncio.create_task(asyncio.to_thread(self._keep, step))
            await asyncio.shield(task)  # a wait that is cancelled, as by wait_for, leaves it going
        return self._taken()

    def _keep(self, step: Step) -> None:
        with self._lock:
            if not self._kept:
                try:
                    self._kept.append(step())
                except BaseException as error:
                    self._kept.append(error)

    def _taken(self) -> MonitorState | None:
        state = self._kept.pop()
        if isinstance(state, BaseException):
            try:
                raise state
            finally:
                del state  # its traceback holds this frame
        return state
