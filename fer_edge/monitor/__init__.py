"""From camera frames to the driver's state: detect, track, recognise, smooth, and say how sure.

Imports numpy, OpenCV and the runtime of fer_edge, nothing else.
"""

from fer_edge.monitor.detector import Boxes, Detector, Face, Haar, WholeFrame, YuNet
from fer_edge.monitor.state import Baseline, Event, Health, MonitorState, PersonState

__all__ = [
    "Baseline",
    "Boxes",
    "Detector",
    "Event",
    "Face",
    "Haar",
    "Health",
    "MonitorState",
    "PersonState",
    "WholeFrame",
    "YuNet",
]
