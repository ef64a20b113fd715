"""The report for a pull request and the one for a browser: whole, escaped, and asking no host."""

from __future__ import annotations

import base64
import re
import sys
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from matplotlib.figure import Figure

from fer_edge.benchmarks.bench import bench
from fer_edge.benchmarks.reports import plots
from fer_edge.benchmarks.reports.html import html, markdown
from fer_edge.benchmarks.reports.plots import pictures
from fer_edge.cli import main
from fer_edge.errors import MissingDependencyError
from fer_edge.shipped import FACES


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    from fer_edge.backends.fake import write_fake_bundle

    bundle = write_fake_bundle(tmp_path_factory.mktemp("pages") / "fake.fer")
    return bench(bundle, (1, 4), data=FACES, budget_s=0.1)


def test_all_four_pictures_are_drawn_and_the_same_each_time(report: dict[str, Any]) -> None:
    drawn = pictures(report, "png")
    assert list(drawn) == [
        "Latency distribution",
        "Latency and throughput by batch size",
        "Timeline",
        "Accuracy against latency",
    ]
    assert all(data.startswith(b"\x89PNG") for data in drawn.values())
    assert pictures(report) == pictures(report)


def test_lines_are_those_of_the_samples(report: dict[str, Any]) -> None:
    """Of 1, 2 and 4 ms, two thirds took longer than 1.5 ms; sizes are drawn in their order."""
    row = report["rows"][0]
    rows = [
        {**row, "batch": batch, "p50_ms": batch, "latencies_ns": "1000000 2000000 4000000"}
        for batch in (32, 1, 8)
    ]
    figure = Figure()
    assert plots._distribution(figure, rows)
    (line,) = figure.axes[0].lines
    assert line.get_drawstyle() == "steps-pre"
    longer = dict(zip(line.get_xdata(), line.get_ydata(), strict=True))
    assert longer[2.0] == pytest.approx(2 / 3)
    figure = Figure()
    assert plots._by_batch(figure, rows)
    assert list(figure.axes[0].lines[0].get_xdata()) == [1, 8, 32]


def test_every_axis_has_a_title(report: dict[str, Any], untitled_axes: list[str]) -> None:
    pictures(report)
    assert untitled_axes == []


def test_a_report_without_accuracy_or_batches_has_the_other_pictures(fake_bundle: Path) -> None:
    stream = bench(fake_bundle, scenario="stream", hz=500, budget_s=0.1)
    assert list(pictures(stream)) == ["Latency distribution", "Timeline"]
    starts = bench(fake_bundle, scenario="coldstart", budget_s=0)
    assert pictures(starts) == {}
    assert "<h2>Environment</h2>" in html(starts)


def test_the_html_asks_no_other_host(report: dict[str, Any]) -> None:
    page = html(report)
    sources = re.findall(r'(?:src|href)="([^"]*)"', page)
    assert len(sources) == 4
    for source in sources:
        assert source.startswith("data:image/svg+xml;base64,")
        picture = base64.b64decode(source.partition(",")[2]).decode()
        assert "</svg>" in picture
        assert not re.search(r'href="(?!#)', picture)
        assert "url(http" not in picture
    assert "<script" not in page
    assert report["environment"]["cpu"] in page


def test_what_a_report_says_is_escaped(report: dict[str, Any]) -> None:
    nasty = {**report, "note": "<script>alert(1)</script>", "budget": [], "refused": []}
    assert "<script" not in html(nasty)


def test_markdown_is_a_table_with_a_line_for_each_row(report: dict[str, Any]) -> None:
    budget = [{"held": False, "sentence": "fake/fp32 batch 1: p50<1us is broken"}]
    text = markdown({**report, "note": "Noisy machine: load.", "budget": budget})
    rows = [line for line in text.splitlines() if line.startswith("| fake/fp32")]
    assert len(rows) == len(report["rows"])
    assert len({line.count("|") for line in text.splitlines() if line.startswith("|")}) == 1
    assert "> **Noisy machine: load.**" in text
    assert "**BROKEN**" in text


def test_a_missing_matplotlib_is_the_line_that_installs_it(
    report: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(MissingDependencyError, match=r"fer-edge\[bench\]"):
        pictures(report)


def test_the_command_writes_each_form(fake_bundle: Path, tmp_path: Path) -> None:
    outs = [tmp_path / f"report.{suffix}" for suffix in ("json", "md", "html")]
    arguments = ["bench", str(fake_bundle), "--scenario", "stream", "--hz", "500"]
    arguments += ["--budget-s", "0.1", *(x for out in outs for x in ("-o", str(out)))]
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code == 0, result.output
    starts = [out.read_text("utf-8").lstrip()[:5] for out in outs]
    assert starts == ['{\n "s', "### f", "<!doc"]


def test_a_median_that_neighbours_change_is_printed_twice(report: dict[str, Any]) -> None:
    (row, *_) = report["rows"]
    rows = [
        {**row, "variant": "a/int8", "p50_ms": 1.36, "alone_p50_ms": 0.9},
        {**row, "variant": "b/int8", "p50_ms": 1.0, "alone_p50_ms": 0.96},
        {**row, "variant": "c/int8", "alone_p50_ms": None},
    ]
    text = markdown({**report, "rows": rows, "budget": []})
    assert "a/int8, batch 1: p50 1.360 ms in turns with the others, 0.900 ms alone" in text
    assert "b/int8, batch" not in text


def test_what_ran_where_stands_below_the_table(report: dict[str, Any]) -> None:
    assert "fake/fp32 ran as: the fake engine, all on no chip: 1 layer in fp32" in markdown(report)
    assert report["executed"][0]["placements"][0]["layers"] == 1


def test_a_simulator_is_named_below_the_table(report: dict[str, Any]) -> None:
    (line, *_) = report["executed"]
    assert "simulator" not in line
    text = markdown({**report, "executed": [{**line, "simulator": "simulator of a chip"}]})
    assert "fake/fp32 ran on the simulator of a chip: its times are not those of a chip" in text
