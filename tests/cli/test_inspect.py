"""``fer-edge inspect``: contents of a bundle, and its variants on this machine."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from fer_edge.shipped import DEFAULT_BUNDLE


def test_inspect_shows_what_is_in_it_and_what_runs_here(run: Any, fake_bundle: Path) -> None:
    result = run("inspect", fake_bundle)
    assert result.exit_code == 0
    for word in ("all hashes match", "anger, disgust", "[N, 48, 48, 3]", "fake/fp32: taken"):
        assert word in result.stdout


def test_inspect_prints_the_manifest_as_json(run: Any, fake_bundle: Path) -> None:
    shown = json.loads(run("inspect", fake_bundle, "--json").stdout)
    manifest = json.loads((fake_bundle / "bundle.json").read_text("utf-8"))
    assert shown.pop("path") == str(fake_bundle)
    assert len(shown.pop("sha256")) == 64
    assert shown == manifest


def test_inspect_shows_a_bundle_that_nothing_here_can_run(run: Any, somechip_bundle: Path) -> None:
    """A workstation looks into a bundle that was made for another chip."""
    result = run("inspect", somechip_bundle)
    assert result.exit_code == 0
    assert "no backend for somechip" in result.output


def test_inspect_shows_the_shipped_model(run: Any) -> None:
    result = run("inspect")
    assert result.exit_code == 0
    assert str(DEFAULT_BUNDLE) in result.stdout
    assert "agreement" in result.stdout
