"""Plots are the same bytes each time."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from fer_edge.training.reports.plots import OF_ONE, curves, data, gallery, of_one, per_class, sheet

ROW = {"epoch": 1, "train_loss": 1.0, "held_accuracy": 0.5, "lr": 0.1}
"""Row of metrics.jsonl."""


def test_the_sheet_is_a_picture(evaluation: dict[str, Any]) -> None:
    assert sheet(evaluation["inputs"][:2]).startswith(b"\x89PNG")


def test_the_same_report_gives_the_same_plots(evaluation: dict[str, Any]) -> None:
    plots = of_one(evaluation["inputs"][0])
    assert list(plots) == list(OF_ONE)
    assert all(svg.startswith(b"<?xml") for svg in plots.values())
    assert of_one(evaluation["inputs"][0]) == plots


def test_dollars_in_labels_and_names_are_no_formulas(evaluation: dict[str, Any]) -> None:
    text = json.dumps(evaluation["inputs"][:2]).replace('"anger"', '"$a_$"')
    reports = [{**report, "name": "$b_$"} for report in json.loads(text)]
    assert sheet(reports).startswith(b"\x89PNG")
    assert len(of_one(reports[0])) == len(OF_ONE)
    figure = Figure()
    per_class(figure.subplots(), reports)
    figure.axes[0].set_title("$c_$")
    assert data(figure) == data(figure)
    assert data(gallery([(np.zeros((4, 4), np.uint8), "$d_$")]))


def test_every_axis_has_a_title(evaluation: dict[str, Any], untitled_axes: list[str]) -> None:
    sheet(evaluation["inputs"][:2])
    of_one(evaluation["inputs"][0])
    for draw in (
        lambda figure: per_class(figure.subplots(), evaluation["inputs"]),
        lambda figure: curves(figure, [ROW]),
    ):
        draw(figure := Figure())
        data(figure)
    assert untitled_axes == []


def test_titles_of_curves_name_quantity_and_unit() -> None:
    curves(figure := Figure(), [ROW])
    titles = [axes.get_ylabel() for axes in figure.get_axes()]
    assert titles == ["loss, nats", "accuracy, share of faces", "learning rate"]
