"""Files of other training programs: tensors are found, and nothing in a file is executed."""

from __future__ import annotations

import argparse
import collections
import contextlib
import io
import json
import os
import struct
import subprocess
import sys
import types
import zipfile
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch

from fer_edge.errors import CheckpointError
from fer_edge.training.models.weights_file import read_weights

OWN = {"stem.conv.weight": torch.arange(24.0).view(4, 6), "stem.bn.bias": torch.ones(4)}
OTHER = {name: value + 5 for name, value in OWN.items()}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "theirs.pth"


def same(path: Path, expected: dict[str, torch.Tensor] = OWN) -> Any:
    state = read_weights(path, OWN)
    for name, value in expected.items():
        torch.testing.assert_close(state.tensors[name], value, rtol=0, atol=0)
    return state


def foreign(name: str) -> Any:
    """An object of a class that is not installed where the file is read."""
    module, _, short = name.rpartition(".")
    kind = type(short, (), {"__module__": module})
    parent = types.ModuleType(module)
    setattr(parent, short, kind)
    return kind, parent


def save_with_foreign(path: Path, state: dict[str, Any], **more: Any) -> None:
    kind, parent = foreign("foreign_lightning.AttributeDict")
    sys.modules[kind.__module__] = parent
    try:
        value = kind()
        value.lr, value.inner = 0.1, {"a": [1, 2]}
        torch.save({**state, "hyper_parameters": value}, path, **more)
    finally:
        del sys.modules[kind.__module__]


@pytest.mark.parametrize("legacy", [True, False], ids=["legacy", "zip"])
def test_a_lightning_checkpoint_with_classes_that_are_not_installed(
    path: Path, legacy: bool
) -> None:
    state = {
        "state_dict": {f"net.{k}": v for k, v in OWN.items()} | {"loss.weight": torch.ones(7)},
        "optimizer_states": [{"state": {0: {"exp_avg": torch.ones(3)}}}],
        "callbacks": {"ModelCheckpoint{'monitor': None}": {"dirpath": Path("runs")}},
    }
    save_with_foreign(path, state, _use_new_zipfile_serialization=not legacy)
    read = same(path)
    assert (read.key, read.prefix) == ("state_dict", "net.")


def test_averaged_weights_of_timms_train_py_come_first(path: Path) -> None:
    args = argparse.Namespace(model="resnet18", opt="sgd", where=Path("/data"))
    state = {"state_dict": OTHER, "state_dict_ema": OWN, "args": args, "epoch": 3, "arch": "x"}
    torch.save(state, path)
    assert same(path).key == "state_dict_ema"


@pytest.mark.parametrize(
    "prefix", ["module.", "_orig_mod.", "module._orig_mod.", "student.", "encoder.net.", "a.b.c."]
)
def test_the_prefix_is_found_by_the_networks_names(path: Path, prefix: str) -> None:
    torch.save({"model_state": {f"{prefix}{k}": v for k, v in OWN.items()}}, path)
    assert same(path).prefix == prefix


@pytest.mark.parametrize("other", ["online_model.", "model.", "teacher."])
def test_of_two_networks_the_averaged_one_is_read(path: Path, other: str) -> None:
    both = {f"{other}{k}": v for k, v in OTHER.items()}
    both |= {f"ema_model.module.{k}": v for k, v in OWN.items()}
    torch.save(both, path)
    assert "ema_model." in same(path).prefix


def test_safetensors_lose_their_prefix(tmp_path: Path) -> None:
    path = tmp_path / "t.safetensors"
    safetensors.torch.save_file({f"net.{k}": v for k, v in OWN.items()}, path)
    assert same(path).prefix == "net."


@pytest.mark.parametrize(("kind", "size"), [("F4", 2), ("F6_E2M3", 3), ("F8_E8M0", 4)])
def test_a_type_that_torch_does_not_read_is_a_sentence(
    tmp_path: Path, kind: str, size: int
) -> None:
    entry = {"dtype": kind, "shape": [4], "data_offsets": [0, size]}
    header = json.dumps({"stem.bn.bias": entry}).encode()
    path = tmp_path / "theirs.safetensors"
    path.write_bytes(struct.pack("<Q", len(header)) + header + bytes(size))
    with pytest.raises(CheckpointError, match=f"type '{kind}', which cannot be read"):
        read_weights(path)


