"""A bundle adapted to a camera: another temperature and threshold, the same networks."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from fer_edge import Predictor
from fer_edge.bundle import open_bundle
from fer_edge.errors import BundleError, DataError, InputError
from fer_edge.preprocess import Image
from fer_edge.shipped import DEFAULT_BUNDLE, DEFAULT_CHECKPOINT, FACES
from fer_edge.training.data.faces import LabelledFace, load_faces
from fer_edge.training.evaluation.adapt import adapt
from fer_edge.training.evaluation.adapted_decision import (
    Decision,
    answers,
    cross_fitted,
    figures,
    fit,
    parts_of,
    threshold,
)
from fer_edge.training.evaluation.evaluate import evaluate_all


def overconfident(count: int, factor: float = 2.5) -> tuple[Any, Any]:
    """Return probabilities whose logits are ``factor`` times too large, and the truth."""
    rng = np.random.default_rng(3)
    logits = rng.normal(0, 1.5, (count, 7))
    shares = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    truth = np.array([rng.choice(7, p=row) for row in shares])
    sure = np.exp(factor * logits)
    return (sure / sure.sum(1, keepdims=True)).astype(np.float32), truth


def test_a_temperature_makes_overconfident_answers_calibrated() -> None:
    probabilities, truth = overconfident(3000)
    decision = fit(probabilities, truth, None)
    assert decision.temperature == pytest.approx(2.5, rel=0.06)
    told = answers(probabilities, 0.5)
    parts = parts_of([None] * len(truth))
    report = figures(truth, (probabilities, told), cross_fitted(probabilities, truth, parts, None))
    assert report["ece"]["after"]["value"] < 0.04 < report["ece"]["before"]["value"]
    assert report["ece"]["change"]["value"] < 0
    assert report["nll"]["change"]["interval"][1] < 0
    assert report["nll"]["after"] < report["nll"]["before"]
    after = report["right_if_answered"]["after"]
    assert after["share"] > report["right_if_answered"]["before"]["share"]


def test_a_share_to_answer_sets_the_threshold() -> None:
    probabilities, truth = overconfident(1000)
    decision = fit(probabilities, truth, 0.6)
    calibrated = decision.apply(probabilities)
    assert answers(calibrated, decision.abstain_below).mean() == pytest.approx(0.6, abs=0.01)
    assert threshold(calibrated, 1.0) <= calibrated.max(1).min()
    assert Decision(1.0, 0.5).apply(probabilities) is probabilities


def test_a_subject_stays_in_one_part() -> None:
    subjects = [f"driver{i % 12}" for i in range(240)]
    parts = parts_of(subjects)
    assert {len(set(parts[i::12])) for i in range(12)} == {1}
    assert sorted(set(parts)) == [0, 1, 2, 3, 4]
    assert len(set(parts_of([None] * 50))) == 5


@pytest.mark.parametrize("people", [2, 3, 4])
def test_few_subjects_make_as_many_parts(people: int) -> None:
    parts = parts_of([f"driver{i % people}" for i in range(240)])
    assert {len(set(parts[i::people])) for i in range(people)} == {1}
    assert sorted(set(parts)) == list(range(people))


def test_a_single_subject_is_in_all_parts_which_is_said() -> None:
    said: list[str] = []
    for others in ([], [None] * 3, ["other"] * 10):
        parts = parts_of([*["driver"] * 60, *others], said.append)
        assert np.bincount(parts).min() >= 12
    assert len(said) == 3
    assert "Nearly all faces are of one person" in said[0]
    parts_of(["driver", "other"] * 30, said.append)
    parts_of([None] * 60, said.append)
    assert len(said) == 3


def test_a_threshold_has_as_many_digits_as_the_share_needs() -> None:
    assert threshold(overconfident(1000)[0], 0.6) * 1e4 % 1 == pytest.approx(0, abs=1e-6)
    sure = (1 - 1e-4 * np.linspace(0, 5, 1000)).astype(np.float32)
    probabilities = np.stack([sure, 1 - sure], 1)
    for share in (0.1, 0.5, 0.9):
        told = answers(probabilities, threshold(probabilities, share))
        assert share <= told.mean() <= share + 0.02


@pytest.fixture(scope="module")
def adapted(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    out = tmp_path_factory.mktemp("adapted") / "car.fer"
    return out, adapt(DEFAULT_BUNDLE, FACES, out, "val", target="openvino", precision="fp32")


def test_the_networks_and_their_parity_stay(adapted: tuple[Path, Any]) -> None:
    out, report = adapted
    before, after = open_bundle(DEFAULT_BUNDLE), open_bundle(out)
    assert after.variants == before.variants
    assert after.temperature == before.temperature
    assert (after.name, after.version) == ("car", before.version)
    assert after.abstain_below == report["abstain_below"]["after"]
    assert after.recalibration is not None
    assert after.recalibration.temperature == report["temperature"]["after"]
    facts = after.provenance["adaptation"]
    assert facts["sha256"] == before.sha256
    assert facts["faces"] == report["faces"] == 336
    assert len(facts["pixels"]) == 64
    assert {**after.provenance, "adaptation": None} == {**before.provenance, "adaptation": None}


def test_every_variant_answers_with_the_same_transform(adapted: tuple[Path, Any]) -> None:
    out, report = adapted
    face = load_faces(FACES, "val")[40].read()
    temperature = report["temperature"]["after"]
    for target in ("openvino", "onnxruntime"):
        with (
            Predictor(DEFAULT_BUNDLE, target, "fp32") as old,
            Predictor(out, target, "fp32") as new,
        ):
            before, after = old(face), new(face)
        powers = np.array(list(before.probabilities.values())) ** (1 / temperature)
        assert list(after.probabilities.values()) == pytest.approx(powers / powers.sum(), abs=1e-6)
        assert after.label == before.label


def test_an_adapted_bundle_is_adapted_again_on_top(
    adapted: tuple[Path, Any], tmp_path: Path
) -> None:
    again = adapt(adapted[0], FACES, tmp_path / "b.fer", "val", target="openvino", precision="fp32")
    first = adapted[1]["temperature"]["after"]
    assert again["temperature"]["before"] == pytest.approx(first)
    assert again["temperature"]["after"] == pytest.approx(first, rel=0.02)


def test_pictures_without_labels_set_the_threshold_alone(fake_bundle: Path, tmp_path: Path) -> None:
    crops = tmp_path / "crops"
    crops.mkdir()
    for i, face in enumerate(load_faces(FACES, "val")[:60]):
        cv2.imwrite(str(crops / f"{i}.png"), face.read())
    with pytest.raises(DataError, match="has no labels, so no temperature can be fitted"):
        adapt(fake_bundle, crops, tmp_path / "a.fer")
    said: list[str] = []
    names = {"version": "7"}
    report = adapt(fake_bundle, crops, tmp_path / "a.fer", answer=0.5, names=names, say=said.append)
    assert said == [
        "100.0% of the faces have the confidence of the surest 50.0% or more: no threshold tells "
        "them apart"
    ]
    assert not report["labelled"]
    assert report["temperature"] == {"before": 1.0, "after": 1.0}
    assert report["abstain_below"]["after"] == pytest.approx(0.9, abs=1e-3)
    written = open_bundle(tmp_path / "a.fer")
    assert written.recalibration is None
    assert written.version == "7"
    json.dumps(report, allow_nan=False)


@pytest.mark.parametrize("unlabelled", [False, True])
def test_faces_refused_as_unfamiliar_are_not_answered(tmp_path: Path, unlabelled: bool) -> None:
    """A white bar over the forehead: evaluate withholds these faces, and so does adapt's count."""
    for i, face in enumerate(load_faces(FACES, "val")[::3]):
        barred = face.read().copy()
        barred[: len(barred) // 5] = 255
        folder = tmp_path / "camera" / face.label
        folder.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(folder / f"{i}.png"), barred)
    camera, engine = tmp_path / "camera", {"target": "openvino", "precision": "fp32"}
    out = tmp_path / "a.fer"
    report = adapt(DEFAULT_BUNDLE, camera, out, unlabelled=unlabelled, answer=0.9, **engine)
    (judged,) = evaluate_all([DEFAULT_BUNDLE], camera, None, **engine)["inputs"]
    assert report["unfamiliar"]["before"]["share"] > 0.1
    assert report["answered"]["before"]["share"] == pytest.approx(judged["abstention"]["coverage"])
    after = report["answered"]["after"]["share"]
    assert after <= 1 - report["unfamiliar"]["after"]["share"]


