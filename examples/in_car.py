"""Watch several cameras in a car, and print events and health as JSON lines.

    python examples/in_car.py CAMERA... [--bundle driver.fer] [--detector yunet.onnx]

CAMERA is an index, a device, an RTSP address, or a clip. Clips end; a camera that fails is reported
and opened again. All cameras share one engine. SIGTERM and Ctrl-C end the program with exit code 0.

For supervisors: ``--alive FILE`` touches a file while every camera gets answers, and systemd's
``READY=1`` and ``WATCHDOG=1`` are sent if NOTIFY_SOCKET is set. See examples/deploy.
"""

import argparse
import json
import os
import signal
import socket
import sys
import threading
import time
from pathlib import Path

from fer_edge import FerEdgeError, Predictor
from fer_edge.monitor import DriverMonitor, Event, EventRule, Health, Settings, default_detector

SILENT_S = 5.0
"""Seconds without a state until a camera's thread counts as hung. Without frames, a state comes
every ``Settings.no_frame_s``."""

_printing = threading.Lock()


def report(camera: str, kind: str, content: dict) -> None:
    """Print one line of JSON. Replace this function by your bus, file or queue."""
    with _printing:
        print(json.dumps({"camera": camera, kind: content}), flush=True)


def notify(message: str) -> None:
    """Send a message to systemd, if it started this process."""
    if address := os.environ.get("NOTIFY_SOCKET"):
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notifier:
            notifier.sendto(message.encode(), address.replace("@", "\0", 1))


class Watch(threading.Thread):
    """Thread that iterates one camera's monitor."""

    def __init__(self, camera: str, predictor: Predictor, words: argparse.Namespace) -> None:
        super().__init__(name=f"camera {camera}", daemon=True)
        self.camera, self.error = camera, None
        self.last_s = time.monotonic()
        settings = (
            Settings.from_file(words.settings)
            if words.settings
            else Settings(events=tuple(EventRule(label, min_s=1.0) for label in predictor.labels))
        )
        self.monitor = DriverMonitor(
            predictor,
            int(camera) if camera.isdigit() else camera,
            # Each camera has a detector of its own, so that none waits for another.
            detector=default_detector(words.detector, width_px=320),
            settings=settings,
            on_event=self.on_event,
            on_health=self.on_health,
        )

    def on_event(self, event: Event) -> None:
        report(self.camera, "event", event.as_dict())

    def on_health(self, health: Health) -> None:
        report(self.camera, "health", health.as_dict())

    @property
    def reason(self) -> str:
        """Sentence of the package's own errors; others with their type."""
        return str(self.error) if isinstance(self.error, FerEdgeError) else repr(self.error)

    def run(self) -> None:
        try:
            for _ in self.monitor:
                self.last_s = time.monotonic()
        except Exception as error:  # a missing file or your own code; cameras never end up here
            self.error = error
        finally:
            self.monitor.close()


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("cameras", nargs="+", metavar="CAMERA")
    parser.add_argument("--bundle", help="bundle to run (default: the one of the package)")
    parser.add_argument("--detector", help="YuNet's ONNX file (default: the installed detector)")
    parser.add_argument("--settings", help="JSON file with the monitor's settings")
    parser.add_argument("--alive", type=Path, help="touch this file while all cameras answer")
    words = parser.parse_args()

    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())

    try:
        with Predictor(words.bundle, threads=1) as predictor:
            predictor.warm_up()
            watches = [Watch(camera, predictor, words) for camera in words.cameras]
            for watch in watches:
                watch.start()
            notify("READY=1")
            while any(watch.is_alive() for watch in watches) and not stop.wait(0.5):
                running = [watch for watch in watches if watch.is_alive()]
                failed = any(watch.error for watch in watches)
                if not failed and all(
                    time.monotonic() - watch.last_s < SILENT_S for watch in running
                ):
                    notify("WATCHDOG=1")
                    if words.alive:
                        words.alive.touch()
            notify("STOPPING=1")
            for watch in watches:
                watch.monitor.close()  # returns within a second, also if the camera hangs
                watch.join(2)
    except FerEdgeError as error:
        sys.exit(f"in_car: {error}")
    if errors := [f"in_car: {watch.camera}: {watch.reason}" for watch in watches if watch.error]:
        sys.exit("\n".join(errors))


if __name__ == "__main__":
    main()
