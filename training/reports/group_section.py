"""Section of the model card on groups of people."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from fer_edge.bundle import Bundle
from fer_edge.training.evaluation.group_figures import METHOD
from fer_edge.training.reports.group_tables import Report, markdown

GROUPS_FILE = "groups.json"
"""File beside the model card with the reports by groups."""
_SETS = {
    "london": (
        "Face Research Lab London Set (DeBruine and Jones, 2017; CC BY 4.0): 102 people in a "
        "studio, each neutral and smiling; gender, ethnicity and age as they state them. "
        "No face of it was used in training.",
        "What it cannot say: five of the seven classes are absent, the light and the pose are "
        "ideal, most groups are small, and two pictures of one person are not independent.",
    ),
    "fairface": (
        "FairFace (Kärkkäinen and Joo, 2021; CC BY 4.0): web photos, groups as annotators judged "
        "them. Fold 0/3 of its 18,000 faces, chosen by the hash of each name: no training uses it.",
        "What it cannot say: FairFace has no expression labels, so no answer is judged. Groups "
        "may differ in answers because people in its photos do. A judged group is not a stated "
        "one.",
    ),
}
"""Sentences before and after a set's tables, by the start of its file name."""


def groups_beside(bundle: Bundle, folder: Path) -> list[Report] | None:
    """Return the reports beside a model card; None without any, or for another bundle."""
    file = folder / GROUPS_FILE
    if not file.is_file():
        return None
    reports: list[Report] = json.loads(file.read_text("utf-8"))
    same = all(report.get("sha256") == bundle.sha256 for report in reports)
    return reports if same else None


def group_section(reports: Sequence[Report]) -> list[str]:
    """Return the lines of the section, none without reports."""
    if not reports:
        return []
    lines = [
        "## By groups",
        "",
        f"`{reports[0]['variant']}`, faces located by YuNet. Shares in %, {METHOD}. A random "
        "grouping deals the faces to groups of the same sizes.",
        "",
    ]
    for report in reports:
        before, after = next(
            (text for name, text in _SETS.items() if report["data"].startswith(name)), ("", "")
        )
        lines += [f"### {report['data']}", "", before, "", markdown(report), after, ""]
    return lines


def compact(reports: Sequence[dict[str, Any]]) -> str:
    """Return reports as JSON with a line for each column."""
    return json.dumps(reports, allow_nan=False, ensure_ascii=False).replace(
        '{"column"', '\n{"column"'
    )