def test_familiarity_decodes_no_picture_once_more(
    fake_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reads: Counter[str] = Counter()
    read = LabelledFace.read

    def counted(face: LabelledFace) -> Image:
        reads[face.name] += 1
        return read(face)

    monkeypatch.setattr(LabelledFace, "read", counted)
    counts = []
    for bundle in (fake_bundle, DEFAULT_BUNDLE):
        reads.clear()
        adapt(bundle, FACES, tmp_path / "a.fer", "val", answer=0.5)
        counts.append(dict(reads))
    assert counts[0] == counts[1]


def test_folders_of_subjects_are_no_labels_if_told_so(fake_bundle: Path, tmp_path: Path) -> None:
    for i, face in enumerate(load_faces(FACES, "val")[:60]):
        folder = tmp_path / "camera" / f"driver{i % 3}"
        folder.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(folder / f"{i}.png"), face.read())
    out = tmp_path / "a.fer"
    report = adapt(fake_bundle, tmp_path / "camera", out, unlabelled=True, answer=1.0)
    assert (report["faces"], report["labelled"]) == (60, False)


@pytest.mark.parametrize("labels", [("driver0", "driver1"), ("fear", "anger")])
def test_the_options_of_a_folder_hold_without_labels_too(
    fake_bundle: Path, tmp_path: Path, labels: tuple[str, str]
) -> None:
    """Two parts; the fold, the broken picture and the other part are left out."""
    faces = load_faces(FACES, "val")
    for i, face in enumerate(faces[:200]):
        folder = tmp_path / "camera" / ("val" if i < 120 else "train") / labels[i % 2]
        folder.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(folder / f"{i}.png"), face.read())
    camera, out = tmp_path / "camera", tmp_path / "a.fer"
    (camera / "val" / labels[0] / "broken.png").write_bytes(b"no picture")

    def adapted(data: str, split: str | None) -> Any:
        return adapt(fake_bundle, data, out, split, unlabelled=True, answer=1.0)["faces"]

    third = load_faces(f"{camera}@labels=none,broken=skip,without=0/3", "val", say=lambda _: None)
    assert adapted(f"{camera}@broken=skip,without=0/3", "val") == len(third) < 100
    assert adapted(f"{camera}@broken=skip", "val") == 120
    assert adapted(str(camera), "train") == 80
    with pytest.raises(DataError, match=r"broken\.png"):
        adapted(str(camera), "val")
    with pytest.raises(DataError, match=r"has parts: train, val\. Choose one with --split"):
        adapted(str(camera), None)


