"""The C++ example: the same answers as Python's Predictor, and the same bundles refused."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from cpp_inputs import write_answer_bundle, write_graph_bundle, write_ir_bundle, write_pnm
from damaged_bundles import DAMAGES, edited, replaced, set_path

from fer_edge import (
    DEFAULT_BUNDLE,
    EMOTIONS,
    BundleError,
    EngineError,
    InputError,
    Predictor,
    TargetError,
    open_bundle,
)
from fer_edge.backends.fake import write_fake_bundle
from fer_edge.bundle import write_bundle
from fer_edge.familiarity import PATH, REASON, Statistics, numbers_of, unit
from fer_edge.manifest import sealed
from fer_edge.preprocess import Image, crop, read_image, to_batch
from fer_edge.recalibration import Recalibration
from fer_edge.shipped import FACES
from fer_edge.training.evaluation.familiarity import with_limits

Run = Callable[..., subprocess.CompletedProcess[str]]

ODD_SIZES = [
    (8, 8), (640, 8), (8, 640), (9, 31), (127, 129), (128, 128), (256, 256), (255, 257), (300, 90),
    (512, 128), (257, 128), (129, 511), (1000, 1003), (3840, 2160), (2160, 3840),
]  # fmt: skip
"""Width and height: the least, wide, tall, enlarged, exact halves, one off, and 4K."""


@pytest.fixture(scope="module")
def predictor() -> Any:
    with Predictor(target="openvino", precision="fp32") as predictor:
        yield predictor


def answers(
    run: Run, folder: Path, images: Sequence[Image], *words: object, bundle: Path = DEFAULT_BUNDLE
) -> list[Any]:
    paths = [write_pnm(folder / f"{i}.ppm", image) for i, image in enumerate(images)]
    done = run(bundle, *words, *paths)
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def check(predictor: Predictor, faces: Sequence[Image], rows: Sequence[Any]) -> None:
    """Compare the network's input by bytes, and the answers to 1e-5."""
    assert len(rows) == len(faces)
    for face, row in zip(faces, rows, strict=True):
        bgr = cv2.cvtColor(face, cv2.COLOR_GRAY2BGR) if face.ndim == 2 else face
        expected, batch = predictor(bgr), to_batch([bgr], predictor.bundle.crop)
        assert row["input_sha256"] == hashlib.sha256(batch.tobytes()).hexdigest(), face.shape
        assert row["probabilities"] == pytest.approx(dict(expected.probabilities), abs=1e-5)
        assert row["confidence"] == pytest.approx(expected.confidence, abs=1e-5)
        for key in ("label", "uncertain", "reason"):
            assert row[key] == getattr(expected, key)


def test_shipped_faces_get_the_same_answers(run: Run, predictor: Predictor, tmp_path: Path) -> None:
    faces = [read_image(FACES / f"{name}.png") for name in EMOTIONS]
    rows = answers(run, tmp_path, faces)
    check(predictor, faces, rows)
    assert [row["label"] for row in rows] == list(EMOTIONS)


def test_odd_sizes_get_the_same_answers(run: Run, predictor: Predictor, tmp_path: Path) -> None:
    face = read_image(FACES / "fear.png")
    faces = [cv2.resize(face, size, interpolation=cv2.INTER_CUBIC) for size in ODD_SIZES]
    check(predictor, faces, answers(run, tmp_path, faces))


def test_noise_grey_and_flat_get_the_same_answers(
    run: Run, predictor: Predictor, tmp_path: Path
) -> None:
    rng = np.random.default_rng(17)
    shapes = rng.integers(8, 700, (40, 2)).tolist()
    faces = [rng.integers(0, 256, (*shape, 3), np.uint8) for shape in shapes]
    faces += [face[:, :, 0] for face in faces[:5]]
    faces += [np.full((90, 70, 3), 200, np.uint8), np.zeros((8, 300), np.uint8)]
    check(predictor, faces, answers(run, tmp_path, faces))


