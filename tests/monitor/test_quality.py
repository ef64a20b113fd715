"""Faces that cannot be read are told apart from those that can, each with its reason."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import pytest

from fer_edge.monitor.align import crop_upright, roll_deg
from fer_edge.monitor.detector import Face, YuNet
from fer_edge.monitor.quality import QualityIssue, judge_face, judge_place, yaw
from fer_edge.monitor.settings import QualityLimits
from fer_edge.preprocess import CropRule, Image, crop, read_image, to_batch

LIMITS = QualityLimits()
MARGIN = 0.1
FRONTAL = np.array([[30, 40], [70, 40], [50, 60], [35, 80], [65, 80]], np.float32)


def judge(image: Image, face: Face) -> QualityIssue | None:
    """As the monitor does: what the detector tells, then what the crop tells."""
    if doubt := judge_place(face.box, face.landmarks, LIMITS):
        return doubt
    cut = crop(image, face.box, MARGIN)
    x, y, w, h = face.box
    corner = np.array([x + w / 2, y + h / 2]) - cut.shape[0] / 2
    inside = None if face.landmarks is None else (face.landmarks - corner) / cut.shape[0]
    return judge_face(to_batch([cut], CropRule(48))[0], inside, LIMITS)


def cause(doubt: QualityIssue | None) -> str | None:
    return None if doubt is None else doubt[0]


@pytest.fixture
def yunet(yunet_file: Path) -> YuNet:
    return YuNet(yunet_file, width_px=640)


@pytest.fixture
def person(shared: Path, yunet: YuNet) -> tuple[Image, Face]:
    image = read_image(shared / "data/images/single_face.jpg")
    return image, yunet.detect(image)[0]


def faces_of(shared: Path, yunet: YuNet, name: str) -> Iterator[tuple[Image, Face]]:
    image = read_image(shared / "data/images" / name)
    for face in yunet.detect(image):
        yield image, face


@pytest.mark.parametrize(
    "name",
    ["single_face.jpg", "multi_face.jpg", "coral_face.jpg", "oarriaga_solvay_conference.jpg"],
)
def test_faces_that_people_can_read_pass(shared: Path, yunet: YuNet, name: str) -> None:
    """Old men, dark skin in poor light, glasses, sunglasses, smiles."""
    judged = [judge(image, face) for image, face in faces_of(shared, yunet, name)]
    assert judged
    assert judged == [None] * len(judged)


def test_a_profile_is_turned_away(shared: Path, yunet: YuNet) -> None:
    ((image, face),) = faces_of(shared, yunet, "BWPictureHuman.jpg")
    doubt = judge(image, face)
    assert cause(doubt) == "turned away"
    assert "0.50" in doubt[1]  # type: ignore[index]


def test_a_face_in_the_dark(person: tuple[Image, Face]) -> None:
    image, face = person
    noise = np.random.default_rng(0).normal(0, 2, image.shape)
    dark = np.clip(image * 0.12 + noise, 0, 255).astype(np.uint8)
    assert cause(judge(dark, face)) == "too dark"


def test_a_face_in_the_glare(person: tuple[Image, Face]) -> None:
    image, face = person
    assert cause(judge(np.clip(image * 4.0, 0, 255).astype(np.uint8), face)) == "too bright"


def test_a_face_out_of_focus_or_smeared(person: tuple[Image, Face]) -> None:
    image, face = person
    side = face.box[3] * (1 + 2 * MARGIN)
    soft = np.asarray(cv2.GaussianBlur(image, (0, 0), 2.0 * side / 48), np.uint8)
    assert cause(judge(soft, face)) == "blurred"
    length = round(11 * side / 48)
    for kernel in (np.full((1, length), 1 / length), np.full((length, 1), 1 / length)):
        smeared = np.asarray(cv2.filter2D(image, -1, kernel), np.uint8)
        assert cause(judge(smeared, face)) == "blurred"


def paint(image: Image, face: Face, what: str) -> Image:
    """A smooth mask over mouth and chin, or a bar over the eyes."""
    painted = image.copy()
    assert face.landmarks is not None
    w, h = face.box[2:]
    right_eye, left_eye, _, right_mouth, left_mouth = face.landmarks
    if what == "mouth":
        at = ((right_mouth + left_mouth) / 2).astype(int).tolist()
        cv2.ellipse(painted, at, (int(w * 0.4), int(h * 0.25)), 0, 0, 360, (190, 180, 170), -1)
    else:
        ex, ey = (right_eye + left_eye) / 2
        top, bottom = int(ey - h * 0.13), int(ey + h * 0.13)
        cv2.rectangle(painted, (int(ex - w * 0.6), top), (int(ex + w * 0.6), bottom), (9, 9, 9), -1)
    return painted


@pytest.mark.parametrize("what", ["mouth", "eyes"])
def test_a_covered_face(shared: Path, yunet: YuNet, what: str) -> None:
    """Landmarks as they were found before it was covered: YuNet guesses them through a mask."""
    judged = [
        judge(paint(image, face, what), face)
        for name in ("single_face.jpg", "multi_face.jpg")
        for image, face in faces_of(shared, yunet, name)
    ]
    assert [cause(doubt) for doubt in judged] == ["covered"] * 6
    assert all(what in doubt[1] for doubt in judged if doubt)


def test_a_face_that_shows_nothing_is_covered() -> None:
    flat = np.random.default_rng(0).integers(120, 126, (48, 48, 3), np.uint8)
    assert cause(judge_face(flat, None, LIMITS)) == "covered"


def test_a_small_face_is_not_read() -> None:
    assert cause(judge_place((0, 0, 12, 16), None, LIMITS)) == "small"
    assert judge_place((0, 0, 16, 20), None, LIMITS) is None


@pytest.mark.parametrize("turned", [0.0, 20.0, -35.0])
def test_yaw_does_not_depend_on_roll_or_size(turned: float) -> None:
    aside = FRONTAL.copy()
    aside[2, 0] += 12  # 0.3 eye distances
    turn = cv2.getRotationMatrix2D((50, 50), turned, 1.7)
    assert yaw(FRONTAL @ turn[:, :2].T + turn[:, 2]) == pytest.approx(0, abs=1e-5)
    assert yaw(aside @ turn[:, :2].T + turn[:, 2]) == pytest.approx(0.3, abs=1e-5)


def test_eyes_in_one_point_are_a_profile() -> None:
    assert cause(judge_place((0, 0, 99, 99), np.zeros((5, 2), np.float32), LIMITS)) == "turned away"


def test_without_landmarks_only_the_whole_face_is_judged(person: tuple[Image, Face]) -> None:
    image, face = person
    bare = Face(face.box, face.score)
    assert judge(image, bare) is None
    assert judge(paint(image, face, "mouth"), bare) is None


@pytest.mark.parametrize("size", [48, 64, 224])
def test_any_bundle_size_is_judged_alike(person: tuple[Image, Face], size: int) -> None:
    image, face = person
    side = face.box[3] * (1 + 2 * MARGIN)
    soft = np.asarray(cv2.GaussianBlur(image, (0, 0), 2.0 * side / 48), np.uint8)
    for picture, expected in ((image, None), (soft, "blurred")):
        resized = to_batch([crop(picture, face.box, MARGIN)], CropRule(size))[0]
        assert cause(judge_face(resized, None, LIMITS)) == expected


def turned(image: Image, face: Face, angle: float) -> tuple[Image, Face]:
    """The picture turned about the face."""
    x, y, w, h = face.box
    turn = cv2.getRotationMatrix2D((x + w / 2, y + h / 2), angle, 1.0)
    whole = cv2.warpAffine(image, turn, image.shape[1::-1], borderMode=cv2.BORDER_REPLICATE)
    assert face.landmarks is not None
    points: npt.NDArray[np.float32] = (face.landmarks @ turn[:, :2].T + turn[:, 2]).astype("f4")
    return np.asarray(whole, np.uint8), Face(face.box, face.score, points)


@pytest.mark.parametrize("angle", [-30.0, 12.0, 25.0])
def test_alignment_undoes_a_turn(person: tuple[Image, Face], angle: float) -> None:
    image, face = person
    assert face.landmarks is not None
    leaning, points = turned(image, face, angle)
    assert points.landmarks is not None
    assert abs(roll_deg(points.landmarks)) > 10
    upright, landmarks = crop_upright(leaning, face.box, points.landmarks, MARGIN)
    assert abs(roll_deg(landmarks)) < 0.5
    straight, expected = crop_upright(image, face.box, face.landmarks, MARGIN)
    assert np.allclose(landmarks, expected, atol=2.5)
    inner = slice(40, -40)
    off = cv2.absdiff(upright[inner, inner], straight[inner, inner]).mean()
    plain = cv2.absdiff(crop(leaning, face.box, MARGIN)[inner, inner], straight[inner, inner])
    assert off < 6
    assert off < plain.mean() / 2


def test_a_level_face_is_cut_as_ever(person: tuple[Image, Face]) -> None:
    image, face = person
    assert face.landmarks is not None
    upright, landmarks = crop_upright(image, face.box, face.landmarks, MARGIN)
    assert np.array_equal(upright, crop(image, face.box, MARGIN))
    assert landmarks is face.landmarks