def test_few_faces_and_bad_names_are_refused(fake_bundle: Path, tmp_path: Path) -> None:
    face = load_faces(FACES, "val")[0].read()
    crops = tmp_path / "crops"
    crops.mkdir()
    for i in range(60):
        cv2.imwrite(str(crops / f"{i}.png"), face)
    notes: list[str] = []
    with pytest.raises(DataError, match=r"at least 50 different faces .* got 1"):
        adapt(fake_bundle, crops, tmp_path / "a.fer", answer=0.5, say=notes.append)
    assert notes == ["59 pictures are there twice: each counts once"]
    for out in (tmp_path / "a", fake_bundle):
        with pytest.raises(InputError, match="expected the name of another bundle"):
            adapt(fake_bundle, crops, out, answer=0.5)
    with pytest.raises(InputError, match="above 0 and up to 1, got 0"):
        adapt(fake_bundle, crops, tmp_path / "a.fer", answer=0)


def test_a_temperature_that_helps_no_face_left_out_is_not_taken(tmp_path: Path) -> None:
    """The fake engine is as sure of every face: no temperature beats chance on 50 faces."""
    probabilities, truth = overconfident(60, factor=1.0)
    crossed = cross_fitted(probabilities, truth, parts_of([None] * 60), None, temperature=1.0)
    assert (crossed[0] == probabilities).all()


def test_convert_does_not_add_variants_to_an_adapted_bundle(adapted: tuple[Path, Any]) -> None:
    from fer_edge.converters.pipeline.convert import convert

    with pytest.raises(BundleError, match="was adapted to a camera"):
        convert(DEFAULT_CHECKPOINT, ["onnxruntime"], adapted[0])
