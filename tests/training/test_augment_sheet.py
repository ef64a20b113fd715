"""The sheet of augmentations shows each key, and is what the code draws."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path

import cv2
from click.testing import CliRunner

from fer_edge.errors import DataError
from fer_edge.training.augment_sheet import SHOWN, contact_sheet, main
from fer_edge.training.config.schema import Augment


def test_every_key_is_drawn() -> None:
    assert {*SHOWN, "incar"} == {field.name for field in fields(Augment)}
    for name, spec in SHOWN.items():
        assert getattr(spec, name) != getattr(Augment(flip=0), name)


def test_the_sheet_in_the_documentation_is_what_the_code_draws(tmp_path: Path) -> None:
    contact_sheet(tmp_path / "sheet.png")
    ours = cv2.imread(str(tmp_path / "sheet.png"))
    shipped = cv2.imread(str(Path(__file__).parents[2] / "docs/images/augmentations.png"))
    assert ours.shape == shipped.shape
    assert cv2.absdiff(ours, shipped).mean() < 1  # a machine may round otherwise


def test_the_command_draws_the_sheet_or_says_what_is_wrong(tmp_path: Path) -> None:
    assert CliRunner().invoke(main, [str(tmp_path / "a.png")]).exit_code == 0
    assert (tmp_path / "a.png").stat().st_size > 1000
    done = CliRunner().invoke(main, [str(tmp_path / "none" / "a.png")])
    assert (done.exit_code, "Choose another file" in done.output) == (DataError.exit_code, True)
    assert CliRunner().invoke(main, []).exit_code == 2
