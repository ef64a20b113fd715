"""Wrong arguments of convert are refused before any work is done."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

from fer_edge import open_bundle
from fer_edge.cli import main
from fer_edge.converters.pipeline.convert import convert
from fer_edge.errors import BundleError, DataError, InputError, TargetError


def quiet(_: str) -> None:
    pass


@pytest.mark.parametrize(
    ("targets", "precisions", "named"),
    [
        (["tensorflow"], ["fp32"], "tensorflow"),
        (["onnxruntime"], ["int4"], "int4"),
        (["onnxruntime"], ["fp32", "bf16"], "bf16"),
        (["onnxruntime", "base"], ["fp32"], "base"),
    ],
)
def test_an_unknown_target_or_precision_is_named_before_any_work_is_done(
    checkpoint: Path, tmp_path: Path, targets: list[str], precisions: list[str], named: str
) -> None:
    said: list[str] = []
    with pytest.raises(TargetError, match=rf"{named}.*fp32|{named}.*onnxruntime"):
        convert(checkpoint, targets, tmp_path / "x.fer", precisions, say=said.append)
    assert not any("Exporting" in sentence for sentence in said)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("targets", [["onnxruntime"], ["tensorrt", "qnn"], ["all"]])
@pytest.mark.parametrize(
    ("chips", "named"),
    [
        ({"gpus": ["sm_86", "sm_99"]}, r"unknown GPU sm_99\. Known: .*sm_86"),
        ({"socs": ["sa8295", "bogus"]}, "bogus.* Known: sa"),
    ],
)
def test_an_unknown_chip_is_named_before_any_work_is_done(
    checkpoint: Path, tmp_path: Path, targets: list[str], chips: dict[str, list[str]], named: str
) -> None:
    said: list[str] = []
    with pytest.raises(TargetError, match=named):
        convert(checkpoint, targets, tmp_path / "x.fer", say=said.append, **chips)  # type: ignore[arg-type]
    assert said == []


@pytest.mark.parametrize("target", ["onnxruntime", "tensorrt"])
@pytest.mark.parametrize("sizes", [(), (0,), (1, -3), (65_537,), (1.5,), (True,), ("8",)], ids=str)
def test_a_batch_size_out_of_range_is_refused_before_any_work_is_done(
    checkpoint: Path, tmp_path: Path, target: str, sizes: tuple[Any, ...]
) -> None:
    said: list[str] = []
    with pytest.raises(InputError, match=r"batch sizes of 1 to 65,536.*--batch-sizes"):
        convert(checkpoint, [target], tmp_path / "x.fer", batch_sizes=sizes, say=said.append)
    assert said == []
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["targets", "precisions", "batch_sizes", "gpus", "socs"])
@pytest.mark.parametrize("value", [None, 5, "fp32", b"\x01", np.array([1, 8]), [[]]], ids=repr)
def test_an_argument_that_is_no_list_is_named_before_any_work_is_done(
    checkpoint: Path, tmp_path: Path, name: str, value: Any
) -> None:
    said: list[str] = []
    arguments = {"targets": ["onnxruntime"], "out": tmp_path / "x.fer", name: value}
    with pytest.raises(InputError, match=f"expected .*{name.replace('_', ' ')}.*, got"):
        convert(checkpoint, **arguments, say=said.append)
    assert said == []
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["driver", "driver.onnx", "driver.fer.old"])
def test_a_bundle_is_called_fer(checkpoint: Path, tmp_path: Path, name: str) -> None:
    with pytest.raises(BundleError, match=r"\.fer"):
        convert(checkpoint, ["onnxruntime"], tmp_path / name, ["fp32"], say=quiet)
    assert list(tmp_path.iterdir()) == []


def test_a_place_that_cannot_be_written_is_named_before_any_work_is_done(
    checkpoint: Path, tmp_path: Path
) -> None:
    (tmp_path / "file").write_bytes(b"")
    (tmp_path / "x.fer").symlink_to(tmp_path / "y.fer")
    said: list[str] = []
    for out in (tmp_path / "file" / "x.fer", tmp_path / "x.fer"):
        with pytest.raises(BundleError, match=r"cannot write .*x\.fer: .*-o"):
            convert(checkpoint, ["onnxruntime"], out, say=said.append)
    assert said == []


def test_a_refused_conversion_makes_no_folder(checkpoint: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError):
        convert(checkpoint, ["onnxruntime"], tmp_path / "a/b/x.fer", data=tmp_path / "empty")
    assert [path.name for path in tmp_path.iterdir()] == ["empty"]


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["--target", "tensorflow", "-o", "x.fer"], 5),
        (["--target", "onnxruntime", "--precision", "int4", "-o", "x.fer"], 5),
        (["--target", "onnxruntime", "-o", "x.onnx"], 4),
        (["--target", "onnxruntime", "--data", "nowhere", "-o", "x.fer"], 3),
        (["-o", "x.fer"], 2),
        (["--target", "onnxruntime", "--allow-drop", "-1", "-o", "x.fer"], 2),
        (["--target", "onnxruntime", "--seed", "-1", "-o", "x.fer"], 2),
    ],
)
def test_the_command_says_what_is_wrong_in_a_sentence(
    checkpoint: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    arguments: list[str],
    code: int,
) -> None:
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(main, ["convert", str(checkpoint), *arguments])
    assert (done.exit_code, done.stdout) == (code, "")
    assert "Traceback" not in done.stderr
    assert done.stderr.strip()
    assert list(tmp_path.iterdir()) == []


def test_a_damaged_checkpoint_ends_the_command_with_4(checkpoint: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(checkpoint, tmp_path / "best"))
    (copy / "model.safetensors").write_bytes(b"damaged")
    arguments = ["--target", "onnxruntime", "-o", str(tmp_path / "x.fer")]
    done = CliRunner().invoke(main, ["convert", str(copy), *arguments])
    assert done.exit_code == 4
    assert "model.safetensors" in done.stderr


def test_the_command_prints_the_manifest_and_records_the_drop_in_shares(
    checkpoint: Path, tmp_path: Path
) -> None:
    out = tmp_path / "x.fer"
    arguments = ["--target", "onnxruntime", "--precision", "fp32", "--allow-drop", "2.5", "--json"]
    done = CliRunner().invoke(main, ["convert", str(checkpoint), *arguments, "-o", str(out)])
    assert done.exit_code == 0
    assert json.loads(done.stdout) == json.loads((out / "bundle.json").read_text("utf-8"))
    assert open_bundle(out).variants[0].parity.allowed_drop == 0.025
