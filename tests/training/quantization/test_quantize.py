"""``fer-edge quantize``: int8 weights that decide as the float network, resumed to the same."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from fer_edge.errors import CheckpointError, DataError, InputError
from fer_edge.shipped import FACES
from fer_edge.training.checkpoint import CARD, Checkpoint, load_checkpoint, save_checkpoint
from fer_edge.training.quantization.distil import Distillation
from fer_edge.training.quantization.quantize import quantize

QUICK = Distillation(epochs=2, batch=64, lr=1e-4)


@pytest.fixture(scope="module")
def float_folder(
    untrained: Callable[..., Checkpoint], tmp_path_factory: pytest.TempPathFactory
) -> Path:
    folder = tmp_path_factory.mktemp("float") / "checkpoint"
    save_checkpoint(untrained("grey", "test_resnet"), folder)
    return folder


def _tensors(folder: Path) -> dict[str, torch.Tensor]:
    int8 = load_checkpoint(folder).int8
    assert int8 is not None
    return {**int8.tensors, "scales": torch.tensor(list(int8.activations.values()))}


@pytest.mark.slow
def test_a_killed_run_ends_with_the_same_weights(float_folder: Path, tmp_path: Path) -> None:
    said: list[str] = []
    quantize(float_folder, FACES, tmp_path / "whole", QUICK, say=said.append)
    assert sum(text.startswith("epoch") for text in said) == 3  # without training, and two epochs

    class KilledError(Exception):
        pass

    def kill(what: str, done: int, total: int) -> None:
        if what.startswith("Epoch 2") and done == 2:
            raise KilledError

    with pytest.raises(KilledError):
        quantize(float_folder, FACES, tmp_path / "two", QUICK, say=said.append, step=kill)
    assert not (tmp_path / "two").exists()
    with pytest.raises(InputError, match="other settings"):
        quantize(float_folder, FACES, tmp_path / "two", Distillation(epochs=3), resume=True)
    card = json.loads((float_folder / CARD).read_text("utf-8"))
    card["model"]["input"]["mean"] = [0.2]
    other = Path(shutil.copytree(float_folder, tmp_path / "other"))
    (other / CARD).write_text(json.dumps(card), "utf-8")
    with pytest.raises(InputError, match="another checkpoint"):
        quantize(other, FACES, tmp_path / "two", QUICK, resume=True, say=said.append)
    state = torch.load(tmp_path / "two.state.pt", weights_only=True)
    torch.save({**state, "seconds": 3600}, tmp_path / "two.state.pt")
    made = quantize(float_folder, FACES, tmp_path / "two", QUICK, resume=True, say=said.append)
    assert made.int8 is not None
    assert made.int8.facts["minutes"] >= 60  # those before the kill count
    whole, resumed = _tensors(tmp_path / "whole"), _tensors(tmp_path / "two")
    assert whole.keys() == resumed.keys()
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)
    assert not list(tmp_path.glob("*.state.pt"))


def test_a_run_killed_after_the_reconstruction_does_not_repeat_it(
    float_folder: Path, tmp_path: Path
) -> None:
    one = Distillation(epochs=1, batch=64, lr=1e-4)
    quantize(float_folder, FACES, tmp_path / "whole", one, say=lambda text: None)

    def kill(what: str, done: int, total: int) -> None:
        if what.startswith("Epoch 1"):
            raise KeyboardInterrupt

    said: list[str] = []
    with pytest.raises(KeyboardInterrupt):
        quantize(float_folder, FACES, tmp_path / "two", one, say=said.append, step=kill)
    steps: list[str] = []

    def note(what: str, done: int, total: int) -> None:
        steps.append(what)

    quantize(float_folder, FACES, tmp_path / "two", one, resume=True, say=said.append, step=note)
    assert sum(text.startswith("epoch 0/") for text in said) == 1
    assert not {"Fitting layers", "Measuring ranges"} & set(steps)
    whole, resumed = _tensors(tmp_path / "whole"), _tensors(tmp_path / "two")
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)


def test_ranges_alone_and_what_the_card_says(float_folder: Path, tmp_path: Path) -> None:
    made = quantize(
        float_folder, FACES, tmp_path / "fast", Distillation(epochs=0), say=lambda text: None
    )
    assert made.int8 is not None
    record = made.int8.facts["held_out"]
    assert record["faces"] == record["same"] + round((1 - record["agreement"]) * record["faces"])
    low, high = record["agreement_95"]
    assert low <= record["agreement"] <= high
    before, after = load_checkpoint(float_folder), load_checkpoint(tmp_path / "fast")
    for name, value in before.model.state_dict().items():
        assert torch.equal(value, after.model.state_dict()[name])  # the float network stays


@pytest.mark.parametrize(
    ("gain", "sentence"),
    [(1e3, "int8 takes at most .* --precision fp32"), (1e10, "are not numbers.* Train again")],
)
def test_values_too_large_for_int8_are_refused_before_anything_is_written(
    untrained: Callable[..., Checkpoint], tmp_path: Path, gain: float, sentence: str
) -> None:
    source = untrained("grey", "test_resnet")
    for layer in source.model.modules():
        if isinstance(layer, torch.nn.BatchNorm2d):
            torch.nn.init.constant_(layer.weight, gain)
    folder = tmp_path / "large"
    save_checkpoint(source, folder)
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    with pytest.raises(CheckpointError, match=sentence):
        quantize(folder, FACES, folder, Distillation(epochs=0), say=lambda text: None)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    assert list(tmp_path.iterdir()) == [folder]


def test_too_few_faces_and_broken_states_are_sentences(
    float_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fer_edge.training.quantization.quantize._LEAST_FACES", 10_000)
    with pytest.raises(DataError, match="at least"):
        quantize(float_folder, FACES, tmp_path / "few", QUICK)
    monkeypatch.undo()
    with pytest.raises(CheckpointError):
        quantize(tmp_path / "nothing", FACES, tmp_path / "x", QUICK)
    (tmp_path / "bad.state.pt").write_bytes(b"not a state")
    with pytest.raises(InputError, match="leave --resume out"):
        quantize(float_folder, FACES, tmp_path / "bad", QUICK, resume=True, say=lambda text: None)


def test_a_full_disk_and_a_state_that_lacks_a_part_are_sentences(
    float_folder: Path, tmp_path: Path
) -> None:
    resource = pytest.importorskip("resource")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)

    def fill(what: str, done: int, total: int) -> None:
        if what == "Fitting layers":
            resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, before[1]))

    out, fast = tmp_path / "full", Distillation(epochs=0)
    try:
        with pytest.raises(InputError, match=r"Free space and continue with --resume"):
            quantize(float_folder, FACES, out, fast, say=lambda text: None, step=fill)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)

    def stop(text: str) -> None:
        if text.startswith("epoch 1/"):
            raise KeyboardInterrupt

    one = Distillation(epochs=1)
    with pytest.raises(KeyboardInterrupt):
        quantize(float_folder, FACES, out, one, say=stop)
    path = tmp_path / "full.state.pt"
    whole = torch.load(path, weights_only=True)
    for part in ("distiller", "best", "agreement", "epoch", "seconds"):
        torch.save({key: value for key, value in whole.items() if key != part}, path)
        with pytest.raises(InputError, match="leave --resume out"):
            quantize(float_folder, FACES, out, one, resume=True, say=lambda text: None)
