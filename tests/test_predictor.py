"""What an application can rely on, from the first picture to close."""

from __future__ import annotations

import copy
import json
import math
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import FrozenInstanceError
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fer_edge.backends.base import Options, backend, targets
from fer_edge.backends.fake import write_fake_bundle
from fer_edge.bundle import Bundle, Variant, listed, open_bundle, write_bundle
from fer_edge.errors import BundleError, EngineError, InputError, TargetError
from fer_edge.inference import FLAT_BELOW
from fer_edge.labels import EMOTIONS
from fer_edge.predictor import ImageSource, Predictor
from fer_edge.preprocess import CropRule, Image
from fer_edge.results import Prediction

Call = Callable[[Predictor, Any], object]

CALLS: dict[str, Call] = {
    "one face": lambda predictor, image: predictor(image),
    "one box": lambda predictor, image: predictor(image, (0, 0, 20, 20)),
    "batch": lambda predictor, image: predictor.predict_batch([image]),
    "faces": lambda predictor, image: predictor.predict_faces(image, [(0, 0, 20, 20)]),
}


@pytest.fixture
def predictor(fake_bundle: Path) -> Iterator[Predictor]:
    with Predictor(fake_bundle) as predictor:
        yield predictor


def bundle_of(path: Path, variants: dict[str, bytes], embedding_dim: int = 3) -> Path:
    """Write a bundle of ``target/precision`` variants with one file each."""
    contents, listing = {}, []
    for name, data in variants.items():
        target, precision = name.split("/")
        file = listed(f"{target}-{precision}/model.onnx", data)
        contents[file.path] = data
        listing.append(Variant(target, precision, file.path, (file,)))
    bundle = Bundle(
        path=path,
        labels=EMOTIONS,
        crop=CropRule(48),
        temperature=1.0,
        abstain_below=0.0,
        embedding_dim=embedding_dim,
        provenance={},
        variants=tuple(listing),
    )
    write_bundle(bundle, contents)
    return path


def answers(row: Sequence[float]) -> bytes:
    """What the fake engine reads."""
    return json.dumps({"row": row, "latency_ms": 0, "fail_after": None}).encode()


# A network that looks at the picture: its embedding is the mean B, G and R, and it says "fear" for
# blue, "disgust" for green and "anger" for red. With it, a swapped face or colour shows.


@pytest.fixture(scope="module")
def colour_network() -> bytes:
    onnx = pytest.importorskip("onnx", reason="needs onnx to build a network: fer-edge[convert]")
    node, tensor = onnx.helper.make_node, onnx.helper.make_tensor_value_info
    floats, integers = onnx.TensorProto.FLOAT, onnx.TensorProto.INT64
    weights = np.zeros((3, 7), np.float32)
    for channel, name in enumerate(("fear", "disgust", "anger")):
        weights[channel, EMOTIONS.index(name)] = 0.1
    graph = onnx.helper.make_graph(
        [
            node("Cast", ["image"], ["pixels"], to=floats),
            node("ReduceMean", ["pixels", "axes"], ["embedding"], keepdims=0),
            node("MatMul", ["embedding", "weights"], ["logits"]),
            node("Softmax", ["logits"], ["probabilities"], axis=1),
        ],
        "colour",
        [tensor("image", onnx.TensorProto.UINT8, ["n", 48, 48, 3])],
        [tensor("probabilities", floats, ["n", 7]), tensor("embedding", floats, ["n", 3])],
        [
            onnx.helper.make_tensor("axes", integers, [2], [1, 2]),
            onnx.helper.make_tensor("weights", floats, weights.shape, weights),
        ],
    )
    opset = onnx.helper.make_opsetid("", 18)
    model = onnx.helper.make_model(graph, opset_imports=[opset], ir_version=10)
    return bytes(model.SerializeToString())


@pytest.fixture(params=["onnxruntime", "openvino"])
def seeing(
    request: pytest.FixtureRequest, tmp_path: Path, colour_network: bytes
) -> Iterator[Predictor]:
    pytest.importorskip(request.param)
    path = bundle_of(tmp_path / "seeing.fer", {f"{request.param}/fp32": colour_network})
    with Predictor(path, threads=1) as predictor:
        yield predictor


def tinted(channel: int, size: int = 60) -> Image:
    """A noisy picture, brightest in blue (0), green (1) or red (2)."""
    image = np.random.default_rng(channel).integers(0, 80, (size, size, 3), dtype=np.uint8)
    image[:, :, channel] += 150
    return image


