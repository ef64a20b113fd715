"""Names of image files: paths, folders and patterns."""

from __future__ import annotations

from pathlib import Path

import pytest

from fer_edge import InputError
from fer_edge.images.files import named_images, unread_pictures


def test_an_empty_name_is_not_the_current_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "face.png").touch()
    with pytest.raises(InputError, match="got an empty name"):
        named_images("")
    assert named_images(".") == [Path("face.png")]


def test_pictures_that_are_not_read_are_counted_by_suffix(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("a.HEIC", "b.heic", "c.tif", "d.png", "notes.txt", "._a.HEIC"):
        (tmp_path / name).touch()
    assert "not read: 2 .heic, 1 .tif. Convert" in unread_pictures(".")
    for name in ("", "a.HEIC", "gone", "a\0b"):
        assert unread_pictures(name) == ""