@pytest.mark.parametrize("key", ["ema", "state_dict_ema", "shadow"])
def test_a_key_without_tensors_is_passed_over(path: Path, key: str) -> None:
    torch.save({key: {"decay": 0.99}, "net": OWN}, path)
    assert same(path).key == "net"


FEW = {"scale": torch.tensor(2.0)}


@pytest.mark.parametrize(
    ("state", "key"),
    [
        ({"best_model": OWN, "scaler": FEW}, "best_model"),
        ({"loss": torch.tensor(0.1), "model_dict": {f"net.{k}": v for k, v in OWN.items()}}, None),
        ({"result": {"fold": {"model": OWN}}}, "result.fold.model"),
        ({"model": FEW, "generator": OWN, "critic": FEW}, "generator"),
        ([FEW, {"weight": OWN}], "1.weight"),
        ((OWN, 3), "0"),
    ],
)
def test_tensors_under_keys_of_any_name_are_found(path: Path, state: Any, key: str | None) -> None:
    torch.save(state, path)
    assert same(path).key == (key or "model_dict")


def test_without_names_the_most_tensors_count(path: Path) -> None:
    torch.save({"critic": FEW, "generator": OWN}, path)
    assert set(read_weights(path).tensors) == set(OWN)


def test_a_tensor_with_an_attribute_is_read(path: Path) -> None:
    marked = OWN["stem.bn.bias"].clone()
    marked.note = "mine"  # type: ignore[attr-defined]
    torch.save({**OWN, "stem.bn.bias": marked}, path)
    same(path)


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_every_protocol_is_read(path: Path, protocol: int) -> None:
    torch.save({"state_dict": collections.OrderedDict(OWN)}, path, pickle_protocol=protocol)
    same(path)


@pytest.mark.parametrize(
    "value",
    [
        torch.ones(3, dtype=torch.bfloat16),
        torch.ones(3).half(),
        torch.tensor(3),
        torch.ones(2, 3).bool(),
        torch.arange(12.0).view(3, 4).t(),
        torch.arange(9)[2:7:2],
        torch.empty(0, 4),
        torch.ones(2, 2, dtype=torch.float64),
        torch.nn.Parameter(torch.ones(3)),
        torch.ones(3, dtype=torch.uint8),
        torch.ones(1, 3, 4, 5).to(memory_format=torch.channels_last),
    ],
)
@pytest.mark.parametrize("legacy", [True, False], ids=["legacy", "zip"])
def test_values_are_torchs_own(path: Path, value: torch.Tensor, legacy: bool) -> None:
    torch.save({"a": value, "b": value}, path, _use_new_zipfile_serialization=not legacy)
    expected = torch.load(path, weights_only=True)
    read = read_weights(path).tensors
    for name in ("a", "b"):
        assert read[name].dtype == value.dtype
        torch.testing.assert_close(read[name], expected[name].data, rtol=0, atol=0)


# --- hostile files -------------------------------------------------------------------------------


class Bomb:
    def __init__(self, call: Any, *arguments: Any) -> None:
        self.call = call, arguments

    def __reduce__(self) -> Any:
        return self.call