SEEN = ("fear", "disgust", "anger")
TINTED = [tinted(channel) for channel in range(3)]


def labels(predictions: list[Prediction]) -> list[str]:
    return [prediction.label for prediction in predictions]


# Answers


def test_an_answer_has_canonical_labels_and_probabilities_by_name(
    predictor: Predictor, face: Image
) -> None:
    found = predictor(face)
    assert predictor.labels == EMOTIONS
    assert (found.label, found.uncertain, found.reason) == ("neutral", False, None)
    assert tuple(found.probabilities) == EMOTIONS
    assert found.confidence == found.probabilities["neutral"] == pytest.approx(0.9)
    assert sum(found.probabilities.values()) == pytest.approx(1)
    assert found.embedding.shape == (open_bundle(predictor.bundle.path).embedding_dim,)
    assert found.embedding.dtype == np.float32


@pytest.mark.parametrize("name", EMOTIONS)
def test_the_label_is_the_name_with_the_highest_probability(
    tmp_path: Path, face: Image, name: str
) -> None:
    found = Predictor(write_fake_bundle(tmp_path / "name.fer", {name: 0.4}))(face)
    assert found.label == name
    assert found.probabilities == pytest.approx({e: 0.4 if e == name else 0.1 for e in EMOTIONS})


@pytest.mark.parametrize("channel", [0, 1, 2])
def test_the_colour_order_is_the_one_that_was_stated(seeing: Predictor, channel: int) -> None:
    image, swapped = TINTED[channel], np.ascontiguousarray(TINTED[channel][:, :, ::-1])
    assert seeing(image).label == SEEN[channel]
    assert seeing(swapped, colour="rgb").label == SEEN[channel]
    assert seeing(swapped).label == SEEN[2 - channel]
    np.testing.assert_array_equal(
        seeing(image).embedding, seeing.predict_batch([swapped], colour="rgb")[0].embedding
    )


@pytest.mark.parametrize("call", CALLS)
def test_an_array_and_its_lossless_file_give_the_same_answer(
    seeing: Predictor, tmp_path: Path, call: str
) -> None:
    path = tmp_path / "face.png"
    cv2.imwrite(str(path), TINTED[0])
    found = [CALLS[call](seeing, source) for source in (TINTED[0], path, str(path))]
    flat = [f if isinstance(f, Prediction) else f[0] for f in found]  # type: ignore[index]
    assert labels(flat) == ["fear"] * 3
    for other in flat[1:]:
        np.testing.assert_array_equal(other.embedding, flat[0].embedding)


@pytest.mark.parametrize("shape", [(60, 80), (60, 80, 1)])
def test_grey_pictures_are_taken(predictor: Predictor, face: Image, shape: Any) -> None:
    grey = face[:, :, 0].reshape(shape)
    assert predictor(grey).label == predictor(grey, colour="grey").label == "neutral"


@pytest.mark.parametrize("call", CALLS)
def test_the_picture_is_not_changed(predictor: Predictor, face: Image, call: str) -> None:
    mine = face.copy()
    CALLS[call](predictor, mine)
    np.testing.assert_array_equal(mine, face)


# Batches


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


def test_an_answer_keeps_its_values_when_the_next_call_comes(seeing: Predictor) -> None:
    first = seeing(TINTED[0])
    before = first.embedding.copy()
    seeing(TINTED[2])
    np.testing.assert_array_equal(first.embedding, before)


# "I don't know"


def test_below_the_threshold_the_answer_is_uncertain_with_its_reason(
    tmp_path: Path, face: Image
) -> None:
    path = write_fake_bundle(tmp_path / "unsure.fer", {"anger": 0.45}, abstain_below=0.5)
    found = Predictor(path)(face)
    assert (found.label, found.uncertain) == ("anger", True)
    assert found.reason is not None
    assert "0.45" in found.reason
    assert "0.50" in found.reason


def test_above_the_threshold_it_is_not(tmp_path: Path, face: Image) -> None:
    path = write_fake_bundle(tmp_path / "sure.fer", {"anger": 0.55}, abstain_below=0.5)
    found = Predictor(path)(face)
    assert (found.uncertain, found.reason) == (False, None)


