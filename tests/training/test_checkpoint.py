"""A checkpoint comes back as it was written, or not at all."""

from __future__ import annotations

import hashlib
import json
import socket
import struct
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch

from fer_edge.errors import CheckpointError
from fer_edge.training.checkpoint import CARD, WEIGHTS, load_checkpoint, save_checkpoint


@pytest.fixture
def folder(untrained: Any, tmp_path: Path) -> Path:
    save_checkpoint(untrained(temperature=1.3), tmp_path / "best")
    return tmp_path / "best"


def card(folder: Path) -> dict[str, Any]:
    content = json.loads((folder / CARD).read_text("utf-8"))
    assert isinstance(content, dict)
    return content


def edit_card(folder: Path, **changes: Any) -> None:
    """Set fields of the card; ``model__backbone`` means the field backbone in model."""
    content = card(folder)
    for key, value in changes.items():
        *sections, last = key.split("__")
        part = content
        for section in sections:
            part = part[section]
        if value is ...:
            del part[last]
        else:
            part[last] = value
    (folder / CARD).write_text(json.dumps(content), "utf-8")


def replace_weights(folder: Path, data: bytes) -> None:
    """Other weights, and a card that vouches for them."""
    (folder / WEIGHTS).write_bytes(data)
    edit_card(folder, weights__sha256=hashlib.sha256(data).hexdigest())


# --- round trip ----------------------------------------------------------------------------------


def test_weights_come_back_exactly_but_for_the_rounding_of_matrices(
    untrained: Any, tmp_path: Path
) -> None:
    original = untrained()
    for module in original.model.modules():  # statistics and biases that half could not hold
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.fill_(1 / 3)
    save_checkpoint(original, tmp_path / "best")
    loaded = load_checkpoint(tmp_path / "best").model.state_dict()
    rounded = 0
    for name, value in original.model.state_dict().items():
        wanted = value.half().float() if value.ndim > 1 else value
        assert torch.equal(loaded[name], wanted), name
        assert loaded[name].dtype == value.dtype
        rounded += not torch.equal(wanted, value)
    assert rounded


def test_a_second_round_trip_changes_no_byte(folder: Path, tmp_path: Path) -> None:
    save_checkpoint(load_checkpoint(folder), tmp_path / "again")
    for name in (WEIGHTS, CARD):
        assert (tmp_path / "again" / name).read_bytes() == (folder / name).read_bytes()


def test_everything_known_about_it_comes_back(untrained: Any, folder: Path) -> None:
    original, loaded = untrained(temperature=1.3), load_checkpoint(folder)
    assert loaded.spec == original.spec
    assert (loaded.temperature, loaded.abstain_below) == (1.3, 0.25)
    assert loaded.facts == original.facts
    assert loaded.sha256 == hashlib.sha256((folder / WEIGHTS).read_bytes()).hexdigest()
    assert not loaded.model.training


@pytest.mark.parametrize(
    "changes",
    [
        {"temperature": 2.5},
        {"abstain_below": 0.9},
        {"model__input__mean": [0.1]},
        {"model__input__std": [0.9]},
        {"model__labels": [*"abcdefg"]},
    ],
    ids=str,
)
def test_all_that_changes_answers_changes_the_hash_of_the_network(
    folder: Path, changes: dict[str, Any]
) -> None:
    before = load_checkpoint(folder)
    assert before.network_sha256 == load_checkpoint(folder).network_sha256
    edit_card(folder, **changes)
    after = load_checkpoint(folder)
    assert after.sha256 == before.sha256
    assert after.network_sha256 != before.network_sha256


def test_numbers_of_numpy_are_hashed_and_saved_as_pythons(untrained: Any, folder: Path) -> None:
    plain = untrained(seed=5, temperature=2.0)
    of_numpy = replace(plain, temperature=np.float32(2), abstain_below=np.float32(0.25))
    assert of_numpy.network_sha256 == replace(plain, abstain_below=0.25).network_sha256
    save_checkpoint(of_numpy, folder)
    loaded = load_checkpoint(folder)
    assert (loaded.temperature, loaded.abstain_below) == (2.0, 0.25)


def test_saving_replaces_the_older_one(untrained: Any, folder: Path) -> None:
    save_checkpoint(untrained(seed=5, temperature=2.0), folder)
    assert load_checkpoint(folder).temperature == 2.0
    assert [path.name for path in folder.parent.iterdir()] == [folder.name]


def test_the_folder_holds_json_and_safetensors_and_no_pickle(folder: Path) -> None:
    assert sorted(path.name for path in folder.iterdir()) == [CARD, WEIGHTS]
    card(folder)
    data = (folder / WEIGHTS).read_bytes()
    (length,) = struct.unpack("<Q", data[:8])
    header = json.loads(data[8 : 8 + length])
    end = max(entry["data_offsets"][1] for entry in header.values() if "data_offsets" in entry)
    assert len(data) == 8 + length + end  # tensors and nothing behind them


