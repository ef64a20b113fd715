"""A run's report is complete, matches the measurements and asks no host."""

from __future__ import annotations

import json
import re
from typing import Any

import numpy as np
import pytest

from fer_edge.training.checkpoint import load_checkpoint
from fer_edge.training.data.faces import LabelledFace
from fer_edge.training.reports import run_report
from fer_edge.training.reports.run_report import run_page


@pytest.fixture(scope="module")
def report(finished: Any) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((finished.folder / "report.json").read_text("utf-8"))
    return found


def test_a_finished_run_holds_its_report(finished: Any, report: dict[str, Any]) -> None:
    assert report["recipe"]["fit"]["epochs"] == 3
    assert (
        report["data"]["fingerprint"]
        == json.loads((finished.folder / "run.json").read_text("utf-8"))["data"]["fingerprint"]
    )
    assert "torch" in report["environment"]
    assert [row["epoch"] for row in report["curves"]] == [1, 2, 3]
    best = load_checkpoint(finished.best)
    assert report["weights"]["sha256"] == best.sha256
    assert report["temperature"] == best.temperature


def test_its_figures_are_those_in_the_card(finished: Any, report: dict[str, Any]) -> None:
    card = json.loads((finished.best / "card.json").read_text("utf-8"))
    held = report["held_out"]["all"]
    for name, value in card["held_out"].items():
        assert held[name] == pytest.approx(value)
    assert held["faces"] == report["data"]["held_out_faces"]
    assert report["held_out"]["abstention"]["threshold"] == card["abstain_below"]


def test_the_page_has_everything_and_asks_no_host(finished: Any, report: dict[str, Any]) -> None:
    page = (finished.folder / "report.html").read_text("utf-8")
    for word in (
        "fit.lr",
        "0.003",
        "augment.mixup",
        report["data"]["fingerprint"],
        "Confusion",
        "Calibration",
        "ROC",
        "Curves",
        "disgust",
        "Environment",
        "Worst mistakes",
        "Training faces, as augmented",
        report["mistakes"][0]["name"],
    ):
        assert word in page
    sources = re.findall(r'(?:src|href)="([^"]*)"', page)
    assert len(sources) == 7  # with training faces and mistakes
    assert all(source.startswith("data:image/svg+xml;base64,") for source in sources)
    assert "<script" not in page


def test_the_same_report_gives_the_same_page(finished: Any, report: dict[str, Any]) -> None:
    """The pictures of faces are in the page alone."""
    written = (finished.folder / "report.html").read_text("utf-8").split("<h2>Worst mistakes")[0]
    assert run_page(report).split("<h2>Worst mistakes")[0] == written


def test_names_are_escaped(report: dict[str, Any]) -> None:
    nasty = {**report["recipe"], "name": "<script>alert(1)</script>"}
    assert "<script" not in run_page({**report, "recipe": nasty})


def test_metrics_of_another_kind_are_left_out_of_the_curves(report: dict[str, Any]) -> None:
    rows = [
        {k: v for k, v in row.items() if k != "held_calibrated_nll"} for row in report["curves"]
    ]
    assert "<h2>Curves</h2>" in run_page({**report, "curves": rows})


def test_no_temporary_file_is_left(finished: Any) -> None:
    assert not [p for p in finished.folder.rglob("*") if p.suffix == ".tmp"]


def test_the_surest_mistake_comes_first(report: dict[str, Any]) -> None:
    rows = report["mistakes"]
    assert 0 < len(rows) <= 24
    assert [row["confidence"] for row in rows] == sorted(
        (row["confidence"] for row in rows), reverse=True
    )
    assert all(row["label"] != row["answer"] for row in rows)


def test_the_epochs_say_how_long_the_run_takes(finished: Any) -> None:
    lines = [line for line in finished.said if line.startswith("epoch")]
    assert ["left" in line for line in lines] == [True, True, False]


def test_mistakes_of_two_data_sets_with_the_same_names_keep_their_pictures() -> None:
    faces = [
        LabelledFace(np.full((48, 48, 3), value, np.uint8), label, "fer2013:2")
        for value, label in ((10, "fear"), (20, "anger"))
    ]
    probabilities = np.array([[0.1, 0.9], [0.3, 0.7]])
    assert run_report._worst(probabilities, faces, ["fear", "anger"]) == [0]
    rows = run_report.worst_mistakes(probabilities, faces, ["fear", "anger"])
    assert [(row["label"], row["answer"]) for row in rows] == [("fear", "anger")]
    probabilities = np.array([[0.1, 0.9], [0.95, 0.05]])
    assert run_report._worst(probabilities, faces, ["fear", "anger"]) == [1, 0]


def test_the_best_epoch_is_one_of_all_phases(report: dict[str, Any]) -> None:
    assert "Best epoch" in run_page(report)
    fit = report["recipe"]["fit"]
    then = [{"train": "full", "epochs": 4, "lr": 0.1}, {"train": "head", "epochs": 2, "lr": 0.1}]
    phased = report | {"epoch": 8, "recipe": report["recipe"] | {"fit": fit | {"then": then}}}
    assert "Best epoch 8 of 9," in run_page(phased)