FLAT = {
    "black": np.zeros((60, 80, 3), np.uint8),
    "white": np.full((60, 80, 3), 255, np.uint8),
    "grey": np.full((60, 80), 128, np.uint8),
    "blue": np.full((60, 80, 3), (200, 40, 0), np.uint8),
    "dark noise": np.random.default_rng(0).integers(0, 4, (60, 80, 3), dtype=np.uint8),
    "saturated": np.random.default_rng(0).integers(250, 256, (60, 80, 3), dtype=np.uint8),
}


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("kind", FLAT)
def test_a_picture_without_contrast_never_gets_a_confident_answer(
    predictor: Predictor, tmp_path: Path, kind: str, call: str
) -> None:
    path = tmp_path / "flat.png"
    cv2.imwrite(str(path), FLAT[kind])
    for source in (FLAT[kind], path):
        found = CALLS[call](predictor, source)
        flat = found if isinstance(found, Prediction) else found[0]  # type: ignore[index]
        assert flat.uncertain
        assert "no contrast" in str(flat.reason)


@pytest.fixture(scope="module")
def sure(tmp_path_factory: pytest.TempPathFactory) -> Predictor:
    return Predictor(write_fake_bundle(tmp_path_factory.mktemp("sure") / "sure.fer"))


channel = st.integers(0, 255)
side = st.integers(8, 120)


@given(st.tuples(channel, channel, channel), side, side)
def test_no_plain_colour_gets_a_confident_answer(
    sure: Predictor, colour: tuple[int, int, int], height: int, width: int
) -> None:
    assert sure(np.full((height, width, 3), colour, np.uint8)).uncertain


def test_only_the_flat_faces_of_a_batch_are_uncertain(predictor: Predictor, face: Image) -> None:
    found = predictor.predict_batch([face, FLAT["black"], face, FLAT["white"]])
    assert [prediction.uncertain for prediction in found] == [False, True, False, True]
    (flat, full) = predictor.predict_faces(
        np.concatenate([FLAT["black"], face]), [(0, 0, 60, 60), (0, 60, 60, 60)]
    )
    assert (flat.uncertain, full.uncertain) == (True, False)


def test_contrast_in_one_colour_alone_is_enough(predictor: Predictor, face: Image) -> None:
    blue = face.copy()
    blue[:, :, 1:] = 0
    assert not predictor(blue).uncertain


def test_contrast_just_above_the_limit_is_enough(predictor: Predictor) -> None:
    half = int(FLAT_BELOW) + 1
    image = np.full((48, 48), 100, np.uint8)
    image[:, 24:] += 2 * half
    assert not predictor(image).uncertain
    image[:, 24:] = 100 + int(FLAT_BELOW)
    assert predictor(image).uncertain


def test_too_few_pixels_never_get_a_confident_answer(
    predictor: Predictor, face: Image, tmp_path: Path
) -> None:
    """The same rule for a file and for a box as for an array: refused, or uncertain."""
    path = tmp_path / "tiny.png"
    cv2.imwrite(str(path), np.array([[0, 255], [255, 0]], np.uint8))
    box = (10, 10, 2, 2)
    calls: dict[str, Callable[[], Prediction]] = {
        "file": lambda: predictor(path),
        "batch": lambda: predictor.predict_batch([path])[0],
        "box": lambda: predictor(face, box),
        "faces": lambda: predictor.predict_faces(face, [box])[0],
    }
    confident = []
    for name, call in calls.items():
        with suppress(InputError):
            confident += [] if call().uncertain else [name]
    assert confident == []


# The choice of a variant


def test_explain_says_of_each_variant_whether_it_was_taken_and_why_not(tmp_path: Path) -> None:
    path = bundle_of(
        tmp_path / "many.fer",
        {
            "abacus/fp32": b"beads",
            "onnxruntime/fp32": b"no network at all",
            "fake/fp32": answers([1, 0, 0, 0, 0, 0, 0]),
            "fake/int8": answers([0, 1, 0, 0, 0, 0, 0]),
        },
        embedding_dim=4,
    )
    predictor = Predictor(path)
    choices = predictor.explain()
    assert [choice.taken for choice in choices] == [False, False, True, False]
    assert predictor.variant.name == "fake/fp32"
    reasons = [choice.reason or "" for choice in choices]
    assert "no backend for abacus" in reasons[0]
    assert "the engine refused it" in reasons[1]
    assert reasons[2] == ""
    assert "fake/fp32 comes first" in reasons[3]
    assert [str(choice) for choice in choices][2].startswith("fake/fp32: taken (not proven")
    choices.clear()
    assert len(predictor.explain()) == 4


