"""Embeddings as files, and whether the check can tell good ones from bad ones."""

from __future__ import annotations

import io
import json
from itertools import permutations
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet
import pytest
import torch

from fer_edge.errors import DataError, InputError, MissingPartError
from fer_edge.predictor import Predictor
from fer_edge.shipped import DEFAULT_BUNDLE, DEFAULT_CHECKPOINT, FACES
from fer_edge.training.evaluation.embed import (
    NEIGHBOURS,
    _ranking_figures,
    _search,
    check,
    embed,
    expected_average_precision,
)
from fer_edge.training.models import torchvision_compat  # noqa: F401  (before torchmetrics)

from torchmetrics.functional import retrieval as tm  # isort: skip


def cosine(a: Any, b: Any) -> Any:
    return (a * b).sum(1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)


@pytest.fixture(scope="module")
def some(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Every eighth of the shipped faces, train and val."""
    folder = tmp_path_factory.mktemp("some")
    for split in ("train", "val"):
        rows = pyarrow.parquet.read_table(FACES / f"faces-{split}.parquet").to_pylist()[::8]
        pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), folder / f"f-{split}.parquet")
    return folder


def test_pictures_and_folders_of_them_are_embedded(tmp_path: Path) -> None:
    (tmp_path / "inside").mkdir()
    (tmp_path / "inside" / "notes.txt").write_text("no picture")
    (tmp_path / "inside" / "a.PNG").write_bytes((FACES / "fear.png").read_bytes())
    found = embed(DEFAULT_BUNDLE, [FACES / "happiness.png", tmp_path])
    assert found.names == [str(FACES / "happiness.png"), str(tmp_path / "inside" / "a.PNG")]
    assert found.labels is None
    with Predictor() as predictor:
        wanted = [predictor(FACES / f"{n}.png") for n in ("happiness", "fear")]
    assert found.answers == [w.label for w in wanted]
    np.testing.assert_allclose(found.embeddings, [w.embedding for w in wanted], atol=1e-5)
    np.testing.assert_allclose(found.confidences, [w.confidence for w in wanted], atol=1e-6)


def test_checkpoint_and_bundle_give_the_same_embeddings(some: Path) -> None:
    ours = embed(DEFAULT_CHECKPOINT, data=some)
    theirs = embed(DEFAULT_BUNDLE, data=some, target="onnxruntime", precision="fp32")
    assert ours.labels == theirs.labels
    assert len(ours.names) == 42
    assert cosine(ours.embeddings, theirs.embeddings).min() > 0.9999


def test_npz_opens_without_pickles(some: Path) -> None:
    found = embed(DEFAULT_CHECKPOINT, data=some)
    with np.load(io.BytesIO(found.npz()), allow_pickle=False) as file:
        assert set(file) == {"names", "labels", "answers", "confidences", "embeddings", "model"}
        assert file["labels"].tolist() == found.labels
        assert np.array_equal(file["embeddings"], found.embeddings)
        assert file["embeddings"].dtype == np.float32
        model = json.loads(str(file["model"]))
    assert model["checkpoint"] == "default-checkpoint"
    assert len(model["labels"]) == 7


def test_parquet_holds_the_same(some: Path) -> None:
    found = embed(DEFAULT_CHECKPOINT, data=some)
    table = pyarrow.parquet.read_table(io.BytesIO(found.parquet()))
    assert table.column_names == ["name", "label", "answer", "confidence", "embedding"]
    assert table["label"].to_pylist() == found.labels
    assert np.array_equal(np.array(table["embedding"].to_pylist(), np.float32), found.embeddings)
    assert json.loads(table.schema.metadata[b"fer_edge.model"]) == found.model


@pytest.mark.parametrize(
    ("pictures", "data"), [([], None), ([FACES / "fear.png"], FACES), (["empty"], None)]
)
def test_nothing_to_embed_is_said(
    pictures: list[Any], data: Path | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("empty").mkdir()
    with pytest.raises(InputError, match="expected"):
        embed(DEFAULT_BUNDLE, pictures, data)


def test_a_broken_picture_is_named(tmp_path: Path) -> None:
    (tmp_path / "broken.png").write_bytes(b"\x89PNG and no more")
    with pytest.raises(DataError, match=r"broken\.png"):
        embed(DEFAULT_BUNDLE, [tmp_path])


# --- the check -----------------------------------------------------------------------------------


def test_the_shipped_model_puts_like_faces_together(some: Path) -> None:
    found = check(DEFAULT_CHECKPOINT, some)
    assert (found["queries"], found["gallery"]) == (42, 42)
    assert found["holds"]
    for name in ("knn_accuracy", "precision_at_10", "map", "nearer"):
        row = found["figures"][name]
        low, high = row["interval"]
        assert row["chance"] < low <= row["value"] <= high
    assert found["figures"]["knn_accuracy"]["chance"] == pytest.approx(1 / 7)
    assert sum(row["queries"] for row in found["per_class"].values()) == 42
    json.dumps(found, allow_nan=False)


def test_a_model_that_embeds_everything_alike_does_not_hold(fake_bundle: Path) -> None:
    found = check(fake_bundle, FACES)
    assert not found["holds"]
    assert found["figures"]["nearer"]["value"] == pytest.approx(0.5, abs=0.01)


def test_faces_with_a_duplicate_in_the_gallery_are_no_queries(some: Path, tmp_path: Path) -> None:
    rows = pyarrow.parquet.read_table(some / "f-val.parquet").to_pylist()
    train = pyarrow.parquet.read_table(some / "f-train.parquet").to_pylist()
    for split, content in (("val", rows), ("train", [*train, *rows[:9]])):
        table = pyarrow.Table.from_pylist(content)
        pyarrow.parquet.write_table(table, tmp_path / f"f-{split}.parquet")
    assert check(DEFAULT_CHECKPOINT, tmp_path)["queries"] == len(rows) - 9


def test_an_expression_that_the_gallery_lacks_is_counted_and_not_judged(
    some: Path, tmp_path: Path
) -> None:
    train = pyarrow.parquet.read_table(some / "f-train.parquet").to_pylist()
    val = pyarrow.parquet.read_table(some / "f-val.parquet").to_pylist()
    kept = [row for row in train if row["label"] != "fear"]
    for split, content in (("val", val), ("train", kept)):
        table = pyarrow.Table.from_pylist(content)
        pyarrow.parquet.write_table(table, tmp_path / f"f-{split}.parquet")
    found = check(DEFAULT_CHECKPOINT, tmp_path)
    assert found["without_their_like"] == sum(row["label"] == "fear" for row in val) > 0
    assert "fear" not in found["per_class"]


def test_a_gallery_without_any_class_of_the_queries_is_an_error(some: Path, tmp_path: Path) -> None:
    for split, label in (("val", "fear"), ("train", "anger")):
        rows = pyarrow.parquet.read_table(some / f"f-{split}.parquet").to_pylist()
        table = pyarrow.Table.from_pylist([row for row in rows if row["label"] == label])
        pyarrow.parquet.write_table(table, tmp_path / f"f-{split}.parquet")
    with pytest.raises(DataError, match=r"classes of part val.*the gallery, found none\. Add some"):
        check(DEFAULT_CHECKPOINT, tmp_path)


def test_the_report_of_the_check_names_the_data_with_its_options(
    fake_bundle: Path, some: Path
) -> None:
    found = check(fake_bundle, f"{some}@drop=anger/fear")
    assert found["data"] == f"{some.name}@drop=anger/fear"


def test_the_gallery_is_not_searched_for_itself(some: Path) -> None:
    with pytest.raises(InputError, match=r"another part than train.*Use --split val"):
        check(DEFAULT_CHECKPOINT, some, "train")


def test_a_source_without_a_gallery_is_said(few_faces: Path) -> None:
    with pytest.raises(MissingPartError, match="val"):
        check(DEFAULT_CHECKPOINT, few_faces)


def test_figures_of_a_search_by_hand() -> None:
    """One query along the first axis; the gallery in the order of its cosine: a b a b."""
    gallery = torch.tensor([[1.0, 0.0], [0.9, 0.1], [0.5, 0.5], [0.0, 1.0]])
    theirs = torch.tensor([0, 1, 0, 1])
    query, own = torch.tensor([[1.0, 0.0]]), torch.tensor([0])
    found = _search(query, own, gallery, theirs, lambda what, done, total: None)
    assert found["map"][0][0] == pytest.approx((1 / 1 + 2 / 3) / 2)
    assert found["nearer"][0][0] == pytest.approx(3 / 4)
    assert found["precision_at_10"][0][0] == pytest.approx(2 / 4)
    assert found["knn_accuracy"][0][0] == 1  # 1.0 + 0.5 votes against 0.9 + 0.0


def at_cosines(*cosines: float) -> torch.Tensor:
    """Return unit vectors with these cosines to the first axis."""
    first = torch.tensor(cosines)
    return torch.stack([first, (1 - first**2).clamp(min=0).sqrt()], dim=1)


def by_loops(cosine: list[float], like: list[bool]) -> tuple[float, float, float]:
    """Return precision, average precision and AUROC of an order without equal cosines."""
    order = [hit for _, hit in sorted(zip(cosine, like, strict=True), reverse=True)]
    hits = [k for k, hit in enumerate(order) if hit]
    average = sum((n + 1) / (k + 1) for n, k in enumerate(hits)) / len(hits)
    pairs = [order[i] for i in range(len(order)) for j in range(i) if order[i] != order[j]]
    nearest = order[:NEIGHBOURS]
    return sum(nearest) / len(nearest), average, pairs.count(False) / len(pairs)


def test_negative_cosines_count_in_each_figure() -> None:
    theirs = torch.tensor([0, 1, 1, 0, 0])
    query, own = torch.tensor([[1.0, 0.0]]), torch.tensor([0])
    gallery = at_cosines(1.0, 0.99, -1.0, -0.98, -0.95)
    found = _search(query, own, gallery, theirs, lambda *_: None)
    assert found["map"][0][0] == pytest.approx((1 / 1 + 2 / 3 + 3 / 4) / 3)
    assert found["precision_at_10"][0][0] == pytest.approx(3 / 5)
    assert found["nearer"][0][0] == pytest.approx(4 / 6)


def test_a_class_without_a_neighbour_wins_no_vote() -> None:
    theirs = torch.tensor([1] * NEIGHBOURS + [0])
    gallery = at_cosines(*np.linspace(-0.1, -0.9, NEIGHBOURS + 1).tolist())
    query, own = torch.tensor([[1.0, 0.0]] * 2), torch.tensor([1, 0])
    found = _search(query, own, gallery, theirs, lambda *_: None)
    assert found["knn_accuracy"][0].tolist() == [1, 0]


def test_queries_in_blocks_have_the_figures_of_plain_loops(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fer_edge.training.evaluation.embed._COSINES_AT_ONCE", 3 * 40)
    draw = torch.Generator().manual_seed(0)
    asked, known = (
        torch.nn.functional.normalize(torch.randn(n, 8, generator=draw)) for n in (7, 40)
    )
    own, theirs = (torch.randint(3, (n,), generator=draw) for n in (7, 40))
    found = _search(asked, own, known, theirs, lambda *_: None)
    for i, query in enumerate(asked):
        wanted = by_loops((known @ query).tolist(), (theirs == own[i]).tolist())
        got = [found[name][0][i] for name in ("precision_at_10", "map", "nearer")]
        assert got == pytest.approx(wanted)


def test_figures_of_positive_cosines_are_those_of_torchmetrics() -> None:
    draw = torch.Generator().manual_seed(1)
    cosine = torch.rand(200, generator=draw).clamp(min=0.01)
    cosine[50:60] = cosine[40:50]  # equal ones, of one class in each pair
    theirs = torch.randint(3, (200,), generator=draw)
    theirs[50:60] = theirs[40:50]
    like = theirs == 1
    _, *found = _ranking_figures(cosine.numpy(), theirs.numpy(), 1)
    assert found == pytest.approx(
        [
            float(tm.retrieval_precision(cosine, like, top_k=NEIGHBOURS)),
            float(tm.retrieval_average_precision(cosine, like)),
            float(tm.retrieval_auroc(cosine, like)),
        ]
    )


def test_equal_cosines_count_half_in_the_order() -> None:
    cosine = np.array([0.5, 0.5, 0.5, 0.2, 0.2], np.float32)
    *_, nearer = _ranking_figures(cosine, np.array([1, 0, 0, 1, 0]), 1)
    assert nearer == pytest.approx((0.5 + 0.5 + 1 + 0 + 0 + 0.5) / 6)


def test_a_small_gallery_of_perfect_neighbours_is_perfect() -> None:
    gallery = torch.nn.functional.one_hot(torch.tensor([0, 0, 0, 1]), 2).float()
    theirs = torch.tensor([0, 0, 0, 1])
    found = _search(gallery[:3], theirs[:3], gallery[:3], theirs[:3], lambda *_: None)
    for value, chance in found.values():
        assert (value == 1).all()
        assert (chance <= 1).all()


@pytest.mark.parametrize(("relevant", "total"), [(1, 1), (1, 5), (3, 5), (5, 5)])
def test_chance_is_the_mean_over_all_orders(relevant: int, total: int) -> None:
    marks = [1] * relevant + [0] * (total - relevant)
    scores = []
    for order in permutations(marks):
        hits = np.cumsum(order)
        scores.append(sum(hits[k] / (k + 1) for k in range(total) if order[k]) / relevant)
    found = expected_average_precision(np.array([relevant]), total)
    assert found[0] == pytest.approx(np.mean(scores))