@pytest.mark.parametrize(
    "box",
    [(10, 12, 40, 44), (-15, -9, 60, 50), (70, 60, 90, 90), (0, 0, 100, 80), (3.5, 2.5, 21.7, 9.1)],
)
def test_a_box_gets_the_same_answer(
    run: Run, predictor: Predictor, tmp_path: Path, box: Any
) -> None:
    picture = np.random.default_rng(3).integers(0, 256, (80, 100, 3), np.uint8)
    rows = answers(run, tmp_path, [picture], "--box", *box)
    check(predictor, [crop(picture, box, predictor.bundle.crop.margin)], rows)
    assert rows[0]["label"] == predictor(picture, box).label


@pytest.mark.parametrize(
    "box", [(0, 0, 5, 5), (200, 0, 20, 20), (0, 0, 1e300, 9), (-50, 0, 20, 20), ("nan", 0, 9, 9)]
)
def test_a_box_that_python_refuses_is_refused(
    run: Run, predictor: Predictor, tmp_path: Path, box: Any
) -> None:
    picture = np.zeros((80, 100, 3), np.uint8)
    with pytest.raises(InputError):
        predictor(picture, tuple(map(float, box)))
    refused(run(DEFAULT_BUNDLE, "--box", *box, write_pnm(tmp_path / "a.ppm", picture)), 3)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_each_precision_gets_the_same_answers(run: Run, tmp_path: Path, precision: str) -> None:
    face = read_image(FACES / "sadness.png")
    path = write_pnm(tmp_path / "a.ppm", face)
    done = run(DEFAULT_BUNDLE, "--precision", precision, path)
    try:
        predictor = Predictor(target="openvino", precision=precision)
    except TargetError:  # this CPU lacks bf16
        refused(done, 5)
        return
    with predictor:
        check(predictor, [face], [json.loads(done.stdout)])


def test_an_unfamiliar_face_is_refused_for_the_same_reason(run: Run, tmp_path: Path) -> None:
    original, path = open_bundle(DEFAULT_BUNDLE), tmp_path / "wary.fer"
    faces = [read_image(FACES / f"{name}.png") for name in EMOTIONS]
    noise = np.random.default_rng(1).integers(0, 256, (4, 150, 140, 3), np.uint8)
    batch = to_batch(faces, original.crop)
    with Predictor(target="openvino", precision="fp32") as predictor:
        embeddings = np.stack([answer.embedding for answer in predictor.predict_batch(faces)])
    centre, numbers = unit(embeddings).mean(0), numbers_of(batch)
    components = np.linalg.svd(unit(embeddings) - centre, full_matrices=False)[2][:3] * 5
    statistics = Statistics(50.0, centre, components, numbers.mean(0), np.eye(7) / 0.3)
    record = with_limits(statistics, embeddings[:4], numbers[:4], 0.0).record
    # The first four define the limits; rounding must not decide about them.
    record = replace(record, embedding_limit=1.001 * record.embedding_limit)
    files = {PATH: statistics.data()}
    for variant in original.variants:
        files |= original.read(variant)
    write_bundle(replace(original, path=path, familiarity=record), files)
    with Predictor(path, "openvino", "fp32") as predictor:
        rows = answers(run, tmp_path, [*faces, *noise], bundle=path)
        check(predictor, [*faces, *noise], rows)
    reasons = [row["reason"] for row in rows]
    assert reasons[-4:] == [REASON] * 4
    assert REASON not in reasons[:4]


def test_an_adapted_bundle_gets_the_same_answers(run: Run, tmp_path: Path) -> None:
    original, path = open_bundle(DEFAULT_BUNDLE), tmp_path / "car.fer"
    contents = {file.path: (original.path / file.path).read_bytes() for file in original.files}
    softer = replace(original, path=path, recalibration=Recalibration(1.7), abstain_below=0.6)
    write_bundle(softer, contents)
    faces = [read_image(FACES / f"{name}.png") for name in EMOTIONS]
    with Predictor(path, "openvino", "fp32") as predictor:
        check(predictor, faces, answers(run, tmp_path, faces, bundle=path))


