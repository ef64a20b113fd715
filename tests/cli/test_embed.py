"""``fer-edge embed``: files of embeddings, and their check."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from fer_edge.shipped import FACES

HAPPY = FACES / "happiness.png"


def test_embed_writes_and_says_what(run: Any, fake_bundle: Path) -> None:
    result = run("embed", HAPPY, FACES / "fear.png", "--model", fake_bundle, "-o", "x.npz")
    assert result.exit_code == 0
    assert "x.npz: 2 faces" in result.stdout
    result = run("embed", "--data", FACES, "--model", fake_bundle, "-o", "x.parquet", "--json")
    assert json.loads(result.stdout)["faces"] == 336


def test_embed_check_ends_with_8_where_embeddings_tell_nothing(run: Any, fake_bundle: Path) -> None:
    result = run("embed", "--check", "--data", FACES, "--model", fake_bundle)
    assert result.exit_code == 8
    assert "chance" in result.stdout
