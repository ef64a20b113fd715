"""Quality checks of a face: small, turned, dark, bright, blurred, covered."""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

from fer_edge.inference import FLAT_BELOW
from fer_edge.monitor.settings import QualityLimits
from fer_edge.monitor.state import Cause
from fer_edge.preprocess import Box, Image, resize_into

QualityIssue = tuple[Cause, str]
"""A word for programs (Cause), and a sentence for people."""

SIDE_PX = 48
"""Side in pixels at which faces are checked. The limits were measured at it, on FER2013."""
_SECOND_DIFFERENCE = np.array([[1, -2, 1]], np.float32)


def judge_place(
    box: Box, landmarks: npt.NDArray[np.float32] | None, limits: QualityLimits
) -> QualityIssue | None:
    """Check the detection: a face too small or turned away.

    Args:
        box: ``(x, y, width, height)`` in pixels.
        landmarks: float32 ``[5, 2]`` in pixels, as in Face. None skips the check of turning.
        limits: The limits.

    Returns:
        The issue, or None if there is none.
    """
    side = max(box[2:])
    if side < limits.min_face_px:
        return (
            "small",
            f"the face is {side} px large; at least {limits.min_face_px} px are required",
        )
    if landmarks is not None and (turn := abs(yaw(landmarks))) > limits.turned_above:
        return (
            "turned away",
            f"the head is turned: the nose is {turn:.2f} eye distances off the middle; "
            f"at most {limits.turned_above:.2f} are allowed",
        )
    return None


def judge_face(
    face: Image, landmarks: npt.NDArray[np.float32] | None, limits: QualityLimits
) -> QualityIssue | None:
    """Check the pixels: too dark, too bright, blurred or covered.

    Args:
        face: uint8 ``[S, S, 3]`` BGR, cropped as for the network.
        landmarks: float32 ``[5, 2]`` as in Face, in shares (0..1) of the crop's side. None limits
            the check of covers to those that hide the complete face.
        limits: The limits.

    Returns:
        The issue, or None if there is none.
    """
    if face.shape[0] != SIDE_PX:
        small = np.empty((SIDE_PX, SIDE_PX, 3), np.uint8)
        resize_into(face, small)
        face = small
    grey = np.asarray(cv2.cvtColor(face, cv2.COLOR_BGR2GRAY), np.uint8)
    shares = np.bincount(grey.ravel(), minlength=256).cumsum() / grey.size
    brightest = int(np.searchsorted(shares, 0.95))
    if brightest < limits.dark_below:
        return (
            "too dark",
            f"the face is too dark: 95 % of its pixels are below {brightest} of 255; "
            f"{limits.dark_below:.0f} is required",
        )
    saturated = 1.0 - float(shares[249])
    if saturated > limits.bright_share:
        return (
            "too bright",
            f"the face is too bright: {saturated:.0%} of its pixels are saturated; at most "
            f"{limits.bright_share:.0%} are allowed",
        )
    values = grey.astype(np.float32)
    variance = float(values.var())
    if variance < FLAT_BELOW**2:
        return (
            "covered",
            f"the face shows nothing: its brightness varies by {variance**0.5:.1f} of 255; "
            f"{FLAT_BELOW:.0f} is required",
        )
    if cover := _covered(grey, landmarks, limits):
        return cover
    sharp = min(
        float(cv2.filter2D(values, cv2.CV_32F, kernel)[2:-2, 2:-2].var()) / variance
        for kernel in (_SECOND_DIFFERENCE, _SECOND_DIFFERENCE.T)
    )
    if sharp < limits.sharp_above:
        return (
            "blurred",
            f"the face is blurred: its sharpness is {sharp:.3f}; {limits.sharp_above:.3f} is "
            "required",
        )
    return None


def _covered(
    grey: npt.NDArray[np.uint8], landmarks: npt.NDArray[np.float32] | None, limits: QualityLimits
) -> QualityIssue | None:
    if landmarks is None or not np.isfinite(landmarks).all():
        return None
    edges = cv2.absdiff(grey[:-1, :-1], grey[1:, :-1]).astype(np.float32)
    edges += cv2.absdiff(grey[:-1, :-1], grey[:-1, 1:])
    # Without the rim of the crop, which is hair and background.
    mean_of_face = max(float(edges[6:42, 8:40].mean()), 0.5)

    def share_of_mean(x: float, y: float, half_width: float, half_height: float) -> float:
        left, top = max(int(x - half_width), 0), max(int(y - half_height), 0)
        part = edges[top : int(y + half_height) + 1, left : int(x + half_width) + 1]
        return float(part.mean()) / mean_of_face if part.size else 1.0

    points = (landmarks * SIDE_PX).tolist()
    (x0, y0), (x1, y1), _, (x3, y3), (x4, y4) = points
    mouth = share_of_mean((x3 + x4) / 2, (y3 + y4) / 2, max(abs(x4 - x3) / 2, 3) + 1, 4)
    eyes = max(share_of_mean(x0, y0, 5, 3), share_of_mean(x1, y1, 5, 3))
    for name, share, least in (
        ("mouth", mouth, limits.flat_mouth),
        ("eyes", eyes, limits.flat_eyes),
    ):
        if share < least:
            return (
                "covered",
                f"the face is covered: edges around the {name} are {share:.2f} of the face's "
                f"mean; {least:.2f} is required",
            )
    return None


def yaw(landmarks: npt.NDArray[np.float32]) -> float:
    """Measure how far the head is turned: 0 is frontal.

    Args:
        landmarks: float32 ``[5, 2]`` in pixels, as in Face.

    Returns:
        Offset of the nose from the middle between the eyes, along the line through them, in
        distances between the eyes. Positive to the right of the picture; infinite in full profile.
    """
    right, left, nose = landmarks[:3].astype(np.float64)
    between = left - right
    length = float(np.hypot(*between))
    if length < 1e-6:
        return float("inf")  # one eye behind the other
    return float((nose - (right + left) / 2) @ between) / length**2