@pytest.mark.parametrize("size_px", [8, 47, 112])
def test_a_bundle_of_another_size_with_weights_beside_the_graph(
    run: Run, tmp_path: Path, size_px: int
) -> None:
    bundle = write_ir_bundle(tmp_path / "ir.fer", size_px)
    rng = np.random.default_rng(size_px)
    shapes = [(size_px, size_px), (2 * size_px, 2 * size_px), (4 * size_px + 1, size_px), (300, 17)]
    pictures = [rng.integers(0, 256, (*shape, 3), np.uint8) for shape in shapes]
    paths = [write_pnm(tmp_path / f"{i}.ppm", image) for i, image in enumerate(pictures)]
    with Predictor(bundle) as predictor:
        assert predictor.variant.entry.endswith("model.xml")
        rows = [json.loads(line) for line in run(bundle, *paths).stdout.splitlines()]
        check(predictor, pictures, rows)
        done = run(bundle, "--box", 3, 1, 12, 9, paths[-1])
        face = crop(pictures[-1], (3, 1, 12, 9), 0.25)
        check(predictor, [face], [json.loads(done.stdout)])


@pytest.mark.parametrize(
    ("shares", "embedding"),
    [
        ((0.9, 0.1, 0.0), (np.nan, 0, 0)),
        ((0.9, 0.1, 0.0), (0, 0, -np.inf)),
        ((np.nan, 0.5, 0.5), (0, 0, 0)),
        ((np.inf, 0, 0), (0, 0, 0)),
        ((-0.002, 0.5, 0.502), (0, 0, 0)),
        ((-3, 2, 2), (0, 0, 0)),
        ((0.3, 0.3, 0.425), (0, 0, 0)),
        ((0.3, 0.3, 0.375), (0, 0, 0)),
    ],
)
def test_an_answer_that_python_refuses_is_refused(
    run: Run, tmp_path: Path, shares: Sequence[float], embedding: Sequence[float]
) -> None:
    bundle = write_answer_bundle(tmp_path / "odd.fer", shares, embedding)
    face = np.random.default_rng(0).integers(0, 256, (8, 8, 3), np.uint8)
    with Predictor(bundle) as predictor, pytest.raises(EngineError):
        predictor(face)
    done = run(bundle, write_pnm(tmp_path / "a.ppm", face))
    refused(done, 6)
    assert "Choose another variant: fer_predict BUNDLE.fer --precision" in done.stderr


@pytest.mark.parametrize(
    "change",
    [lambda item: item["labels"].reverse(), lambda item: item.update(temperature=1.25)],
)
def test_a_graph_of_another_contract_is_refused(run: Run, tmp_path: Path, change: Any) -> None:
    bundle = tmp_path / "other.fer"
    shutil.copytree(DEFAULT_BUNDLE, bundle)
    edited(change)(bundle)
    open_bundle(bundle)
    with pytest.raises(BundleError, match="was exported with"):
        Predictor(bundle)
    refused(run(bundle, write_pnm(tmp_path / "a.ppm", np.zeros((9, 9, 3), np.uint8))), 4)


def test_a_graph_of_another_size_is_refused(run: Run, tmp_path: Path) -> None:
    bundle = write_ir_bundle(tmp_path / "odd.fer", 16)

    def change(content: Any) -> None:
        content["crop"]["size_px"] = 24
        content["input"]["shape"][1:3] = [24, 24]

    edited(change)(bundle)
    face = np.zeros((24, 24, 3), np.uint8)
    with Predictor(bundle) as predictor, pytest.raises(EngineError):
        predictor(face)
    refused(run(bundle, write_pnm(tmp_path / "a.ppm", face)), 6)


def test_a_graph_of_three_outputs_is_refused(run: Run, tmp_path: Path) -> None:
    from openvino import opset13 as ops

    image = ops.parameter([-1, 8, 8, 3], np.uint8)
    mean = ops.reduce_mean(ops.convert(image, "f32"), [1, 2])
    bundle = write_graph_bundle(tmp_path / "a.fer", 8, image, ops.softmax(mean, 1), mean, mean)
    with pytest.raises(TargetError):
        Predictor(bundle)
    refused(run(bundle, write_pnm(tmp_path / "a.ppm", np.zeros((9, 9, 3), np.uint8))), 6)


