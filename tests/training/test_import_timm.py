"""Networks that were trained elsewhere: timm's own logits, every tensor accounted for."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch

from fer_edge.errors import CheckpointError, InputError, LabelError, RecipeError
from fer_edge.labels import EMOTIONS, EMOTIONS_8
from fer_edge.training.checkpoint import load_checkpoint
from fer_edge.training.import_timm import import_checkpoint, take_over
from fer_edge.training.models import torchvision_compat  # noqa: F401
from fer_edge.training.models.network import InputSpec, ModelSpec

import timm  # isort: skip

RGB = InputSpec(64, "rgb", (0.485, 0.456, 0.406), (0.229, 0.224, 0.225))


def spec(backbone: str, labels: tuple[str, ...] = EMOTIONS, **changes: Any) -> ModelSpec:
    return ModelSpec(backbone, labels, **{"input": RGB, **changes})


def trained(backbone: str, classes: int = 7, **arguments: Any) -> Any:
    """timm's network with weights, biases and statistics that are not those it starts with."""
    torch.manual_seed(3)
    net = timm.create_model(backbone, num_classes=classes, **arguments).eval()
    with torch.no_grad():
        for value in net.state_dict().values():
            if value.is_floating_point() and value.ndim < 2:
                value.mul_(1 + 0.2 * torch.rand_like(value)).add_(0.02)
    return net


# One for each place and shape of a classifier: fc, classifier after a wider layer, head.fc, head,
# and with batch norms and squeeze-excite between.
@pytest.mark.parametrize(
    ("backbone", "arguments"),
    [
        ("resnet10t", {}),
        ("mobilenetv3_small_050", {}),
        ("mobilenetv2_050", {}),
        ("regnetx_002", {}),
        ("convnext_atto", {}),
        ("test_vit", {"img_size": 64}),
        ("test_resnet", {}),
        ("test_nfnet", {}),
    ],
)
def test_logits_are_timms_own(backbone: str, arguments: dict[str, Any], tmp_path: Path) -> None:
    theirs = trained(backbone, **arguments)
    path = tmp_path / "theirs.safetensors"
    safetensors.torch.save_file(theirs.state_dict(), path)
    ours, account = take_over(path, spec(backbone, backbone_args=arguments))
    x = torch.randn(3, 3, 64, 64, generator=torch.Generator().manual_seed(9))
    with torch.inference_mode():
        wanted = theirs(x)
        torch.testing.assert_close(ours(x)[0], wanted, rtol=1e-5, atol=1e-5)
    assert wanted.std(0).max() > 1e-4, "the pictures have to matter"
    assert set(account.loaded) == set(theirs.state_dict())
    assert account.missing == account.left_over == account.reshaped == ()


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "theirs.pth"
    torch.save(trained("test_byobnet").state_dict(), path)
    return path


@pytest.mark.parametrize("prefix", ["", "module.", "_orig_mod.", "module._orig_mod."])
def test_a_training_state_is_unwrapped(file: Path, prefix: str) -> None:
    state = {f"{prefix}{k}": v for k, v in torch.load(file).items()}
    wanted, _ = take_over(file, spec("test_byobnet"))
    torch.save({"epoch": 7, "state_dict": state, "optimizer": {"lr": 0.1}}, file)
    got, _ = take_over(file, spec("test_byobnet"))
    for name, value in wanted.state_dict().items():
        assert torch.equal(value, got.state_dict()[name])


def test_the_checkpoint_is_whole_and_says_where_it_came_from(file: Path, tmp_path: Path) -> None:
    labels = ("surprise", *(n for n in EMOTIONS if n != "surprise"))
    out = tmp_path / "checkpoint"
    account, rounding = import_checkpoint(file, spec("test_byobnet", labels), out, "MIT")
    loaded = load_checkpoint(out)
    assert loaded.spec.labels == labels
    assert (loaded.temperature, loaded.abstain_below) == (1, 0)
    assert loaded.facts["imported"]["sha256"] == account.sha256
    assert loaded.facts["licences"] == {"data": "MIT"}
    assert loaded.facts["calibrated"] is False
    assert rounding["faces"] == 84
    assert 0 < rounding["max_abs_dp"] < 0.01


