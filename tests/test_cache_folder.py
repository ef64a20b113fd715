"""The cache folder is absolute, or there is none."""

from __future__ import annotations

from pathlib import Path

import pytest

from fer_edge.backends import tensorrt_cache
from fer_edge.cache_folder import cache_folder
from fer_edge.converters.litert_conversion import environment
from fer_edge.monitor import fetch_detector


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HOME", str(tmp_path))
    return tmp_path


@pytest.mark.parametrize("value", [None, "", "cache", "./cache", "~/cache"])
def test_a_value_that_is_not_absolute_is_ignored(
    monkeypatch: pytest.MonkeyPatch, home: Path, value: str | None
) -> None:
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    if value is not None:
        monkeypatch.setenv("XDG_CACHE_HOME", value)
    assert cache_folder() == home / ".cache"
    for path in (
        environment.default_folder(),
        fetch_detector.default_path(),
        tensorrt_cache.default_folder(),
    ):
        assert path.is_relative_to(home / ".cache" / "fer_edge")


def test_an_absolute_value_is_taken(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "other"))
    assert cache_folder() == tmp_path / "other"


def test_a_user_without_a_home_has_no_folder_in_which_others_can_write(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def no_home() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setattr(Path, "home", no_home)
    for path in (
        environment.default_folder(),
        fetch_detector.default_path(),
        tensorrt_cache.default_folder(),
    ):
        assert path.is_relative_to("/var/cache/fer_edge")
    monkeypatch.setattr(Path, "home", lambda: Path("relative"))
    assert cache_folder() == Path("/var/cache")
