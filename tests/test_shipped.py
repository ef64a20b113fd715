"""Names of the shipped models: strings, never paths."""

from __future__ import annotations

import copy
import shutil
from pathlib import Path

import pytest

from fer_edge import BundleError, CheckpointError, Predictor, open_bundle
from fer_edge.shipped import DEFAULT_BUNDLE, DEFAULT_CHECKPOINT, bundle_path, checkpoint_path


def test_a_name_is_a_shipped_model_wherever_a_bundle_is_wanted() -> None:
    assert open_bundle("default").path == DEFAULT_BUNDLE
    with Predictor("default", target="onnxruntime") as predictor:
        assert predictor.bundle.path == DEFAULT_BUNDLE
        with copy.deepcopy(predictor) as another:
            assert another.bundle.path == DEFAULT_BUNDLE
        predictor.swap("default")
    assert checkpoint_path("default") == DEFAULT_CHECKPOINT


def test_a_path_with_that_name_is_a_path(
    fake_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(fake_bundle, tmp_path / "default")
    monkeypatch.chdir(tmp_path)
    for own in ("./default", Path("default"), tmp_path / "default"):
        assert open_bundle(own).variants[0].target == "fake"
    assert open_bundle("default").path == DEFAULT_BUNDLE


def test_an_empty_name_is_neither_a_model_nor_the_current_folder(
    fake_bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(fake_bundle)
    for use in (open_bundle, Predictor):
        with pytest.raises(BundleError, match=r"empty name\. Name its folder, or"):
            use("")  # type: ignore[operator]
    with pytest.raises(CheckpointError, match=r"empty name\. Name its folder, or"):
        checkpoint_path("")


@pytest.mark.parametrize("name", ["Default", "default ", "default/", "defaults", "../default"])
def test_other_names_are_paths(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert bundle_path(name) == Path(name)
    assert checkpoint_path(name) == Path(name)
    with pytest.raises(BundleError):
        open_bundle(name)


def test_nothing_is_the_default_model() -> None:
    assert bundle_path(None) == DEFAULT_BUNDLE
