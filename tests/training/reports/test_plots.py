"""Plots are the same bytes each time."""

from __future__ import annotations

from typing import Any

from fer_edge.training.reports.plots import OF_ONE, of_one, sheet


def test_the_sheet_is_a_picture(evaluation: dict[str, Any]) -> None:
    assert sheet(evaluation["inputs"][:2]).startswith(b"\x89PNG")


def test_the_same_report_gives_the_same_plots(evaluation: dict[str, Any]) -> None:
    plots = of_one(evaluation["inputs"][0])
    assert list(plots) == list(OF_ONE)
    assert all(svg.startswith(b"<?xml") for svg in plots.values())
    assert of_one(evaluation["inputs"][0]) == plots
