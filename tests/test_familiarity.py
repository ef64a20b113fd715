"""Faces unlike the training faces are uncertain, on every chip for the same reasons."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fer_edge import DEFAULT_BUNDLE, Predictor, open_bundle
from fer_edge.bundle import MANIFEST, Bundle, write_bundle
from fer_edge.errors import BundleError
from fer_edge.familiarity import PATH, REASON, FamiliarityRecord, Statistics, numbers_of, unit
from fer_edge.manifest import sealed
from fer_edge.preprocess import to_batch
from fer_edge.shipped import FACES
from fer_edge.training.data.faces import load_faces
from fer_edge.training.evaluation.adapt import adapt
from fer_edge.training.evaluation.familiarity import with_limits

DIM, SIZE_PX = 1280, 128
FACE = load_faces(FACES, "val")[48].read()
NOISE = np.random.default_rng(0).integers(0, 256, (128, 128, 3), np.uint8)


def composites() -> tuple[Any, Any]:
    """Return embeddings and numbers of composite faces."""
    faces = [face.read() for face in load_faces(FACES, "val")[::3]]
    with Predictor(target="onnxruntime", precision="fp32") as predictor:
        answers = predictor.predict_batch(faces)
        batch = to_batch(faces, predictor.bundle.crop)
    return np.stack([answer.embedding for answer in answers]), numbers_of(batch)


def contents_of(bundle: Bundle) -> dict[str, bytes]:
    contents: dict[str, bytes] = {}
    for variant in bundle.variants:
        contents |= bundle.read(variant)
    return contents


@pytest.fixture(scope="module")
def wary(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The shipped bundle with statistics of its composite faces."""
    embeddings, numbers = composites()
    centre = unit(embeddings).mean(0)
    basis = np.linalg.svd(unit(embeddings) - centre, full_matrices=False)[2][:4]
    whitening = np.eye(7) / np.maximum(numbers.std(0), 0.05)[:, None]
    statistics = Statistics(50.0, centre, basis * 5, numbers.mean(0), whitening)
    statistics = Statistics.read(statistics.data(), 4, DIM)
    familiarity = with_limits(statistics, embeddings, numbers, 0.02)
    original = open_bundle(DEFAULT_BUNDLE)
    path = tmp_path_factory.mktemp("wary") / "wary.fer"
    files = contents_of(original) | {PATH: statistics.data()}
    write_bundle(replace(original, path=path, familiarity=familiarity.record), files)
    return path


@pytest.fixture
def copied(wary: Path, tmp_path: Path) -> Path:
    bundle, path = open_bundle(wary), tmp_path / "copy.fer"
    files = contents_of(bundle) | {PATH: (wary / PATH).read_bytes()}
    write_bundle(replace(bundle, path=path), files)
    return path


@pytest.mark.parametrize("target", ["openvino", "onnxruntime"])
def test_noise_is_uncertain_for_that_reason_on_each_engine(wary: Path, target: str) -> None:
    with Predictor(wary, target, "fp32") as predictor:
        face, noise = predictor.predict_batch([FACE, NOISE])
    assert face.reason != REASON
    assert noise.uncertain
    assert noise.reason == REASON == "unlike the faces it was trained on"
    with Predictor(DEFAULT_BUNDLE, target, "fp32") as predictor:
        before = predictor(NOISE)
    assert (before.label, before.confidence) == (noise.label, pytest.approx(noise.confidence))


def test_a_flat_picture_keeps_its_own_reason(wary: Path) -> None:
    with Predictor(wary) as predictor:
        assert "no contrast" in str(predictor(np.full((90, 90, 3), 7, np.uint8)).reason)


def test_a_bundle_without_statistics_answers_as_before(fake_bundle: Path) -> None:
    assert open_bundle(fake_bundle).familiarity is None
    assert "familiarity" not in json.loads((fake_bundle / MANIFEST).read_text("utf-8"))


def test_the_file_is_listed_and_hashed(copied: Path) -> None:
    record = open_bundle(copied).familiarity
    assert record is not None
    assert record.file.path == PATH
    data = bytearray((copied / PATH).read_bytes())
    data[100] ^= 1
    (copied / PATH).write_bytes(data)
    with pytest.raises(BundleError, match="size or SHA-256 differs"):
        open_bundle(copied)
    (copied / PATH).unlink()
    with pytest.raises(BundleError, match=r"lacks familiarity/statistics\.bin"):
        open_bundle(copied)


def rewrite(bundle: Path, edit: Callable[[Any], object]) -> None:
    content = json.loads((bundle / MANIFEST).read_text("utf-8"))
    edit(content)
    (bundle / MANIFEST).write_text(json.dumps(sealed(content)), "utf-8")