def test_what_could_not_be_loaded_again_is_not_saved(untrained: Any, folder: Path) -> None:
    """65,520 is infinity in half precision."""
    too_large = untrained()
    with torch.no_grad():
        too_large.model.head[1].weight[0, 0] = 65_520
    with pytest.raises(CheckpointError, match=r"half precision: not saved\. Train again"):
        save_checkpoint(too_large, folder)
    assert load_checkpoint(folder).temperature == 1.3


# --- damage --------------------------------------------------------------------------------------


def flip_a_bit(data: bytes) -> bytes:
    return data[:-5] + bytes([data[-5] ^ 1]) + data[-4:]


@pytest.mark.parametrize(
    "damage",
    [flip_a_bit, lambda d: d[:-1], lambda d: d + b"\0", lambda d: b""],
    ids=["flipped", "cut off", "longer", "empty"],
)
def test_damaged_weights_are_refused(folder: Path, damage: Callable[[bytes], bytes]) -> None:
    path = folder / WEIGHTS
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(CheckpointError, match=WEIGHTS):
        load_checkpoint(folder)


@pytest.mark.parametrize("missing", [WEIGHTS, CARD])
def test_a_missing_file_is_refused(folder: Path, missing: str) -> None:
    (folder / missing).unlink()
    with pytest.raises(CheckpointError, match=f"{WEIGHTS} and {CARD}"):
        load_checkpoint(folder)


@pytest.mark.parametrize("name", ["nowhere", "nowhere\0", "nowhere\ud800"])
def test_a_missing_folder_is_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="nowhere"):
        load_checkpoint(tmp_path / name)


@pytest.mark.parametrize("content", ["", "{", "[]", "null", '{"schema": 2}', "\x80"])
def test_a_card_that_is_none_is_refused(folder: Path, content: str) -> None:
    (folder / CARD).write_bytes(content.encode("latin-1"))
    with pytest.raises(CheckpointError):
        load_checkpoint(folder)


@pytest.mark.parametrize(
    "content",
    [b"\x80\x04.", b"not tensors", struct.pack("<Q", 2**62) + b"{}"],
    ids=["pickle", "text", "huge header"],
)
def test_weights_of_another_format_are_refused(folder: Path, content: bytes) -> None:
    replace_weights(folder, content)
    with pytest.raises(CheckpointError, match=WEIGHTS):
        load_checkpoint(folder)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_not_finite_are_refused(folder: Path, value: float) -> None:
    state = safetensors.torch.load((folder / WEIGHTS).read_bytes())
    state["head.1.bias"][3] = value
    replace_weights(folder, safetensors.torch.save(state))
    with pytest.raises(CheckpointError, match="finite"):
        load_checkpoint(folder)


@pytest.mark.parametrize("change", ["missing", "extra"])
def test_weights_with_other_tensors_are_refused(folder: Path, change: str) -> None:
    state = safetensors.torch.load((folder / WEIGHTS).read_bytes())
    if change == "missing":
        del state["head.1.bias"]
    else:
        state["head.2.bias"] = torch.zeros(7)
    replace_weights(folder, safetensors.torch.save(state))
    with pytest.raises(CheckpointError, match=r"head\.[12]\.bias"):
        load_checkpoint(folder)


@pytest.mark.parametrize(
    "changes",
    [
        {"model__backbone": "test_resnet"},
        {"model__backbone": "no_such_network"},
        {"model__backbone": "hf-hub:nobody/nothing"},
        {"model__backbone": ...},
        {"model__labels": ["anger", "fear"]},
        {"model__input__colour": "rgb"},
        {"model__input__colour": "purple"},
        {"model__input__mean": [0.5, 0.5]},
        {"model__input__size_px": "large"},
        {"model__backbone_args": {"no_such_argument": 1}},
        {"model": None},
        {"weights": []},
        {"weights": ...},
        {"temperature": ...},
        {"temperature": "warm"},
        {"temperature": 0},
        {"temperature": float("nan")},
        {"abstain_below": None},
        {"abstain_below": 2},
    ],
    ids=str,
)
def test_a_card_that_was_edited_is_refused_without_asking_the_network(
    folder: Path, changes: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def refuse(*address: Any, **_: Any) -> None:
        asked.append(address)
        raise OSError("this test has no network")

    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    monkeypatch.setattr(socket.socket, "connect", refuse)
    edit_card(folder, **changes)
    with pytest.raises(CheckpointError):
        load_checkpoint(folder)
    assert not asked
