"""``fer-edge serve``: refusals before the service starts; tests/service has the rest."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from fer_edge.signing import new_key_pair


def test_an_empty_token_does_not_open_the_service(run: Any, monkeypatch: Any) -> None:
    monkeypatch.setenv("FER_EDGE_TOKEN", "")
    result = run("serve")
    assert result.exit_code == 3
    assert "FER_EDGE_TOKEN" in result.stderr


def test_a_wrong_origin_is_a_sentence(run: Any) -> None:
    result = run("serve", "--port", "0", "--allow-origin", "localhost:3000/app")
    assert result.exit_code == 3
    assert "http://localhost:3000" in result.stderr


def test_crop_and_a_detector_exclude_each_other(run: Any, tmp_path: Path) -> None:
    result = run("serve", "--crop", "--detector", tmp_path / "yunet.onnx")
    assert result.exit_code == 2
    assert "--crop or --detector" in result.stderr


def test_an_unsigned_bundle_is_not_served_with_a_trusted_key(
    run: Any, fake_bundle: Path, tmp_path: Path
) -> None:
    new_key_pair(tmp_path / "a.key", tmp_path / "a.pub")
    result = run("serve", "--bundle", fake_bundle, "--trusted-key", tmp_path / "a.pub")
    assert result.exit_code == 4
    assert "not signed" in result.stderr
