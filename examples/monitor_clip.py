"""Watch a driver in a short synthetic clip.

    python examples/monitor_clip.py [--save FRAME.png]

A composite face changes from neutral to happiness to sadness. No camera and no face detector is
needed: the example knows where it drew the face, and tells the monitor through ``Boxes``.
"""

import argparse
from collections.abc import Iterator

import cv2
import numpy as np

from fer_edge import read_image
from fer_edge.monitor import Boxes, DriverMonitor, EventRule, Frames, Settings
from fer_edge.monitor.overlay import draw
from fer_edge.shipped import FACES

HZ = 15
BOX = (60, 70, 220, 220)  # x, y, width, height in pixels


def clip() -> Iterator[np.ndarray]:
    """Yield nine seconds of frames, uint8 [360, 640, 3], BGR."""
    x, y, width, height = BOX
    for name in ("neutral", "happiness", "sadness"):
        face = read_image(FACES / f"{name}.png")
        for _ in range(3 * HZ):
            frame = np.full((360, 640, 3), 60, np.uint8)
            frame[:, :, 0] += np.linspace(0, 50, 640, dtype=np.uint8)
            frame[y : y + height, x : x + width] = cv2.resize(
                face, (width, height), interpolation=cv2.INTER_LANCZOS4
            )
            yield frame


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--save", help="write the drawn frame at second 5 to this PNG file")
    save = parser.parse_args().save
    # The clip repeats the same pixels, so the check for a frozen camera is off.
    settings = Settings(frozen_s=None, events=(EventRule("happiness", min_s=1.0),))
    detector = Boxes(lambda frame: [BOX])
    source = Frames(clip(), hz=HZ)
    with DriverMonitor(None, source, detector=detector, settings=settings) as monitor:
        for state in monitor:
            for event in state.events:
                kind = "begins" if event.end_s is None else "ends"
                print(f"{state.time_s:4.1f} s: {event.kind} {kind}")
            if state.frame_index % HZ == 0 and state.driver:
                print(f"{state.time_s:4.1f} s: {state.driver.label or state.driver.reason}")
            if save and state.frame_index == 5 * HZ:
                assert monitor.frame is not None
                cv2.imwrite(save, draw(monitor.frame, state, HZ))


if __name__ == "__main__":
    main()