def test_a_model_that_cannot_be_checked_is_refused(run: Run, tmp_path: Path) -> None:
    bundle = tmp_path / "other.fer"
    shutil.copytree(DEFAULT_BUNDLE, bundle)
    model = next(bundle.glob("graph-*/model.onnx"))
    set_path(model.rename(model.with_suffix(".pb")).relative_to(bundle).as_posix())(bundle)
    open_bundle(bundle)
    with pytest.raises(BundleError):
        Predictor(bundle, "openvino", "fp32")
    refused(run(bundle, write_pnm(tmp_path / "a.ppm", np.zeros((9, 9, 3), np.uint8))), 4)


def test_a_cpu_that_takes_another_precision_is_refused(run: Run, tmp_path: Path) -> None:
    bundle = tmp_path / "fp16.fer"
    shutil.copytree(DEFAULT_BUNDLE, bundle)
    edited(lambda content: content["variants"][1].update(precision="fp16"))(bundle)
    face = read_image(FACES / "fear.png")
    done = run(bundle, "--precision", "fp16", write_pnm(tmp_path / "a.ppm", face))
    try:
        Predictor(bundle, "openvino", "fp16").close()
    except TargetError:  # a CPU with bf16 would compute in it
        refused(done, 5)
    else:
        assert done.returncode == 0, done.stderr


def test_an_answer_of_half_precision_is_accepted(run: Run, tmp_path: Path) -> None:
    bundle = write_answer_bundle(tmp_path / "half.fer", (-0.0005, 0.6, 0.419), (1e30, 0, -1e30))
    face = np.random.default_rng(0).integers(0, 256, (8, 8, 3), np.uint8)
    with Predictor(bundle) as predictor:
        check(predictor, [face], answers(run, tmp_path, [face], bundle=bundle))


