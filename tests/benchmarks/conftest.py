"""Bundles to measure, without a network."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from fer_edge.manifest import sealed


@pytest.fixture
def with_foreign_variant() -> Callable[[Path], Path]:
    """Adds to a fake bundle a variant for a chip that no backend knows."""

    def add(bundle: Path) -> Path:
        manifest = json.loads((bundle / "bundle.json").read_text("utf-8"))
        (variant,) = manifest["variants"]
        manifest["variants"].append({**variant, "target": "somechip"})
        (bundle / "bundle.json").write_text(json.dumps(sealed(manifest)), "utf-8")
        return bundle

    return add
