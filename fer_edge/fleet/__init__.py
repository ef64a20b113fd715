"""Recorded drives scored by many processes: rows in Parquet, one summary a drive.

Needs the extra ``fleet``.
"""

from fer_edge.fleet.clips import Clip, find_clips
from fer_edge.fleet.manifest import read_manifest
from fer_edge.fleet.run import Run, score_drives
from fer_edge.fleet.scorer import ClipReport, DriveScorer

__all__ = [
    "Clip",
    "ClipReport",
    "DriveScorer",
    "Run",
    "find_clips",
    "read_manifest",
    "score_drives",
]
