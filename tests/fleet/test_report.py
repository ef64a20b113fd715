"""``report.html``: plots, tables, hostile names, many drives."""

from __future__ import annotations

import re
from typing import Any

from fer_edge.fleet.clips import Clip
from fer_edge.fleet.plots import comparison
from fer_edge.fleet.report import report
from fer_edge.fleet.scorer import ClipReport
from fer_edge.fleet.summary import Entry, summarize
from fer_edge.fleet.tally import Tally

IDENTITY = {"variant": "fake/fp32", "bundle_sha256": "ab" * 32, "detector": "X", "version": "1"}


def entry(drive: str, clip: str, **figures: Any) -> Entry:
    usual = {"stream_s": 3600.0, "valid_s": 1800.0, "missing_s": {"nobody": 1800.0}, "frames": 9}
    usual |= {"label_s": {"neutral": 1800.0}, "events": {"anger": 2}, "latency": {"20": 8, "40": 1}}
    tally = Tally(**{**usual, **figures}).as_dict()
    one = Clip(f"/x/{clip}", drive, clip)
    return one, ClipReport(one.key, "ok", None, tally)


def shown(*entries: Entry) -> str:
    return report(IDENTITY, entries, summarize(entries))


def test_figures_of_drives_are_shown_with_plots() -> None:
    page = shown(entry("a", "1.mp4"), entry("a", "2.mp4", valid_s=3600.0, missing_s={}))
    assert "<td>75.0%</td>" in page
    assert "nobody 25.0%" in page
    assert "p50 10 ms, p99 100 ms" in page
    assert page.count("data:image/svg+xml") == 4
    assert page == shown(entry("a", "1.mp4"), entry("a", "2.mp4", valid_s=3600.0, missing_s={}))
    assert not re.search(r"(src|href)=\"(?!data:)", page)


def test_names_are_text_and_no_markup() -> None:
    page = shown(entry("<script>alert(1)</script>$x_{$", "a\x1b[31m.mp4"))
    assert "<script" not in page
    assert "\x1b" not in page


def test_drives_without_a_frame_have_no_plots_but_their_faults() -> None:
    one, _ = entry("a", "1.mp4")
    page = shown((one, ClipReport(one.key, "failed", "1.mp4 is not a video")))
    assert "data:image" not in page
    assert "failed: 1.mp4 is not a video" in page
    assert "Clips with a fault" in page


def test_many_drives_stay_one_page() -> None:
    page = shown(*(entry(f"drive {n:04}", "1.mp4", valid_s=10.0 * (n % 300)) for n in range(500)))
    assert "The first 200 of 500 drives." in page
    assert page.count("data:image/svg+xml") == 5
    assert len(page) < 1_000_000


def test_every_axis_has_a_title(untitled_axes: list[str]) -> None:
    shown(*(entry(f"drive {n}", "1.mp4") for n in range(40)))
    comparison({"drives": [{"drive": "a", "both_s": 9.0, "differ_s": 1.0}]})
    assert untitled_axes == []
