"""Batches and boxes, and threads that share one Predictor."""

from __future__ import annotations

import threading
import tracemalloc
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from predictor_inputs import FLAT, SEEN, TINTED, bundle_of, labels

from fer_edge.backends.fake import write_fake_bundle
from fer_edge.errors import EngineError, InputError
from fer_edge.predictor import Predictor
from fer_edge.preprocess import Image, ImageSource


def test_a_batch_is_answered_in_its_order(seeing: Predictor, tmp_path: Path) -> None:
    path = tmp_path / "green.png"
    cv2.imwrite(str(path), TINTED[1])
    blue, green, red = TINTED
    sources: list[ImageSource] = [red, blue, path, green, str(path), red[::2, ::2]]
    expected = ["anger", "fear", "disgust", "disgust", "disgust", "anger"]
    assert labels(seeing.predict_batch(sources)) == expected
    assert labels(seeing.predict_batch(tuple(sources))) == expected
    assert labels(seeing.predict_batch(source for source in sources)) == expected
    assert labels(seeing.predict_batch(np.stack([red, green, blue]))) == list(reversed(SEEN))


@pytest.mark.parametrize("size", [1, 2, 7, 33])
def test_a_face_is_answered_alike_alone_and_in_a_batch(seeing: Predictor, size: int) -> None:
    faces = [TINTED[i % 3] for i in range(size)]
    for i, found in enumerate(seeing.predict_batch(faces)):
        alone = seeing(faces[i])
        assert found.label == alone.label == SEEN[i % 3]
        np.testing.assert_allclose(found.embedding, alone.embedding, rtol=1e-5)


@pytest.mark.parametrize("hint", ["latency", "throughput"])
def test_the_hint_changes_no_answer(tmp_path: Path, colour_network: bytes, hint: Any) -> None:
    pytest.importorskip("openvino")
    path = bundle_of(tmp_path / "hint.fer", {"openvino/fp32": colour_network})
    with Predictor(path, hint=hint) as predictor:
        assert labels(predictor.predict_batch(TINTED * 4)) == list(SEEN) * 4


@pytest.mark.parametrize(
    "nothing",
    [[], (), iter(()), np.zeros((0, 48, 48, 3), np.uint8)],
    ids=lambda n: type(n).__name__,
)
def test_no_faces_give_no_answers(predictor: Predictor, face: Image, nothing: Any) -> None:
    assert predictor.predict_batch(nothing) == []
    assert predictor.predict_faces(face, []) == []


def test_boxes_are_answered_in_their_order(seeing: Predictor) -> None:
    scene = np.concatenate(TINTED, axis=1)
    boxes = [(120, 0, 60, 60), (0, 0, 60, 60), (60, 10, 30, 30), (160, 40, 60, 60)]
    expected = ["anger", "fear", "disgust", "anger"]
    assert labels(seeing.predict_faces(scene, boxes)) == expected
    assert labels(seeing.predict_faces(scene, np.array(boxes))) == expected  # type: ignore[arg-type]
    assert [seeing(scene, box).label for box in boxes] == expected


def test_many_boxes_are_answered_in_parts(seeing: Predictor) -> None:
    scene = np.concatenate(TINTED, axis=1)
    boxes = [(60 * (i % 3), 0, 60, 60) for i in range(600)]
    assert labels(seeing.predict_faces(scene, boxes)) == list(SEEN) * 200


def test_memory_does_not_grow_with_the_number_of_large_boxes(predictor: Predictor) -> None:
    peaks = []
    for count in (3, 6):
        tracemalloc.start()
        predictor.predict_faces(
            np.zeros((48, 64, 3), np.uint8), [(-2000, -2000, 4200, 4200)] * count
        )
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < peaks[0] * 1.2


def test_an_unusable_box_far_behind_is_named(predictor: Predictor, face: Image) -> None:
    with pytest.raises(InputError, match="box 300: expected a box"):
        predictor.predict_faces(face, [(0, 0, 20, 20)] * 300 + [(500, 500, 20, 20)])


def test_an_answer_keeps_its_values_when_the_next_call_comes(seeing: Predictor) -> None:
    first = seeing(TINTED[0])
    before = first.embedding.copy()
    seeing(TINTED[2])
    np.testing.assert_array_equal(first.embedding, before)


@pytest.mark.parametrize("threads", [2, 8])
def test_threads_that_share_one_predictor_get_their_own_answers(
    seeing: Predictor, threads: int
) -> None:
    start = threading.Barrier(threads)

    def work(number: int) -> list[str]:
        start.wait()
        found = []
        for turn in range(15):
            order = [(number + turn + i) % 3 for i in range(1 + (number + turn) % 4)]
            expected = [SEEN[i] for i in order]
            found += [
                f"{a.label} for {b}"
                for a, b in zip(
                    seeing.predict_batch([TINTED[i] for i in order]), expected, strict=True
                )
                if a.label != b
            ]
        return found

    with ThreadPoolExecutor(threads) as pool:
        assert list(pool.map(work, range(threads))) == [[]] * threads


@pytest.mark.parametrize("threads", [2, 8])
def test_threads_share_a_slow_fake_engine(tmp_path: Path, face: Image, threads: int) -> None:
    path = write_fake_bundle(tmp_path / "slow.fer", {"fear": 1.0}, latency_ms=2, fail_after=40)
    predictor = Predictor(path)

    def work(number: int) -> list[bool | None]:
        found: list[bool | None] = []
        for turn in range(80 // threads):
            image = face if (number + turn) % 2 else FLAT["black"]
            try:
                found.append(predictor(image).uncertain == ((number + turn) % 2 == 0))
            except EngineError:
                found.append(None)
        return found

    with ThreadPoolExecutor(threads) as pool:
        found = [one for all_ in pool.map(work, range(threads)) for one in all_]
    assert found.count(False) == 0
    assert found.count(True) == 40