def test_a_target_or_precision_that_was_asked_for_is_the_one_that_runs(
    tmp_path: Path, face: Image
) -> None:
    variants = {"fake/fp32": answers([1, 0, 0, 0, 0, 0, 0]), "fake/int8": answers([0, 1] + [0] * 5)}
    path = bundle_of(tmp_path / "two.fer", variants, embedding_dim=4)
    assert Predictor(path)(face).label == EMOTIONS[0]
    assert Predictor(path, precision="int8")(face).label == EMOTIONS[1]
    assert (
        Predictor(path, "fake", "int8").explain()[0].reason == "not the precision asked for, int8"
    )


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ({"target": "onnxruntime"}, "not the target asked for, onnxruntime"),
        ({"precision": "int8"}, "not the precision asked for, int8"),
        ({"target": "fake", "precision": "fp16"}, "fake/fp16"),
    ],
)
def test_a_request_that_cannot_run_is_an_error_and_never_a_substitute(
    fake_bundle: Path, arguments: dict[str, str], reason: str
) -> None:
    with pytest.raises(TargetError, match=reason):
        Predictor(fake_bundle, **arguments)  # type: ignore[arg-type]


def test_a_request_that_cannot_run_is_told_of_what_it_asked_for_only(tmp_path: Path) -> None:
    variants = {"fake/fp32": answers([1, 0, 0, 0, 0, 0, 0]), "fake/int8": b"junk"}
    path = bundle_of(tmp_path / "two.fer", variants, embedding_dim=4)
    with pytest.raises(TargetError, match="fake/int8: the engine refused it") as error:
        Predictor(path, "fake", "int8")
    assert "fake/fp32" not in str(error.value)


@pytest.mark.parametrize("target", ["abacus", "", "base", "../fake", "Fake"])
def test_an_unknown_target_is_refused_with_the_known_ones(fake_bundle: Path, target: str) -> None:
    with pytest.raises(TargetError, match=r"(?s)unknown target.*fake, onnxruntime"):
        Predictor(fake_bundle, target)
    with pytest.raises(TargetError, match="unknown target"):
        backend(target)


@pytest.mark.parametrize("target", ["fake", "onnxruntime", "openvino"])
@pytest.mark.parametrize("data", [b"", b"junk", b"\0" * 1000, b"{}", b"[]"])
def test_a_model_that_its_engine_cannot_load_is_a_target_error(
    tmp_path: Path, target: str, data: bytes
) -> None:
    if target != "fake":
        pytest.importorskip(target)
    path = bundle_of(tmp_path / "junk.fer", {f"{target}/fp32": data})
    with pytest.raises(TargetError, match="the engine refused it"):
        Predictor(path)


def test_a_device_or_capability_that_is_not_there_is_a_target_error(
    tmp_path: Path, colour_network: bytes
) -> None:
    pytest.importorskip("openvino")
    both = {"onnxruntime/fp32": colour_network, "openvino/fp32": colour_network}
    path = bundle_of(tmp_path / "both.fer", both)
    with pytest.raises(TargetError, match=r"(?s)'abacus'.*no device ABACUS"):
        Predictor(path, device="abacus")


def test_a_damaged_bundle_is_a_bundle_error(fake_bundle: Path, tmp_path: Path) -> None:
    (fake_bundle / "extra").write_text("not listed")
    for path in (fake_bundle, tmp_path / "missing.fer"):
        with pytest.raises(BundleError):
            Predictor(path)


@pytest.mark.parametrize("options", [{"hint": "fast"}, {"threads": 0}, {"threads": -1}])
def test_an_impossible_option_is_refused(fake_bundle: Path, options: dict[str, Any]) -> None:
    with pytest.raises(InputError):
        Predictor(fake_bundle, **options)


@pytest.mark.parametrize("target", targets())
def test_asking_for_each_target_runs_it_or_nothing(fake_bundle: Path, target: str) -> None:
    if target == "fake":
        assert Predictor(fake_bundle, target).variant.target == target
        return
    with pytest.raises(TargetError, match=f"not the target asked for, {target}"):
        Predictor(fake_bundle, target)


# Errors


BAD: dict[str, object] = {
    "None": None,
    "float": np.zeros((48, 48, 3)),
    "NaN": np.full((48, 48, 3), np.nan, np.float32),
    "tiny": np.zeros((1, 1, 3), np.uint8),
    "BGRA": np.zeros((48, 48, 4), np.uint8),
    "missing file": "no such file.jpg",
    "missing path": Path("no such file.jpg"),
    "bytes": b"\xff\xd8\xff",
    "number": 7,
}


