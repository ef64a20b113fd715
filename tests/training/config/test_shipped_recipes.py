"""The recipes of systems A to E: numbers of parameters, and a complete run.

The numbers are published ones. The run goes from faces to a Predictor, with the same networks made
smaller.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet
import pytest
import torch

from fer_edge import Predictor
from fer_edge.converters.pipeline.convert import convert
from fer_edge.converters.pipeline.face_samples import parity_faces
from fer_edge.converters.pipeline.matrix_networks import SMALL
from fer_edge.labels import EMOTIONS
from fer_edge.preprocess import CropRule
from fer_edge.shipped import FACES
from fer_edge.training.checkpoint import load_checkpoint
from fer_edge.training.config.recipe import load_recipe
from fer_edge.training.config.schema import Recipe
from fer_edge.training.deploy import DeployModule
from fer_edge.training.evaluation.evaluate import evaluate
from fer_edge.training.loop.train import train
from fer_edge.training.models.freeze import freeze, parameter_counts, prepare, trainable_count
from fer_edge.training.models.from_recipe import model_spec
from fer_edge.training.models.network import ExpressionNet

pytestmark = pytest.mark.usefixtures("undrawn")

ROOT = Path(__file__).parents[3]

# Total, and what each phase trains. Published: 50.5 M and 6.1 M (A), 20,968,023 and 790,535 (C).
FULL = {
    "gcvit-full": (50_522_348, [50_522_348]),
    "gcvit-last2": (50_522_348, [6_126_731]),
    "vit-tiny-cutmix": (5_525_767, [5_525_767]),
    "efficientnetv2-two-phase": (20_968_023, [790_535, 4_728_071]),
    "efficientnetv2-frozen": (20_968_023, [790_535]),
    "vitmae-partial": (85_804_039, [56_709_895]),
    "cnn48": (390_119, [390_119]),
    "swin-embedding": (86_875_327, [86_875_327]),
}

# The small network of the matrix, and what has to change with its number of blocks and layers.
SMALLER: dict[str, tuple[str, tuple[str, ...]]] = {
    "gcvit-full": ("gcvit, small", ()),
    "gcvit-last2": ("gcvit, small", ()),
    "vit-tiny-cutmix": ("vit_tiny, small", ()),
    "efficientnetv2-two-phase": (
        "efficientnetv2, small",
        ("fit.then=[{train: layers 5, epochs: 1, lr: 2.0e-5}]",),
    ),
    "efficientnetv2-frozen": ("efficientnetv2, small", ()),
    "vitmae-partial": ("vit_mae, small", ("fit.train=last 1",)),
    "cnn48": ("cnn48", ()),
    "swin-embedding": ("swin, small", ()),
}


def smaller(name: str) -> Recipe:
    """The recipe for one epoch (of each phase) of the small network, from random weights."""
    network, changes = SMALLER[name]
    spec = SMALL[network]
    return load_recipe(
        name,
        (
            f"model.backbone={spec.backbone}",
            f"model.backbone_args={json.dumps(spec.backbone_args)}",
            "model.pretrained=false",
            f"input.size_px={spec.input.size_px}",
            "data.holdout=0.2",
            "fit.epochs=1",
            "fit.batch=16",
            "fit.precision=fp32",
            "fit.workers=0",
            *changes,
        ),
    )


@pytest.fixture(scope="module")
def few(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """70 faces to train on and 105 to judge by, as many of each class.

    They are real ones of FER2013 where they lie beside the checkout, else the shipped composites.
    """
    folder = tmp_path_factory.mktemp("few")
    fer2013 = ROOT.parent / "shared" / "data" / "fer2013"
    source = fer2013 if fer2013.is_dir() else FACES
    for split, per_class in (("train", 10), ("val", 15)):
        rows: list[Any] = []
        table = pyarrow.parquet.read_table(next(source.glob(f"*-{split}.parquet")))
        column = "fer2013_label" if "fer2013_label" in table.column_names else "label"
        labels = table[column].to_pylist()
        for label in sorted(set(labels)):
            rows += [i for i, own in enumerate(labels) if own == label][:per_class]
        pyarrow.parquet.write_table(table.take(rows), folder / f"faces-{split}.parquet")
    return folder


@pytest.mark.parametrize("name", FULL)
def test_the_full_network_has_the_published_number_of_parameters(name: str) -> None:
    recipe = load_recipe(name)
    assert parameter_counts(model_spec(recipe), recipe.fit.phases) == FULL[name]


def test_shares_of_system_a_are_the_published_ones() -> None:
    total, (trained,) = FULL["gcvit-last2"]
    assert f"{total / 1e6:.1f} {trained / 1e6:.1f} {trained / total:.1%}" == "50.5 6.1 12.1%"


def test_the_head_of_system_c_is_what_phase_1_trains() -> None:
    """Counted on the network itself, by its two parts, and not by what is switched on."""
    recipe = load_recipe("efficientnetv2-two-phase")
    net = ExpressionNet(model_spec(recipe))
    prepare(net, recipe.fit.phases[0], seed=0)
    head = [*net.neck.parameters(), *net.head.parameters()]
    assert sum(p.numel() for p in head) == trainable_count(net) == 790_535
    prepare(net, recipe.fit.phases[1], seed=0)
    unfrozen = {n.rsplit(".", 1)[0] for n, p in net.backbone.named_parameters() if p.requires_grad}
    assert len(unfrozen) == 30
    assert "bn2" in unfrozen


def test_system_d_freezes_its_embeddings_and_four_blocks() -> None:
    with torch.device("meta"):
        net = ExpressionNet(model_spec(load_recipe("vitmae-partial")))
    freeze(net, load_recipe("vitmae-partial").fit.train)
    parameters = net.backbone.named_parameters()
    frozen = {name.split(".")[0] for name, p in parameters if not p.requires_grad}
    assert frozen == {"cls_token", "pos_embed", "patch_embed", "blocks"}
    for i, block in enumerate(net.backbone.blocks):
        assert {p.requires_grad for p in block.parameters()} == {i >= 4}


@pytest.mark.slow
@pytest.mark.parametrize("name", SMALLER)
def test_from_faces_to_a_predictor(name: str, few: Path, tmp_path: Path) -> None:
    recipe = smaller(name)
    best = train(recipe, few, tmp_path / "run", say=lambda _: None)
    report = evaluate(best, few)
    assert report["all"]["faces"] == 105
    if name == "gcvit-last2":  # gcvit-full converts the same network, in half a minute
        return
    convert(best, ["onnxruntime"], tmp_path / "small.fer", ["fp32"], data=few, say=lambda _: None)
    checkpoint = load_checkpoint(best)
    faces = parity_faces(few, EMOTIONS, CropRule(recipe.input.size_px))
    expected, embedding = DeployModule(checkpoint).run(faces.images)
    with Predictor(tmp_path / "small.fer") as predictor:
        answers = predictor.predict_batch(faces.images[:8])
    for answer, probabilities, vector in zip(answers, expected[:8], embedding[:8], strict=True):
        shares = [answer.probabilities[label] for label in EMOTIONS]
        assert shares == pytest.approx(probabilities, abs=1e-4)
        assert answer.embedding == pytest.approx(vector, rel=1e-3, abs=1e-3)
    if name == "swin-embedding":
        assert embedding.shape[1] == 128
