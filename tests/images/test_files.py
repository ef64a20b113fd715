"""Names of image files: paths, folders and patterns."""

from __future__ import annotations

from pathlib import Path

import pytest

from fer_edge import InputError
from fer_edge.images.files import named_images


def test_an_empty_name_is_not_the_current_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "face.png").touch()
    with pytest.raises(InputError, match="got an empty name"):
        named_images("")
    assert named_images(".") == [Path("face.png")]