def test_a_grey_network_is_taken_over(tmp_path: Path) -> None:
    path = tmp_path / "grey.pth"
    torch.save(trained("test_byobnet", in_chans=1).state_dict(), path)
    grey = InputSpec(48, "grey", (0.5,), (0.25,))
    net, _ = take_over(path, spec("test_byobnet", input=grey))
    assert net(torch.zeros(1, 1, 48, 48))[0].shape == (1, 7)
    with pytest.raises(CheckpointError, match=r"another shape.*Check backbone, colour"):
        take_over(path, spec("test_byobnet"))


def test_another_number_of_labels_is_refused(file: Path) -> None:
    with pytest.raises(LabelError, match=r"7 outputs.*got 8 labels.*contempt"):
        take_over(file, spec("test_byobnet", EMOTIONS_8))


def test_a_pickled_module_is_refused_with_the_reason(file: Path) -> None:
    torch.save(trained("test_byobnet"), file)
    with pytest.raises(CheckpointError, match="pickled module can run any code"):
        take_over(file, spec("test_byobnet"))


def test_missing_tensors_are_named(file: Path) -> None:
    state = torch.load(file)
    del state["stem.conv.weight"]
    torch.save(state, file)
    with pytest.raises(CheckpointError, match=r"1 missing in the file \(stem.conv.weight\)"):
        take_over(file, spec("test_byobnet"))


def test_tensors_of_something_else_are_in_the_account(file: Path) -> None:
    torch.save({**torch.load(file), "criterion.weight": torch.ones(7)}, file)
    _, account = take_over(file, spec("test_byobnet"))
    assert account.left_over == ("criterion.weight",)
    assert "1 unused (criterion.weight)" in str(account)


def test_a_backbone_without_classifier_is_no_import(file: Path) -> None:
    state = {k: v for k, v in torch.load(file).items() if not k.startswith("head.fc")}
    torch.save(state, file)
    with pytest.raises(CheckpointError, match=r"head\.fc\.weight.*train --weights"):
        take_over(file, spec("test_byobnet"))


def test_a_classifier_of_one_number_is_no_import(file: Path) -> None:
    state = torch.load(file)
    torch.save(state | {"head.fc.weight": torch.tensor(1.0)}, file)
    with pytest.raises(CheckpointError, match=r"head\.fc\.weight.*found none"):
        take_over(file, spec("test_byobnet"))


def test_two_classifiers_are_refused(file: Path) -> None:
    torch.save(trained("deit_tiny_distilled_patch16_224").state_dict(), file)
    with pytest.raises(CheckpointError, match="head_dist"):
        take_over(file, spec("deit_tiny_distilled_patch16_224"))


def test_values_that_are_not_finite_are_refused(file: Path) -> None:
    state = torch.load(file)
    state["stem.conv.weight"].view(-1)[3] = float("inf")
    torch.save(state, file)
    with pytest.raises(CheckpointError, match="not finite"):
        take_over(file, spec("test_byobnet"))


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        ({"backbone": "no_such_net"}, RecipeError, "no_such_net"),
        ({"backbone_args": {"no_such": 1}}, RecipeError, "cannot build"),
        ({"backbone": "test_vit"}, CheckpointError, "does not fit|classifier's weights"),
        ({"input": InputSpec(64, "rgb", (123.7, 116.3, 103.5), (58, 57, 57))}, InputError, "255"),
        ({"input": InputSpec(64, "rgb", (0.5,) * 3, (0.0,) * 3)}, InputError, "std"),
    ],
)
def test_what_was_stated_wrongly_is_a_sentence(
    file: Path, tmp_path: Path, change: dict[str, Any], error: type[Exception], words: str
) -> None:
    values: dict[str, Any] = {"backbone": "test_byobnet", "labels": EMOTIONS, "input": RGB}
    out = tmp_path / "checkpoint"
    with pytest.raises(error, match=words):
        import_checkpoint(file, ModelSpec(**{**values, **change}), out)
    assert not out.exists()


