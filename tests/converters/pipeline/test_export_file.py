"""Single files: loaded again, they answer as the checkpoint, and they tell nothing of the maker."""

from __future__ import annotations

import contextlib
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from fer_edge.converters.pipeline import export_file as files
from fer_edge.converters.pipeline.convert import convert
from fer_edge.converters.pipeline.export_file import FORMS, export_file
from fer_edge.errors import CheckpointError, ConversionError, InputError, ParityError
from fer_edge.training.checkpoint import load_checkpoint, save_checkpoint
from fer_edge.training.deploy import DeployModule


@pytest.mark.parametrize("form", sorted(FORMS))
def test_the_file_answers_as_the_checkpoint(form: str, checkpoint: Path, tmp_path: Path) -> None:
    out = tmp_path / "model.bin"
    report = export_file(checkpoint, form, out)
    assert report["agreement"] == 1
    assert report["max_abs_dp"] < 1e-5
    assert report["batch_sizes"] == [1, 2, 5, 32]
    assert report["bytes"] == out.stat().st_size
    session = FORMS[form][1](out.read_bytes())
    images = np.random.default_rng(1).integers(0, 256, (3, 48, 48, 3), np.uint8)
    with torch.inference_mode():
        p, e = DeployModule(load_checkpoint(checkpoint))(torch.from_numpy(images))
    q, f = session.run(images)
    np.testing.assert_allclose(q, p.numpy(), atol=1e-5)
    np.testing.assert_allclose(f, e.numpy(), rtol=1e-3, atol=1e-4)
    assert not [path for path in tmp_path.iterdir() if path.suffix == ".tmp"]


@pytest.mark.parametrize("form", sorted(FORMS))
def test_the_file_holds_nothing_of_this_machine(
    form: str, checkpoint: Path, tmp_path: Path
) -> None:
    out = tmp_path / "model.bin"
    export_file(checkpoint, form, out)
    parts = [out.read_bytes()]
    if zipfile.is_zipfile(out):
        with zipfile.ZipFile(out) as archive:
            parts = [archive.read(name) for name in archive.namelist()]
    here = [str(Path(torch.__file__).parents[1]), str(Path(files.__file__).resolve().parents[2])]
    for part in parts:
        assert not [path for path in here if path.encode() in part]
        assert b"site-packages" not in part


def test_an_unknown_form_is_refused_in_a_sentence(checkpoint: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="torchscript, torch-export, onnx, got 'tflite'"):
        export_file(checkpoint, "tflite", tmp_path / "m")


def test_the_progress_names_each_stage_and_counts_faces(checkpoint: Path, tmp_path: Path) -> None:
    steps: list[tuple[str, int, int]] = []
    export_file(checkpoint, "onnx", tmp_path / "m.onnx", step=lambda *step: steps.append(step))
    names = list(dict.fromkeys(name for name, _, _ in steps))
    assert names[-3:] == ["exporting", "loading the file", "comparing faces"]
    assert steps[-1] == ("comparing faces", 336, 336)
    shares = [done / total for name, done, total in steps if name != "comparing faces"]
    assert shares == sorted(shares)


def test_torch_opens_the_files_from_disk(checkpoint: Path, tmp_path: Path) -> None:
    """As a program would that has no fer_edge."""
    export_file(checkpoint, "torchscript", tmp_path / "m.pt")
    export_file(checkpoint, "torch-export", tmp_path / "m.pt2")
    images = torch.zeros(7, 48, 48, 3, dtype=torch.uint8)
    one, _ = torch.jit.load(tmp_path / "m.pt")(images)
    other, _ = torch.export.load(tmp_path / "m.pt2").module()(images)
    torch.testing.assert_close(one, other)
    assert one.shape == (7, 7)


def test_a_batch_that_became_static_is_not_written(
    checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Static(DeployModule):
        def forward(self, images: torch.Tensor) -> Any:
            p, e = super().forward(images)
            return p.reshape(2, -1), e

    monkeypatch.setattr(files, "DeployModule", Static)
    with pytest.raises(ConversionError, match="cannot be exported as torchscript"):
        export_file(checkpoint, "torchscript", tmp_path / "m.pt")
    assert not (tmp_path / "m.pt").exists()


def test_another_temperature_is_another_model(
    checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Sharper(DeployModule):
        def __init__(self, source: Any) -> None:
            super().__init__(source)
            self.source = source
            self.temperature /= 2

        def run(self, images: Any) -> Any:  # the reference
            return DeployModule(self.source).run(images)

    monkeypatch.setattr(files, "DeployModule", Sharper)
    with pytest.raises(ParityError, match="torch-export file differs"):
        export_file(checkpoint, "torch-export", tmp_path / "m.pt2")
    assert not (tmp_path / "m.pt2").exists()


def test_answers_that_are_not_numbers_are_a_sentence(checkpoint: Path, tmp_path: Path) -> None:
    source = load_checkpoint(checkpoint)
    for layer in source.model.modules():
        if isinstance(layer, torch.nn.BatchNorm2d):
            torch.nn.init.constant_(layer.weight, 1e20)
    save_checkpoint(source, tmp_path / "large")
    with pytest.raises(CheckpointError, match=r"336 of 336 faces are not numbers.* Train again"):
        export_file(tmp_path / "large", "onnx", tmp_path / "m.onnx")
    with pytest.raises(CheckpointError, match=r"336 of 336 faces are not numbers.* Train again"):
        convert(tmp_path / "large", ["onnxruntime"], tmp_path / "x.fer", ["fp32"], say=str)
    assert [path.name for path in tmp_path.iterdir()] == ["large"]


def test_a_place_that_cannot_be_written_is_said(checkpoint: Path, tmp_path: Path) -> None:
    steps: list[str] = []
    for place in (tmp_path / "no" / "m.onnx", tmp_path):
        with pytest.raises(InputError, match=r"cannot write.*with -o"):
            export_file(checkpoint, "onnx", place, step=lambda name, *_: steps.append(name))
    assert steps == []  # said before any work is done


@pytest.mark.parametrize("sound", [True, False])
def test_the_session_is_closed(
    checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sound: bool
) -> None:
    closed: list[bool] = []
    write, load = files.FORMS["onnx"]

    def watched(content: bytes) -> Any:
        session = load(content)
        close, run = session.close, session.run
        session.close = lambda: closed.append(True) or close()
        if not sound:
            session.run = lambda batch: (1 - run(batch)[0], run(batch)[1])
        return session

    monkeypatch.setitem(files.FORMS, "onnx", (write, watched))
    with contextlib.nullcontext() if sound else pytest.raises(ParityError):
        export_file(checkpoint, "onnx", tmp_path / "m.onnx")
    assert closed == [True]


def test_a_folder_that_is_no_checkpoint_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError):
        export_file(tmp_path, "onnx", tmp_path / "m.onnx")
