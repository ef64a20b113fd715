"""Networks are what their recipes say, to the parameter."""

from __future__ import annotations

import pytest
import torch

from fer_edge.errors import RecipeError
from fer_edge.labels import EMOTIONS
from fer_edge.training.models.network import (
    ExpressionNet,
    InputSpec,
    ModelSpec,
    faces_at_once,
    parameter_count,
)

GREY = InputSpec(48, "grey", (0.5,), (0.25,))
RGB = InputSpec(64, "rgb", (0.5,) * 3, (0.5,) * 3)
SYSTEM_C = (
    "dropout 0.3",
    "linear 512",
    "relu",
    "batchnorm",
    "dropout 0.3",
    "linear 256",
    "relu",
    "batchnorm",
)


def test_system_c_has_the_published_number_of_parameters() -> None:
    net = ExpressionNet(
        ModelSpec("tf_efficientnetv2_s", EMOTIONS, RGB, dropout=0.15, neck=SYSTEM_C)
    )
    assert parameter_count(net) == 20_968_023
    assert parameter_count(net.neck) + parameter_count(net.head) == 790_535


@pytest.mark.parametrize(
    ("backbone", "spec", "neck", "width"),
    [
        ("cnn48", GREY, (), 256),
        ("fer_resnet", GREY, ("linear 128",), 128),
        ("mobilenetv2_stride16", GREY, (), 1280),
        ("mobilenetv3_small_050", RGB, (), 1024),  # more than its num_features
        ("test_byobnet", RGB, ("linear 256", "batchnorm", "relu", "dropout 0.2"), 256),
    ],
)
def test_the_embedding_is_what_the_classifier_sees(
    backbone: str, spec: InputSpec, neck: tuple[str, ...], width: int
) -> None:
    net = ExpressionNet(ModelSpec(backbone, EMOTIONS, spec, neck=neck)).eval()
    logits, embedding = net(torch.zeros(2, spec.channels, spec.size_px, spec.size_px))
    assert logits.shape == (2, len(EMOTIONS))
    assert embedding.shape == (2, width)
    assert net.embedding_dim == width
    assert torch.equal(logits, net.head(embedding))


@pytest.mark.parametrize(
    "layer", ["", "linear", "linear 0", "linear x", "relu 3", "dropout 1", "dropout x", "conv 3"]
)
def test_a_layer_that_no_neck_has_is_named(layer: str) -> None:
    with pytest.raises(RecipeError, match="neck"):
        ExpressionNet(ModelSpec("cnn48", EMOTIONS, GREY, neck=(layer,)))


@pytest.mark.parametrize("labels", [(), ("happiness",)])
def test_one_label_is_nothing_to_tell_apart(labels: tuple[str, ...]) -> None:
    with pytest.raises(RecipeError, match=rf"expected 2 to 1000 labels, got {len(labels)}"):
        ExpressionNet(ModelSpec("cnn48", labels, GREY))


def test_a_card_from_before_there_were_necks_is_read() -> None:
    card = ModelSpec("cnn48", EMOTIONS, GREY).as_dict()
    del card["neck"]
    assert ModelSpec.from_dict(card) == ModelSpec("cnn48", EMOTIONS, GREY)


@pytest.mark.parametrize("name", ["checkpoint_path", "pretrained", "pretrained_cfg_overlay"])
def test_a_card_cannot_make_the_backbone_read_files(name: str) -> None:
    with pytest.raises(RecipeError, match=name):
        ExpressionNet(ModelSpec("cnn48", EMOTIONS, GREY, backbone_args={name: "/etc/passwd"}))


def test_as_many_faces_at_once_as_the_caches_hold() -> None:
    cpu, gpu = torch.device("cpu"), torch.device("cuda")
    per_core = 128**2 * faces_at_once(128, cpu) / torch.get_num_threads()
    assert per_core == 4 * 128**2
    assert faces_at_once(64, cpu) == 4 * faces_at_once(128, cpu)
    assert faces_at_once(10_000, cpu) == 1
    assert faces_at_once(128, gpu) > 100
