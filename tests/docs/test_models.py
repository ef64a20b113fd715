"""The page of models has a row for each that ships, with its figures."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from fer_edge.bundle import open_bundle
from fer_edge.shipped import MODELS, bundle_path, checkpoint_path

PAGE = (Path(__file__).parents[2] / "docs/reference/models.md").read_text("utf-8")
SHIPPED = PAGE.split("## Shipped")[1].split("\n## ")[0]
ROWS = {
    line.split("`")[1]: [cell.strip() for cell in line.strip("|").split("|")]
    for line in SHIPPED.splitlines()
    if line.startswith("| `")
}


def test_the_table_has_the_shipped_models_and_no_others() -> None:
    assert tuple(ROWS) == MODELS


@pytest.mark.parametrize("name", MODELS)
def test_a_row_states_the_figures_of_its_bundle(name: str) -> None:
    bundle = open_bundle(bundle_path(name))
    exact = [variant for variant in bundle.variants if variant.precision == "fp32"]
    parity = (*exact, *bundle.variants)[0].parity
    assert parity is not None
    _, _, parameters, size, megabytes, accuracy, _, card = ROWS[name]
    assert accuracy == f"{parity.accuracy:.2%}".replace("%", " %")
    files = {file.path: file.bytes for variant in bundle.variants for file in variant.files}
    assert abs(float(megabytes.split()[0]) - sum(files.values()) / 1e6) < 0.3
    weights = json.loads((checkpoint_path(name) / "card.json").read_text("utf-8"))
    assert size.split()[0] == str(weights["model"]["input"]["size_px"])
    assert int(parameters.replace(",", "")) > 0
    assert card.startswith("[card](")


@pytest.mark.parametrize("page", ["README.md", "docs/explanation/abstention.md"])
def test_other_pages_state_the_figures_of_the_default_models_card(page: str) -> None:
    root = Path(__file__).parents[2]
    text = " ".join((root / page).read_text("utf-8").split())
    card = root / "fer_edge/models/default-card/evaluation.json"
    checkpoint = json.loads(card.read_text("utf-8"))["checkpoint"]
    figures, abstention = checkpoint["all"], checkpoint["abstention"]
    assert f"{100 * figures['accuracy']:.2f} %" in text
    if page == "README.md":
        return
    assert f"calibration error of {figures['ece']:.3f} on PublicTest" in text
    assert f"abstains below {abstention['threshold']:.2f}" in text
    assert f"answers {100 * abstention['coverage']:.1f} % of the faces" in text
    assert f"is right on {100 * abstention['accuracy']:.1f} % of those" in text


def test_the_page_of_data_states_the_recall_without_near_duplicates() -> None:
    root = Path(__file__).parents[2]
    text = " ".join((root / "docs/reference/data.md").read_text("utf-8").split())
    card = json.loads((root / "fer_edge/models/fast-card/evaluation.json").read_text("utf-8"))
    before, after = (card["checkpoint"][part]["per_class"] for part in ("all", "near_deduplicated"))
    for name in ("surprise", "fear"):
        low, high = after[name]["recall"], before[name]["recall"]
        assert f"from {high:.3f} to {low:.3f} for {name}" in text
