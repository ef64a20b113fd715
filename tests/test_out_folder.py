"""Folders that hold something else are not replaced, and that is told before the work."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from fer_edge import InputError
from fer_edge.backends.fake import write_fake_bundle
from fer_edge.cli import main
from fer_edge.out_folder import check_out_folder
from fer_edge.shipped import DEFAULT_CHECKPOINT, FACES


@pytest.fixture
def holiday(tmp_path: Path) -> Path:
    """A folder of somebody's pictures."""
    (tmp_path / "photos.fer").mkdir()
    (tmp_path / "photos.fer" / "holiday.jpg").write_bytes(b"\xff\xd8")
    return tmp_path / "photos.fer"


def test_nothing_an_empty_folder_and_one_of_the_kind_are_free(tmp_path: Path) -> None:
    for out in (tmp_path / "new", tmp_path):
        check_out_folder(out, "card.json", "checkpoint")
    check_out_folder(DEFAULT_CHECKPOINT, "card.json", "checkpoint")


@pytest.mark.parametrize("kind", ["folder", "file", "other"])
def test_anything_else_is_refused(holiday: Path, kind: str) -> None:
    out = {"folder": holiday, "file": holiday / "holiday.jpg", "other": FACES}[kind]
    with pytest.raises(InputError, match=r"is not a checkpoint\. Choose another path with -o"):
        check_out_folder(out, "card.json", "checkpoint")


def test_a_link_and_a_place_without_room_for_a_folder_are_refused(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "new")
    (tmp_path / "file").write_text("x")
    for out in (tmp_path / "link", tmp_path / "link" / "a", tmp_path / "file" / "a"):
        with pytest.raises(InputError, match=r"cannot write .*Choose another path with -o"):
            check_out_folder(out, "card.json", "checkpoint")


@pytest.mark.parametrize(
    "command",
    [
        ["familiarize", "default", "--data", FACES],
        ["quantize", "default", "--data", FACES, "--fast"],
        ["adapt", "default", "--data", FACES],
        ["convert", "default", "--target", "onnxruntime", "--precision", "fp32"],
    ],
    ids=lambda command: command[0],
)
def test_commands_keep_a_folder_that_is_none_of_theirs(holiday: Path, command: list[Any]) -> None:
    pytest.importorskip("torch")
    result = CliRunner().invoke(main, [*map(str, command), "-o", str(holiday)])
    assert result.exit_code in (3, 4), result.output
    assert (holiday / "holiday.jpg").exists()


def test_writers_keep_it_too(holiday: Path) -> None:
    pytest.importorskip("torch")
    from fer_edge.training.checkpoint import load_checkpoint, save_checkpoint

    with pytest.raises(InputError, match="is not a checkpoint"):
        save_checkpoint(load_checkpoint("fast"), holiday)
    with pytest.raises(InputError, match="is not a bundle"):
        write_fake_bundle(holiday)
    assert (holiday / "holiday.jpg").exists()