@pytest.mark.parametrize("where", ["", "args", "state_dict", "state_dict.stem.conv.weight", "deep"])
@pytest.mark.parametrize("legacy", [True, False], ids=["legacy", "zip"])
@pytest.mark.parametrize("how", ["os", "eval", "subprocess", "method", "import"])
def test_a_bomb_does_not_go_off(path: Path, where: str, legacy: bool, how: str) -> None:
    mark = path.parent / "was-run"
    bomb = {
        "os": Bomb(os.system, f"touch {mark}"),
        "eval": Bomb(eval, f"open({str(mark)!r}, 'w')"),
        "subprocess": Bomb(subprocess.Popen, ["touch", str(mark)]),
        "method": Bomb(Path.touch, mark),
        "import": Bomb(__import__, "antigravity"),
    }[how]
    state: Any = {"state_dict": dict(OWN), "args": None}
    if where == "":
        state = bomb
    elif where == "deep":
        state["args"] = argparse.Namespace(a=[{"b": (1, bomb)}])
    else:
        key, _, name = where.partition(".")
        if name:
            state[key][name] = bomb
        else:
            state[key] = bomb
    torch.save(state, path, _use_new_zipfile_serialization=not legacy)
    with pytest.raises(CheckpointError, match="can run any code"):
        read_weights(path)
    assert not mark.exists()


def test_a_call_of_an_unknown_library_is_not_made(path: Path) -> None:
    """No list names every function that does harm, so none is called."""
    mark = path.parent / "made"
    torch.save({"net": OWN, "x": Bomb(zipfile.ZipFile, str(mark), "w")}, path)
    same(path)
    assert not mark.exists()


def declared(path: Path, shape: tuple[int, ...], strides: tuple[int, ...], offset: int = 0) -> None:
    storage = torch.ones(4).untyped_storage()
    size = torch.storage.TypedStorage(wrap_storage=storage, dtype=torch.float32, _internal=True)
    bomb = Bomb(torch._utils._rebuild_tensor_v2, size, offset, shape, strides, False, {})
    torch.save({"net": {**OWN, "huge": bomb}}, path)


@pytest.mark.parametrize(
    ("shape", "strides", "offset"),
    [
        ((1 << 40,), (1,), 0),
        ((1 << 50, 1 << 50), (0, 0), 0),
        ((4,), (1,), 1),
        ((2,), (1 << 60,), 0),
        ((1 << 61,), (0,), 0),
    ],
)
def test_a_tensor_larger_than_its_values_is_refused(
    path: Path, shape: tuple[int, ...], strides: tuple[int, ...], offset: int
) -> None:
    declared(path, shape, strides, offset)
    with pytest.raises(CheckpointError, match="needs more than the 16 bytes"):
        read_weights(path)


@pytest.mark.parametrize("legacy", [True, False], ids=["legacy", "zip"])
def test_tensors_of_one_storage_share_its_memory(path: Path, legacy: bool) -> None:
    values = torch.arange(6.0)
    saved = {f"t{i}": values[: i % 6 + 1] for i in range(100)}
    torch.save(saved, path, _use_new_zipfile_serialization=not legacy)
    read = read_weights(path).tensors
    assert all(torch.equal(read[name], value) for name, value in saved.items())
    assert len({value.untyped_storage().data_ptr() for value in read.values()}) == 1


@pytest.mark.parametrize("strides", [(-1,), (1, 1), (True,)])
def test_strides_that_no_tensor_has_are_no_tensor(path: Path, strides: tuple[int, ...]) -> None:
    declared(path, (4,), strides)
    assert "huge" not in read_weights(path).tensors


def archive(path: Path, change: Any) -> None:
    """Write a torch file again, with each record changed."""
    torch.save({"net": OWN}, path)
    with zipfile.ZipFile(path) as old:
        records = {name: old.read(name) for name in old.namelist()}
    with zipfile.ZipFile(path, "w") as new:
        for name, data in records.items():
            new.writestr(name, change(name, data))


def test_an_archive_in_an_archive_is_a_sentence(path: Path) -> None:
    torch.save(OWN, path)
    inner = path.read_bytes()
    with zipfile.ZipFile(path, "w") as outer:
        outer.writestr("weights.pth", inner)
    with pytest.raises(CheckpointError, match="Unpack it, and pass the file inside"):
        read_weights(path)


def test_an_archive_as_a_record_is_no_pickle(path: Path) -> None:
    torch.save(OWN, path)
    inner = path.read_bytes()
    archive(path, lambda name, data: inner if name.endswith("data.pkl") else data)
    with pytest.raises(CheckpointError, match="the pickle in it is damaged"):
        read_weights(path)