HOSTILE: dict[str, Callable[[Any], object]] = {
    "no object": lambda c: c.update(familiarity=1),
    "an empty one": lambda c: c.update(familiarity={}),
    "an unknown key": lambda c: c["familiarity"].update(more=1),
    "an unknown key of its file": lambda c: c["familiarity"]["file"].update(more=1),
    "a path outside": lambda c: c["familiarity"]["file"].update(path="../x/y"),
    "a text as limit": lambda c: c["familiarity"].update(embedding_limit="1"),
    "an endless limit": lambda c: c["familiarity"].update(picture_limit=1e300),
    "a negative limit": lambda c: c["familiarity"].update(embedding_limit=-1),
    "a share above 1": lambda c: c["familiarity"].update(false_refusals=2),
    "no faces": lambda c: c["familiarity"].update(faces=0),
    "a truth as count": lambda c: c["familiarity"].update(faces=True),
    "other components": lambda c: c["familiarity"].update(components=5),
    "a thousand components": lambda c: c["familiarity"].update(components=10**6),
    "another embedding": lambda c: c.update(
        embedding_dim=8,
        outputs={**c["outputs"], "embedding": {"dtype": "float32", "shape": [None, 8]}},
    ),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_record_is_refused(copied: Path, name: str) -> None:
    rewrite(copied, HOSTILE[name])
    with pytest.raises(BundleError, match=r"familiarity|statistics|listed"):
        open_bundle(copied)


def test_numbers_that_are_not_finite_are_refused(copied: Path) -> None:
    bundle = open_bundle(copied)
    data = bytearray((copied / PATH).read_bytes())
    data[4:8] = np.float32(np.nan).tobytes()
    record = bundle.familiarity
    assert record is not None
    from fer_edge.bundle import listed

    changed = replace(record, file=listed(PATH, bytes(data)))
    files = contents_of(bundle) | {PATH: bytes(data)}
    write_bundle(replace(bundle, familiarity=changed), files)
    with pytest.raises(BundleError, match="expected finite numbers"):
        Predictor(copied)


def numbers_by_definition(batch: Any) -> Any:
    """Return the numbers by their definition, in float64 throughout."""
    count, size_px = batch.shape[:2]
    edges = np.arange(32) * size_px // 32
    sides = np.diff(np.append(edges, size_px))
    grey = batch.sum(3, dtype=np.float64) / 3
    sums = np.add.reduceat(np.add.reduceat(grey, edges, 1), edges, 2)
    level = picture = sums / np.outer(sides, sides)
    variances = [picture.var((1, 2))]
    for side in (16, 8, 4, 2):
        level = level.reshape(count, side, 2, side, 2).mean((2, 4))
        variances.append(level.var((1, 2)))
    whole, mean = variances[0] + 1, picture.mean((1, 2))
    shares = [np.maximum(finer - coarser, 0) / whole for finer, coarser in pairwise(variances)]
    centred = picture - mean[:, None, None]
    mirrored = (centred * centred[:, :, ::-1]).mean((1, 2)) / whole
    details = [np.log(np.sqrt(share) + 1e-3) for share in shares]
    return np.stack([*details, np.log(whole) / 2, mean / 64, mirrored], 1)


PICTURES: dict[str, Callable[[Any, int], Any]] = {
    "noise": lambda rng, s: rng.integers(0, 256, (s, s, 3)),
    "faint noise": lambda rng, s: rng.integers(100, 102, (s, s, 3)),
    "grey noise": lambda rng, s: np.repeat(rng.integers(0, 256, (s, s, 1)), 3, 2),
    "flat": lambda rng, s: np.full((s, s, 3), rng.integers(0, 256, 3)),
    "white": lambda rng, s: np.full((s, s, 3), 255),
    "half": lambda rng, s: (
        np.where(np.arange(s)[:, None, None] < s // 2, 0, [[[255, 255, 254]]]) + np.zeros((s, s, 3))
    ),
    "one pixel": lambda rng, s: np.pad([[[1, 0, 0]]], ((s - 1, 0), (0, s - 1), (0, 0))),
    "face": lambda rng, s: cv2.resize(FACE, (s, s)),
}
LAYOUTS: dict[str, Callable[[Any], Any]] = {
    "contiguous": lambda batch: batch,
    "mirrored": lambda batch: batch[:, :, ::-1],
    "RGB": lambda batch: batch[..., ::-1],
    "turned": lambda batch: batch.transpose(0, 2, 1, 3),
    "channels first": lambda batch: np.ascontiguousarray(batch.transpose(0, 3, 1, 2)).transpose(
        0, 2, 3, 1
    ),
    "every second": lambda batch: np.repeat(batch, 2, 0)[::2],
}


@given(
    st.integers(32, 260),
    st.lists(st.sampled_from(sorted(PICTURES)), max_size=5),
    st.sampled_from(sorted(LAYOUTS)),
    st.integers(0, 99),
)
def test_numbers_are_those_of_the_definition(
    size_px: int, pictures: list[str], layout: str, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    faces = [np.asarray(PICTURES[name](rng, size_px), np.uint8) for name in pictures]
    batch = LAYOUTS[layout](np.array(faces, np.uint8).reshape(-1, size_px, size_px, 3))
    rows, expected = numbers_of(batch), numbers_by_definition(batch)
    assert rows.shape == (len(faces), 7)
    assert rows[:, 4:] == pytest.approx(expected[:, 4:], abs=1e-9)
    # Near 0, the logarithm magnifies the rounding of a share of the variance: 1e-15 to 1e-5.
    shares, expected_shares = ((np.exp(x[:, :4]) - 1e-3) ** 2 for x in (rows, expected))
    assert shares == pytest.approx(expected_shares, abs=1e-13)
    clear = expected_shares > 1e-6
    assert rows[:, :4][clear] == pytest.approx(expected[:, :4][clear], abs=1e-9)


def test_sums_that_exceed_32_bits_do_not_matter() -> None:
    batch = np.full((1, 2000, 2000, 3), 255, np.uint8)
    batch[0, ::7, ::3] = 2
    assert batch.sum(dtype=np.int64) > 2**31
    assert numbers_of(batch) == pytest.approx(numbers_by_definition(batch), abs=1e-9)


def test_numbers_describe_contrast_by_scale() -> None:
    ramp = np.repeat(np.linspace(0, 255, 128).astype(np.uint8)[None, :], 128, 0)
    batch = np.stack([np.repeat(x[:, :, None], 3, 2) for x in (ramp, ramp[:, ::-1])])
    batch = np.concatenate([batch, NOISE[None]])
    rows = numbers_of(batch)
    assert rows.shape == (3, 7)
    assert rows[0] == pytest.approx(rows[1])
    assert rows[0, 6] == pytest.approx(-1, abs=0.01)  # a ramp is its mirror's opposite
    assert (np.diff(rows[2, :4]) < 0).all()  # noise: the finest scale has most
    assert (np.diff(rows[0, :4]) > 0).all()
    assert rows[:, 5] == pytest.approx(batch.mean((1, 2, 3)) / 64, abs=1e-9)


@pytest.mark.parametrize("size_px", [32, 47, 96, 112, 224])
def test_numbers_change_little_with_the_size_of_the_input(size_px: int) -> None:
    grey = cv2.GaussianBlur(FACE, (0, 0), 2)
    sizes = [
        cv2.resize(grey, (side, side), interpolation=cv2.INTER_AREA) for side in (size_px, 128)
    ]
    one, other = (numbers_of(np.asarray(image, np.uint8)[None])[0] for image in sizes)
    assert one == pytest.approx(other, abs=0.35)


def test_the_distance_is_that_of_probabilistic_pca() -> None:
    rng = np.random.default_rng(1)
    basis = np.linalg.qr(rng.normal(size=(6, 6)))[0]
    variances = np.array([4.0, 2.0, 0.5, 0.5, 0.5, 0.5])
    scales = np.sqrt(1 / 0.5 - 1 / variances[:2])
    statistics = Statistics(
        2.0, np.zeros(6), basis[:, :2].T * scales[:, None], np.zeros(7), np.eye(7)
    )
    points = rng.normal(size=(20, 6)).astype(np.float32)
    points[3] = 0
    inverse = basis @ np.diag(1 / variances) @ basis.T
    expected = np.einsum("ni,ij,nj->n", unit(points), inverse, unit(points))
    assert statistics.of_embeddings(points) == pytest.approx(expected, abs=1e-9)
    assert statistics.of_embeddings(points[:0]).shape == (0,)
    assert FamiliarityRecord.parse  # the record is typed: see HOSTILE


def test_adapt_moves_it_to_a_camera_without_labels(wary: Path, tmp_path: Path) -> None:
    out = tmp_path / "car.fer"
    report = adapt(wary, FACES / "faces-val.parquet", out, unlabelled=True, target="onnxruntime")
    before, after = open_bundle(wary), open_bundle(out)
    assert not report["labelled"]
    assert report["unfamiliar"]["after"]["of"] == report["faces"] == 336
    assert after.abstain_below == before.abstain_below
    assert after.recalibration is None
    assert after.familiarity is not None
    assert after.familiarity.faces == 336
    assert after.familiarity != before.familiarity
    assert after.familiarity.false_refusals <= 0.01
    with Predictor(out, "onnxruntime", "fp32") as predictor:
        assert predictor(NOISE).reason == REASON
