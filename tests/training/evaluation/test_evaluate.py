"""Figures of what was trained and of what was built, on whole and on de-duplicated data."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pyarrow
import pyarrow.parquet
import pytest

from fer_edge import Predictor
from fer_edge.backends.fake import write_fake_bundle
from fer_edge.errors import DataError, TargetError
from fer_edge.labels import EMOTIONS
from fer_edge.manifest import sealed
from fer_edge.shipped import DEFAULT_CHECKPOINT, FACES
from fer_edge.training.data.faces import load_faces
from fer_edge.training.evaluation.adapt import adapt
from fer_edge.training.evaluation.evaluate import evaluate, evaluate_all
from fer_edge.training.reports.html import evaluation_page


def rows(split: str) -> list[Any]:
    part: list[Any] = pyarrow.parquet.read_table(FACES / f"faces-{split}.parquet").to_pylist()
    return part


def write(path: Path, content: list[Any]) -> Path:
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(content), path)
    return path


def test_a_checkpoint_is_evaluated_as_it_was_trained(finished: Any) -> None:
    report = evaluate(finished.best, FACES)
    assert report["all"]["faces"] == report["deduplicated"]["faces"] == 336
    assert report["labels"] == list(EMOTIONS)
    assert 0 <= report["abstention"]["coverage"] <= 1
    assert report == evaluate(finished.best, FACES)
    json.dumps(report, allow_nan=False)


def test_a_bundle_is_evaluated_on_its_engine(fake_bundle: Path) -> None:
    report = evaluate(fake_bundle, FACES)
    assert (report["bundle"], report["variant"]) == ("fake.fer", "fake/fp32")
    assert report["all"]["accuracy"] == pytest.approx(1 / 7)
    assert report["abstention"] == {"threshold": 0.0, "coverage": 1.0, "accuracy": 1 / 7}


def test_the_report_names_the_data_with_its_options(fake_bundle: Path, tmp_path: Path) -> None:
    write(tmp_path / "f-val.parquet", rows("val")[::4])
    report = evaluate(fake_bundle, f"{tmp_path}@drop=anger/fear")
    assert report["data"] == f"{tmp_path.name}@drop=anger/fear"


@pytest.mark.parametrize(
    ("data", "skipping"),
    [
        ("me@home", "me@home@broken=skip"),
        ("e2@drop=sadness/fear", "e2@drop=sadness/fear,broken=skip"),
        ("my set", "'my set@broken=skip'"),
    ],
)
def test_the_advice_to_skip_a_broken_picture_keeps_the_options(
    fake_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, data: str, skipping: str
) -> None:
    monkeypatch.chdir(tmp_path)
    for label in ("happiness", "anger"):
        folder = tmp_path / data.split("@drop")[0] / label
        folder.mkdir(parents=True)
        (folder / "x.png").write_bytes(b"no picture")
    with pytest.raises(DataError) as caught:
        evaluate(fake_bundle, data, None)
    assert str(caught.value).endswith(f"Or skip broken pictures: --data {skipping}")


def test_a_model_that_never_dares_has_no_accuracy(tmp_path: Path) -> None:
    shy = write_fake_bundle(tmp_path / "shy.fer", abstain_below=0.95)
    assert evaluate(shy, FACES)["abstention"] == {
        "threshold": 0.95,
        "coverage": 0.0,
        "accuracy": None,
    }


def darkened(folder: Path) -> Path:
    """Write faces at 2 to 40 % of their brightness into folders; some have no contrast."""
    for i, face in enumerate(load_faces(FACES, "val")[::4]):
        (folder / face.label).mkdir(parents=True, exist_ok=True)
        dark = face.read() * (0.02 + 0.38 * (i % 5) / 4)
        cv2.imwrite(str(folder / face.label / f"{i}.png"), dark.astype(np.uint8))
    return folder


def test_a_crop_without_contrast_is_withheld_as_the_predictor_does(tmp_path: Path) -> None:
    bundle = write_fake_bundle(tmp_path / "fake.fer")
    dark = darkened(tmp_path / "dark")
    with Predictor(bundle) as predictor:
        crops = [cv2.imread(str(path)) for path in sorted(dark.glob("*/*.png"))]
        kept = [not answer.uncertain for answer in predictor.predict_batch(crops)]
    assert 0 < sum(kept) < len(kept)
    assert evaluate(bundle, dark, None)["abstention"]["coverage"] == np.mean(kept)
    adapted = adapt(bundle, dark, tmp_path / "adapted.fer", unlabelled=True, answer=1.0)
    assert adapted["answered"]["before"]["share"] == np.mean(kept)


def test_duplicates_count_once_and_not_at_all_where_they_were_trained_on(
    fake_bundle: Path, tmp_path: Path
) -> None:
    val = rows("val")
    write(tmp_path / "f-train.parquet", [*rows("train")[:20], *val[:5]])
    write(tmp_path / "f-val.parquet", [*val[:50], *val[10:20]])
    report = evaluate(fake_bundle, tmp_path)
    assert report["all"]["faces"] == 60
    assert report["deduplicated"]["faces"] == 45


def test_near_duplicates_count_neither(fake_bundle: Path, tmp_path: Path) -> None:
    def row(seed: int, gain: float = 1.0, edge: int = 0) -> dict[str, Any]:
        chance = np.random.default_rng(seed).normal(0, 1, (60, 60))
        smooth = 128 + 900 * gain * cv2.GaussianBlur(chance, (0, 0), 4)
        pixels = np.clip(smooth, 0, 255).astype(np.uint8)[edge : 60 - edge, edge : 60 - edge]
        image = {"bytes": cv2.imencode(".png", pixels)[1].tobytes(), "path": None}
        return {"name": f"{seed}-{gain}-{edge}", "image": image, "label": EMOTIONS[seed % 7]}

    write(tmp_path / "f-train.parquet", [row(seed) for seed in range(10)])
    new = [row(seed) for seed in range(20, 30)]
    copies = [row(seed, 0.8, 3) for seed in (0, 1, 20)]
    write(tmp_path / "f-val.parquet", [*new, row(3), *copies])
    evaluation = evaluate_all([fake_bundle], tmp_path, near_duplicates=True)
    report = evaluation["inputs"][0]
    keys = ("all", "deduplicated", "near_deduplicated")
    assert [report[key]["faces"] for key in keys] == [14, 13, 10]
    assert "without near duplicates" in evaluation_page(evaluation)
    assert "near_deduplicated" not in evaluate(fake_bundle, tmp_path)
    write(tmp_path / "f-val.parquet", copies[:2])
    with pytest.raises(DataError, match="near duplicate of one in its train part"):
        evaluate(fake_bundle, tmp_path, near_duplicates=True)


@pytest.mark.parametrize("split", ["val", None])
def test_one_parquet_file_is_evaluated_whole(
    fake_bundle: Path, tmp_path: Path, split: str | None
) -> None:
    report = evaluate(fake_bundle, write(tmp_path / "f-val.parquet", rows("val")), split)
    assert report["all"]["faces"] == report["deduplicated"]["faces"] == 336


def test_data_whose_every_picture_was_trained_on_is_said(fake_bundle: Path, tmp_path: Path) -> None:
    for split in ("train", "val"):
        write(tmp_path / f"f-{split}.parquet", rows("val")[:30])
    with pytest.raises(DataError, match="train"):
        evaluate(fake_bundle, tmp_path)


def test_a_precision_that_the_bundle_lacks_is_refused(fake_bundle: Path) -> None:
    with pytest.raises(TargetError, match="int8"):
        evaluate(fake_bundle, FACES, precision="int8")


# --- several, side by side -----------------------------------------------------------------------


def test_each_variant_that_runs_stands_beside_the_checkpoint(evaluation: dict[str, Any]) -> None:
    names = [report["name"] for report in evaluation["inputs"]]
    assert names[0] == "default-checkpoint"
    assert "default.fer onnxruntime/fp32" in names
    assert len(names) == len(set(names)) >= 3
    assert len(evaluation["comparisons"]) == len(names) - 1
    for row in evaluation["comparisons"]:
        assert row["with"] == "default-checkpoint"
        assert row["agreement"] > 0.9
        low, high = row["accuracy"]["interval"]
        assert low <= row["accuracy"]["change"] <= high
    assert "95%" in evaluation["method"]
    assert evaluation["environment"]["libraries"]["torch"]
    json.dumps(evaluation, allow_nan=False)


def test_an_input_is_what_evaluating_it_alone_gives(
    evaluation: dict[str, Any], tmp_path: Path
) -> None:
    data = write(tmp_path / "f-val.parquet", rows("val")[::4])
    alone = evaluate(DEFAULT_CHECKPOINT, data)
    assert evaluation["inputs"][0] == {"name": "default-checkpoint", **alone}


def test_figures_lie_in_their_intervals(evaluation: dict[str, Any]) -> None:
    m = evaluation["inputs"][0]["all"]
    for name in ("accuracy", "balanced_accuracy", "macro_f1", "weighted_f1"):
        low, high = m["intervals"][name]
        assert low < m[name] < high


def test_a_variant_for_another_chip_is_refused_and_the_others_go_on(fake_bundle: Path) -> None:
    manifest = json.loads((fake_bundle / "bundle.json").read_text("utf-8"))
    (variant,) = manifest["variants"]
    manifest["variants"].append({**variant, "target": "somechip"})
    (fake_bundle / "bundle.json").write_text(json.dumps(sealed(manifest)), "utf-8")
    evaluation = evaluate_all([fake_bundle], FACES, target="all")
    assert [report["name"] for report in evaluation["inputs"]] == ["fake.fer fake/fp32"]
    (refused,) = evaluation["refused"]
    assert refused["input"] == "fake.fer somechip/fp32"
    assert "somechip" in refused["why"]
    assert "somechip" in evaluation_page(evaluation)
    with pytest.raises(TargetError, match="somechip"):
        evaluate_all([fake_bundle], FACES, target="somechip")
    with pytest.raises(TargetError, match=r"nothing to evaluate: .*int8"):
        evaluate_all([fake_bundle], FACES, target="all", precision="int8")


def test_a_run_is_named_by_its_folder_and_the_same_thing_twice_is_told_apart(
    finished: Any,
) -> None:
    evaluation = evaluate_all([finished.best, finished.best], FACES)
    assert [report["name"] for report in evaluation["inputs"]] == ["tiny/best", "tiny/best #2"]
    assert evaluation["comparisons"][0]["agreement"] == 1


def test_faces_that_were_trained_on_are_said(
    finished: Any, few_faces: Path, fake_bundle: Path, tmp_path: Path
) -> None:
    """By the fingerprint in the card, whatever the part is called."""
    own = evaluate_all([finished.best], few_faces / "faces-train.parquet", None)
    assert own["inputs"][0]["trained_on"] is True
    page = evaluation_page(own)
    assert "was trained on these faces" in page
    assert "none is in the train part" not in page
    assert evaluate(finished.best, few_faces, "train")["trained_on"] is True
    other = evaluate_all([finished.best], write(tmp_path / "f.parquet", rows("val")), None)
    assert other["inputs"][0]["trained_on"] is None
    assert "no train part to compare with" in evaluation_page(other)
    assert evaluate(finished.best, FACES)["trained_on"] is False
    assert evaluate(fake_bundle, FACES)["trained_on"] is None
    nothing_known = evaluation_page(evaluate_all([fake_bundle], FACES))
    assert "none is in the train part" in nothing_known


def test_faces_that_were_trained_on_are_said_beside_duplicates_in_val(
    finished: Any, few_faces: Path, tmp_path: Path
) -> None:
    """Training drops faces that are in val too, and the card has the fingerprint of the others."""
    trained = pyarrow.parquet.read_table(few_faces / "faces-train.parquet").to_pylist()
    both = rows("val")[:2]
    for part, content in (("train", [*trained, *both]), ("val", rows("val"))):
        write(tmp_path / f"faces-{part}.parquet", content)
    assert evaluate(finished.best, tmp_path, "train")["trained_on"] is True
    write(tmp_path / "faces-val.parquet", [{**both[0], "label": "unheard of"}])
    assert evaluate(finished.best, tmp_path, "train")["trained_on"] is None