def test_an_archive_that_unpacks_to_far_more_is_refused(path: Path) -> None:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("a/data.pkl", b"\x80\x02}.")
        file.writestr("a/data/0", bytes(50 << 20))
    with pytest.raises(CheckpointError, match="unpacks to far more"):
        read_weights(path)


@pytest.mark.parametrize("legacy", [True, False], ids=["legacy", "zip"])
def test_a_file_that_is_cut_or_changed_anywhere_raises_nothing_else(
    path: Path, legacy: bool
) -> None:
    torch.save({"net": OWN, "epoch": 3}, path, _use_new_zipfile_serialization=not legacy)
    data = path.read_bytes()
    for at in range(1, len(data), max(len(data) // 150, 1)):
        for damaged in (data[:at], data[:at] + bytes([data[at] ^ 0x55]) + data[at + 1 :]):
            path.write_bytes(damaged)
            with contextlib.suppress(CheckpointError):
                read_weights(path)


@pytest.mark.parametrize("method", ["ZIP_DEFLATED", "ZIP_BZIP2", "ZIP_LZMA"])
def test_a_compressed_archive_that_is_damaged_raises_nothing_else(path: Path, method: str) -> None:
    torch.save({"net": OWN}, path)
    with zipfile.ZipFile(path) as old:
        records = {name: old.read(name) for name in old.namelist()}
    with zipfile.ZipFile(path, "w", getattr(zipfile, method)) as new:
        for name, record in records.items():
            new.writestr(name, record)
    whole = path.read_bytes()
    directory = range(len(whole) - 300, len(whole))
    for at in (*range(0, len(whole), max(len(whole) // 200, 1)), *directory):
        for bit in (0x08, 0x80):
            path.write_bytes(whole[:at] + bytes([whole[at] ^ bit]) + whole[at + 1 :])
            with contextlib.suppress(CheckpointError):
                read_weights(path)


def test_deeply_nested_values_do_not_end_the_process(path: Path) -> None:
    deep = b"\x80\x02" + b"]" * 200_000 + b"a" * 199_999 + b"."
    archive(path, lambda name, data: deep if name.endswith("data.pkl") else data)
    with pytest.raises(CheckpointError, match="found none"):
        read_weights(path)


_ROWS = b"]q\x00(" + b"X\x01\x00\x00\x00aK\x01\x86" * 100 + b"e0"
_CALL = b"ccollections\nOrderedDict\nh\x00\x85R0"


@pytest.mark.parametrize(
    "pickled",
    [
        b"".join([b"]q\x00", *([b"](h%ch%ceq%c" % (i, i, i + 1) for i in range(26)]), b"h\x1a"])
        + b"X\x01\x00\x00\x00a\x93.",
        b"]" * 200_000 + b"a" * 199_999 + b"X\x01\x00\x00\x00a\x93.",
        _ROWS + 100 * _CALL + b"N.",
    ],
    ids=["doubled lists as a module", "nested lists as a module", "rows of many dictionaries"],
)
def test_a_pickle_that_repeats_its_values_is_refused(path: Path, pickled: bytes) -> None:
    changed = b"\x80\x02" + pickled
    archive(path, lambda name, data: changed if name.endswith("data.pkl") else data)
    with pytest.raises(CheckpointError, match="the pickle in it is damaged"):
        read_weights(path)


def test_names_that_are_no_text_are_passed_over(path: Path) -> None:
    torch.save({**OWN, 10**5000: OWN["stem.bn.bias"], 7: OWN["stem.bn.bias"]}, path)
    assert set(read_weights(path).tensors) == set(OWN)


def test_a_torchscript_program_is_a_sentence(path: Path) -> None:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as program:
        program.writestr("a/data.pkl", b"\x80\x02}.")
        program.writestr("a/code/__torch__.py", b"")
    path.write_bytes(file.getvalue())
    with pytest.raises(CheckpointError, match="TorchScript program"):
        read_weights(path)