@pytest.mark.parametrize("kind", BAD)
def test_a_bad_picture_in_a_batch_is_named_by_position_and_harms_nothing(
    predictor: Predictor, face: Image, kind: str
) -> None:
    with pytest.raises(InputError, match=r"^image 2: "):
        predictor.predict_batch([face, face, BAD[kind], face])  # type: ignore[list-item]
    assert labels(predictor.predict_batch([face, face])) == ["neutral"] * 2


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("kind", BAD)
def test_a_bad_picture_is_an_input_error_in_each_call_and_harms_nothing(
    predictor: Predictor, face: Image, kind: str, call: str
) -> None:
    with pytest.raises(InputError):
        CALLS[call](predictor, BAD[kind])
    assert predictor(face).label == "neutral"


@pytest.mark.parametrize("images", [None, 7, "face.jpg", Path("face.jpg"), b"abc"], ids=repr)
def test_what_is_no_list_of_pictures_is_refused_as_a_batch(
    predictor: Predictor, images: Any
) -> None:
    with pytest.raises(InputError, match="expected a list of images"):
        predictor.predict_batch(images)


def test_one_picture_is_not_taken_for_a_batch(predictor: Predictor, face: Image) -> None:
    for image in (face, face[:, :, 0]):
        with pytest.raises(InputError):
            predictor.predict_batch(image)


def test_a_box_outside_the_picture_is_refused(predictor: Predictor, face: Image) -> None:
    with pytest.raises(InputError, match="expected a box"):
        predictor(face, (500, 500, 20, 20))
    with pytest.raises(InputError, match="expected a box"):
        predictor.predict_faces(face, [(0, 0, 20, 20), (500, 500, 20, 20)])


def test_an_unknown_colour_is_refused_for_an_array_and_for_a_file(
    predictor: Predictor, face: Image, tmp_path: Path
) -> None:
    path, colour = tmp_path / "face.png", "infrared"
    cv2.imwrite(str(path), face)
    for image in (face, path):
        with pytest.raises(InputError, match="expected colour"):
            predictor(image, colour=colour)  # type: ignore[arg-type]
        with pytest.raises(InputError, match="expected colour"):
            predictor.predict_batch([image], colour=colour)  # type: ignore[arg-type]


def test_a_failing_engine_is_an_engine_error_in_each_call(tmp_path: Path, face: Image) -> None:
    predictor = Predictor(write_fake_bundle(tmp_path / "failing.fer", fail_after=2))
    assert predictor(face).label == "neutral"
    assert len(predictor.predict_batch([face] * 3)) == 3
    for call in CALLS.values():
        with pytest.raises(EngineError):
            call(predictor, face)


@pytest.mark.parametrize("value", [math.nan, math.inf, -1.0, 2.0])
def test_probabilities_that_are_none_are_an_engine_error(
    tmp_path: Path, face: Image, value: float
) -> None:
    path = bundle_of(tmp_path / "sick.fer", {"fake/fp32": answers([value] * 7)}, 4)
    with pytest.raises(EngineError):
        Predictor(path)(face)


@pytest.mark.parametrize("width", [1, 6, 8])
def test_probabilities_of_another_width_are_an_engine_error(
    tmp_path: Path, face: Image, width: int
) -> None:
    path = bundle_of(tmp_path / "wide.fer", {"fake/fp32": answers([1 / width] * width)}, 4)
    with pytest.raises(EngineError):
        Predictor(path)(face)


# Closing


def test_no_boxes_at_all_is_an_input_error(predictor: Predictor, face: Image) -> None:
    with pytest.raises(InputError, match="boxes"):
        predictor.predict_faces(face, None)  # type: ignore[arg-type]


def test_a_closed_predictor_refuses_an_empty_batch_too(fake_bundle: Path, face: Image) -> None:
    predictor = Predictor(fake_bundle)
    predictor.close()
    for call in (lambda: predictor.predict_batch([]), lambda: predictor.predict_faces(face, [])):
        with pytest.raises(EngineError, match="closed"):
            call()


def test_a_closed_predictor_answers_with_an_engine_error(fake_bundle: Path, face: Image) -> None:
    predictor = Predictor(fake_bundle)
    predictor.warm_up((1, 4))
    predictor.close()
    predictor.close()
    for call in CALLS.values():
        with pytest.raises(EngineError, match="closed"):
            call(predictor, face)
    with pytest.raises(EngineError, match="closed"):
        predictor.warm_up()
    assert predictor.explain()[0].taken