def test_a_size_that_the_network_cannot_take_is_said(tmp_path: Path) -> None:
    path = tmp_path / "vit.pth"
    torch.save(trained("vit_tiny_patch16_224").state_dict(), path)
    with pytest.raises(RecipeError, match="does not take 64 px images"):
        take_over(path, spec("vit_tiny_patch16_224"))


def test_a_folder_that_is_no_checkpoint_is_not_replaced(file: Path, tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    (home / "letter.txt").write_text("dear")
    with pytest.raises(InputError, match="is not a checkpoint"):
        import_checkpoint(file, spec("test_byobnet"), home)
    assert (home / "letter.txt").read_text() == "dear"


# --- files of other training programs ------------------------------------------------------------


def same_network(file: Path, expected: Any) -> None:
    got, _ = take_over(file, spec("test_byobnet"))
    for name, value in expected.state_dict().items():
        assert torch.equal(value, got.state_dict()[name])


@pytest.mark.parametrize(
    "prefix",
    [
        "model.",
        "model._orig_mod.",
        "_orig_mod.module.",
        "_orig_mod.model.",
        "module.model.",
        "net.",
        "model.module._orig_mod.",
        "model.model.",
    ],
)
def test_prefixes_of_wrappers_are_removed_in_any_order(file: Path, prefix: str) -> None:
    wanted, _ = take_over(file, spec("test_byobnet"))
    state = {f"{prefix}{k}": v for k, v in torch.load(file).items()}
    torch.save({"state_dict": {**state, "criterion.weight": torch.ones(7)}}, file)
    same_network(file, wanted)


@pytest.mark.parametrize(
    "keys",
    [("net",), ("state_dict",), ("model_state",), ("model_state_dict",), ("ema",), ("weights",),
     ("ema", "module"), ("model", "state_dict"), ("params_ema",), ("network",)],
)  # fmt: skip
def test_tensors_are_found_below_any_usual_key(file: Path, keys: tuple[str, ...]) -> None:
    wanted, _ = take_over(file, spec("test_byobnet"))
    state: Any = torch.load(file)
    for key in reversed(keys):
        state = {key: state, "epoch": 3}
    torch.save(state, file)
    same_network(file, wanted)


@pytest.mark.parametrize("legacy", [True, False], ids=["legacy", "zip"])
def test_plain_values_beside_the_tensors_are_accepted(file: Path, legacy: bool) -> None:
    """timm's train.py stores its arguments, and a metric of numpy."""
    wanted, _ = take_over(file, spec("test_byobnet"))
    more = {
        "args": argparse.Namespace(model="test_byobnet", lr=0.1, opt=None, betas=[0.9, 0.99]),
        "metric": np.float64(77.5),
        "best": np.float32(1),
        "epoch": np.int64(3),
        "done": np.bool_(True),
        "arch": "test_byobnet",
    }
    torch.save(
        {"state_dict": torch.load(file), **more}, file, _use_new_zipfile_serialization=not legacy
    )
    same_network(file, wanted)
    assert argparse.Namespace not in torch.serialization.get_safe_globals()


class Runs:
    def __reduce__(self) -> Any:
        return Path.touch, (Path("/tmp/fer-edge-was-run"),)


@pytest.mark.parametrize("where", ["args", "state_dict", "inner"])
def test_code_beside_the_tensors_is_not_run(file: Path, where: str) -> None:
    state = {"state_dict": torch.load(file), "args": argparse.Namespace()}
    if where == "inner":
        state["args"].value = Runs()
    else:
        state[where] = Runs()
    torch.save(state, file)
    with pytest.raises(CheckpointError, match="can run any code"):
        take_over(file, spec("test_byobnet"))
    assert not Path("/tmp/fer-edge-was-run").exists()