def refused(done: subprocess.CompletedProcess[str], code: int) -> None:
    """Expect one sentence on standard error, and no answer."""
    assert (done.returncode, done.stdout) == (code, ""), done.stderr
    assert done.stderr.startswith("fer_predict: ")
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize(
    "content",
    [
        b"", b"P6", b"\x89PNG\r\n", b"P6 1 1 255\n...", b"P6 7 90 255\n" + b"." * 1890,
        b"P6 20000 8 255\n", b"P6 99999999999999999999 8 255\n", b"P6 8000 8001 255\n",
        b"P6 8 8 65535\n" + b"." * 384, b"P6 8 8 255\n" + b"." * 191, b"P6 -8 -8 255\n", b"P5 8",
    ],
)  # fmt: skip
def test_an_image_that_cannot_be_used_is_refused(run: Run, tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.ppm").write_bytes(content)
    refused(run(DEFAULT_BUNDLE, tmp_path / "a.ppm"), 3)


def test_a_missing_image_and_bad_words_are_refused(run: Run, tmp_path: Path) -> None:
    refused(run(DEFAULT_BUNDLE, tmp_path / "none.ppm"), 3)
    refused(run(DEFAULT_BUNDLE, tmp_path), 3)
    os.mkfifo(tmp_path / "pipe.ppm")
    refused(run(DEFAULT_BUNDLE, tmp_path / "pipe.ppm"), 3)
    for words in ([], [DEFAULT_BUNDLE], [DEFAULT_BUNDLE, "--box", 1, 2, 3, "x", "a.ppm"]):
        done = run(*words)
        assert done.returncode == 2
        assert done.stderr.startswith("usage: fer_predict")


# Bundles -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", DAMAGES)
def test_a_damaged_bundle_is_refused_as_in_python(run: Run, tmp_path: Path, name: str) -> None:
    bundle = tmp_path / "damaged.fer"
    shutil.copytree(DEFAULT_BUNDLE, bundle)
    DAMAGES[name](bundle)
    with pytest.raises(BundleError):
        open_bundle(bundle)
    refused(run(bundle, FACES / "fear.png"), 4)


@pytest.mark.parametrize("key", ["recalibration", "familiarity", "capability"])
def test_null_counts_as_missing(run: Run, tmp_path: Path, key: str) -> None:
    bundle = tmp_path / "null.fer"
    shutil.copytree(DEFAULT_BUNDLE, bundle)
    content = json.loads((bundle / "bundle.json").read_text("utf-8"))
    if key == "capability":
        content["variants"][1]["needs"] = {key: None, "fusion": None}
    else:
        content[key] = None
        shutil.rmtree(bundle / "familiarity" if key == "familiarity" else tmp_path / "none", True)
    (bundle / "bundle.json").write_text(json.dumps(sealed(content)), "utf-8")
    face = read_image(FACES / "anger.png")
    with Predictor(bundle, "openvino", "fp32") as predictor:
        check(predictor, [face], answers(run, tmp_path, [face], bundle=bundle))


@pytest.mark.parametrize("number", ["2e-324", "1e-400", "0.10000000000000000001", "1E-1"])
def test_a_number_is_read_as_in_python(run: Run, tmp_path: Path, number: str) -> None:
    bundle = tmp_path / "number.fer"
    shutil.copytree(DEFAULT_BUNDLE, bundle)
    edited(lambda content: content["crop"].update(margin=float(number)))(bundle)
    replaced(f'"margin": {float(number)}', f'"margin": {number}')(bundle)  # with the same seal
    open_bundle(bundle)
    assert run(bundle, write_pnm(tmp_path / "a.ppm", np.zeros((9, 9, 3), np.uint8))).returncode == 0


def test_a_missing_bundle_is_refused(run: Run, tmp_path: Path) -> None:
    refused(run(tmp_path / "none.fer", FACES / "fear.png"), 4)
    refused(run("x" * 300, FACES / "fear.png"), 4)
    refused(run(FACES / "fear.png", FACES / "fear.png"), 4)


def test_a_variant_that_the_bundle_lacks_is_refused(run: Run) -> None:
    done = run(DEFAULT_BUNDLE, "--precision", "int4", FACES / "fear.png")
    refused(done, 5)
    assert "openvino/fp32" in done.stderr


def test_litter_is_passed_over(run: Run, tmp_path: Path) -> None:
    bundle = tmp_path / "copied.fer"
    shutil.copytree(DEFAULT_BUNDLE, bundle)
    (bundle / ".DS_Store").write_bytes(b"1")
    (bundle / "@eaDir").mkdir()
    (bundle / "@eaDir/any").write_bytes(b"1")
    open_bundle(bundle)
    assert run(bundle, write_pnm(tmp_path / "a.ppm", np.zeros((9, 9, 3), np.uint8))).returncode == 0


@pytest.mark.parametrize("ascii_only", [True, False])
def test_the_seal_covers_every_kind_of_value(run: Run, tmp_path: Path, ascii_only: bool) -> None:
    bundle = write_fake_bundle(tmp_path / "fake.fer")
    content = json.loads((bundle / "bundle.json").read_text("utf-8"))
    content["provenance"] = {
        "é": '\x00\x1f\x7f"\\/\b\f\n\r\t\u2028',
        "Z": "\U0001f600",
        "": {},
        "\uffff": None,
        "\U00010000": [[], True, False, -0.0, 0.0, 1e-5, 0.0001, 1e15, 1e16, 1e22, 5e-324, 2**80],
        "numbers": [1.7976931348623157e308, 123456789.125, 1 / 3, 100.0, 9007199254740993],
    }
    text = json.dumps(sealed(content), ensure_ascii=ascii_only)
    (bundle / "bundle.json").write_text(text, "utf-8")
    open_bundle(bundle)
    done = run(bundle, FACES / "fear.png")
    refused(done, 5)  # read, and then without a variant for OpenVINO
    assert "fake/fp32" in done.stderr