def test_leaving_the_with_block_closes_it_also_after_an_error(
    fake_bundle: Path, face: Image
) -> None:
    with Predictor(fake_bundle) as predictor:
        assert predictor(face).label == "neutral"
    with pytest.raises(EngineError, match="closed"):
        predictor(face)
    with suppress(KeyError), Predictor(fake_bundle) as predictor:
        raise KeyError
    with pytest.raises(EngineError, match="closed"):
        predictor(face)


def test_closing_under_running_calls_ends_them_with_an_engine_error_at_worst(
    seeing: Predictor,
) -> None:
    under_way = threading.Barrier(3)

    def until_closed() -> None:
        seeing(TINTED[0])
        under_way.wait()
        while True:
            assert seeing(TINTED[0]).label == "fear"

    with ThreadPoolExecutor(2) as pool:
        runs = [pool.submit(until_closed) for _ in range(2)]
        under_way.wait()
        seeing.close()
        for run in runs:
            assert isinstance(run.exception(), EngineError)


@pytest.mark.parametrize("target", ["onnxruntime", "openvino"])
def test_a_closed_engine_that_is_run_gives_an_engine_error(
    tmp_path: Path, colour_network: bytes, target: str
) -> None:
    """What a thread meets that was between the Predictor and its engine when that was closed."""
    pytest.importorskip(target)
    bundle = open_bundle(bundle_of(tmp_path / "a.fer", {f"{target}/fp32": colour_network}))
    (variant,) = bundle.variants
    session = backend(target).load(variant, bundle.read(variant), Options())
    session.close()
    with pytest.raises(EngineError):
        session.run(np.zeros((1, 48, 48, 3), np.uint8))


# Threads


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


# Results


def test_a_prediction_cannot_be_changed(predictor: Predictor, face: Image) -> None:
    found = predictor(face)
    for name in ("label", "confidence", "uncertain", "times"):
        with pytest.raises(FrozenInstanceError):
            setattr(found, name, None)
    with pytest.raises((AttributeError, TypeError)):
        found.mood = "good"  # type: ignore[attr-defined]


def test_predictions_can_be_copied_and_compared(seeing: Predictor) -> None:
    one, other = seeing(TINTED[0]), seeing(TINTED[1])
    again = copy.deepcopy(one)
    np.testing.assert_array_equal(again.embedding, one.embedding)
    assert again == one
    assert one != other


def test_as_dict_is_plain_json(predictor: Predictor, face: Image) -> None:
    found = predictor.predict_batch([face, FLAT["black"]])
    for prediction in found:
        content = json.loads(json.dumps(prediction.as_dict(), allow_nan=False))
        assert content == prediction.as_dict()
        assert content["label"] == prediction.label
        assert content["probabilities"] == prediction.probabilities
        assert content["reason"] == prediction.reason
        assert set(content["times_ms"]) == {"preprocess", "infer", "postprocess"}
        assert all(value >= 0 for value in content["times_ms"].values())


def test_a_variant_that_was_never_judged_says_so_where_it_is_taken(fake_bundle: Path) -> None:
    with Predictor(fake_bundle) as predictor:
        (choice,) = predictor.explain()
    assert choice.taken
    assert choice.warning == "not proven: it has no parity report"
    assert str(choice) == "fake/fp32: taken (not proven: it has no parity report)"


def test_a_judged_variant_is_taken_without_a_warning() -> None:
    with Predictor() as predictor:
        assert all(choice.warning is None for choice in predictor.explain())


def test_variants_can_be_excluded_by_name(tmp_path: Path) -> None:
    row = answers([1.0, 0, 0, 0, 0, 0, 0])
    bundle = bundle_of(tmp_path / "two.fer", {"fake/int8": row, "fake/fp32": row})
    with Predictor(bundle, exclude=["fake/int8"]) as predictor:
        assert predictor.variant.name == "fake/fp32"
        assert "fake/int8: excluded by the caller" in map(str, predictor.explain())
    with pytest.raises(TargetError, match=r"fake/int8: excluded.*fake/fp32: excluded"):
        Predictor(bundle, exclude=["fake/int8", "fake/fp32"])
    with pytest.raises(InputError, match="among fake/int8, fake/fp32, got fake/int4"):
        Predictor(bundle, exclude=["fake/int4"])
