"""``fer-edge adapt``: a table of what changed, or JSON."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from fer_edge.bundle import open_bundle
from fer_edge.shipped import FACES

LABELLED = ("--data", FACES, "--split", "val")


def test_adapt_prints_before_and_after_with_intervals(run: Any, fake_bundle: Path) -> None:
    result = run("adapt", fake_bundle, *LABELLED, "-o", "car.fer", "--bundle-version", "2")
    assert result.exit_code == 0
    lines = result.stdout.splitlines()
    assert max(map(len, lines)) <= 80
    for name in ("temperature", "abstain below", "ECE", "NLL", "answered", "right if answered"):
        assert any(line.startswith(name) for line in lines), name
    assert lines[-1] == "wrote car.fer"
    bundle = open_bundle("car.fer")
    assert bundle.version == "2"
    assert bundle.recalibration is not None
    assert f"temperature {bundle.recalibration.temperature:.3f} more" in (
        run("inspect", "car.fer").stdout
    )
    assert "recalibration: none -> " in run("diff", fake_bundle, "car.fer").stdout


def test_adapt_gives_json(run: Any, fake_bundle: Path) -> None:
    result = run("adapt", fake_bundle, *LABELLED, "-o", "car.fer", "--answer", "0.9", "--json")
    report = json.loads(result.stdout)
    assert report["faces"] == 336
    assert report["cross_fitted"]
    assert set(report["ece"]) == {"before", "after", "change"}


def test_wrong_use_is_a_sentence(run: Any, fake_bundle: Path) -> None:
    result = run("adapt", fake_bundle, *LABELLED, "-o", "car")
    assert result.exit_code == 3
    assert "expected the name of another bundle" in result.stderr
    assert run("adapt", fake_bundle, "--data", "none.csv", "-o", "car.fer").exit_code == 3
    assert run("adapt", "none.fer", *LABELLED, "-o", "car.fer").exit_code == 4
