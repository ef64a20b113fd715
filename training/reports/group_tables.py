"""Tables of an evaluation by groups, for the terminal and for Markdown."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Sequence
from typing import Any

from fer_edge.page import markdown_table
from fer_edge.training.evaluation.group_figures import FEW_FACES

Report = dict[str, Any]
"""Report of one model, an entry of ``inputs`` of evaluate_groups."""

WIDTH = 80
"""Columns of the terminal that a table must fit."""
_NONE = "-"
_ROUNDING = 1e-9
"""Difference of two means that is only a rounding error."""
_MOST_NAMED = 6
"""Largest number of small groups that a note names."""
_LONGEST_NAME = 18
"""Characters of a group's name on the terminal; longer names are cut."""


def lines(report: Report) -> Iterator[str]:
    """Yield a report as text of at most 80 columns."""
    yield report["name"]
    row = report["overall"]
    where = report["data"] + "".join(
        f", {word} {report[key]}"
        for key, word in (("split", "part"), ("fold", "fold"))
        if report[key]
    )
    yield f"{row['pictures']:,} pictures of {where}"
    if report["located"]:
        missing = row["no_face"]
        yield f"no face found in {missing['count']:,} of them ({percent(missing)})"
    if not report["labelled"]:
        yield "The data has no expression labels: answers are counted, none is judged."
    for table in report["by"]:
        rows = [*table["groups"], {"value": "all", **row}]
        yield ""
        yield from _wrapped(table["column"], rows, measures_of(report))
        yield ""
        yield "Share answered by class, %"
        yield from _wrapped(table["column"], rows, _classes(report["labels"], "answers"))
        if report["labelled"]:
            present = [name for name in report["labels"] if row["recall"][name]]
            yield ""
            yield "Recall by class, %"
            yield from _wrapped(table["column"], rows, _classes(present, "recall"))
        yield ""
        for note in notes(table):
            yield from textwrap.wrap(note, WIDTH)


def markdown(report: Report) -> str:
    """Return a report as Markdown tables, one for each column, with sentences below."""
    parts = []
    for table in report["by"]:
        heads = measures_of(report)
        classes = _classes(report["labels"], "answers")
        if report["labelled"]:
            present = [name for name in report["labels"] if report["overall"]["recall"][name]]
            classes = [(f"recall of {name}", "recall", name) for name in present]
        rows = [*table["groups"], {"value": "all", **report["overall"]}]
        head = [table["column"], "faces", *(h for h, _ in heads), *(h for h, *_ in classes)]
        body = [
            [
                marked(row),
                f"{row['faces']:,}",
                *(spread(row[key]) for _, key in heads),
                *(spread(row[key][name]) for _, key, name in classes),
            ]
            for row in rows
        ]
        parts += [markdown_table(head, body), " ".join(notes(table)).replace("* ", "\\* ", 1), ""]
    return "\n".join(parts)


def measures_of(report: Report) -> list[tuple[str, str]]:
    """Return head and key of the figures that each group has."""
    heads = [("abstains", "abstained"), ("confidence", "confidence")]
    if report["labelled"]:
        heads.insert(0, ("right", "right"))
    missed = report["overall"]["no_face"]["count"] > 0
    return ([("no face", "no_face")] if missed else []) + heads


def notes(table: dict[str, Any]) -> Iterator[str]:
    """Yield sentences on small groups and on the largest difference of each figure."""
    if few := [str(row["value"]) for row in table["groups"] if row["few"]]:
        names = ", ".join(few) if len(few) <= _MOST_NAMED else f"{len(few)} groups"
        yield f"* Fewer than {FEW_FACES} faces: {names}. Such rows say little."
    words = {"right": "right answers", "abstained": "abstention", "confidence": "confidence"}
    for key, row in table["spreads"].items():
        if row["difference"] < _ROUNDING:
            yield f"No difference of {words[key]} between the groups."
            continue
        chance = row["chance"]
        rarely = f"{100 * chance:.0f} %" if chance >= 0.1 else f"{100 * chance:.1f} %"
        rarely = rarely if chance >= 0.001 else "less than 0.1 %"
        yield (
            f"Largest difference of {words[key]}: {100 * row['difference']:.1f} points "
            f"({row['low']} to {row['high']}). Of random groupings, {rarely} differ as much."
        )
    if not table["spreads"]:
        yield f"Fewer than two groups have {FEW_FACES} faces: they are not compared."


def percent(value: dict[str, Any] | None) -> str:
    """Return a share or mean in percent, a dash for None."""
    if value is None:
        return _NONE
    return f"{100 * value.get('share', value.get('mean', 0)):.1f} %"


def spread(value: dict[str, Any] | None) -> str:
    """Return a share or mean in percent with its interval."""
    if value is None:
        return _NONE
    number = 100 * float(value.get("share", value.get("mean", 0)))
    if value["interval"] is None:
        return f"{number:.1f}"
    low, high = (100 * end for end in value["interval"])
    return f"{number:.1f} [{low:.1f}, {high:.1f}]"


def _classes(labels: Sequence[str], key: str) -> list[tuple[str, str, str]]:
    return [(name, key, name) for name in labels]


def marked(row: dict[str, Any]) -> str:
    """Return the name of a group, with a star if it is small."""
    return f"{row['value']}{' *' if row.get('few') else ''}"


def _wrapped(
    column: str, rows: Sequence[dict[str, Any]], heads: Sequence[tuple[str, ...]]
) -> Iterator[str]:
    """Yield a table under its heads, continued below where it is wider than the terminal."""
    names = [marked(row) for row in rows]
    names = [
        name if len(name) <= _LONGEST_NAME else name[: _LONGEST_NAME - 1] + "…" for name in names
    ]
    by_class = len(heads[0]) > 2
    columns = [] if by_class else [["faces", *(f"{row['faces']:,}" for row in rows)]]
    for head, key, *inner in heads:
        # Of a class, the half width stands for the interval: seven classes fit the line.
        cells = [_short(row[key][inner[0]]) if inner else spread(row[key]) for row in rows]
        columns.append([head, *cells])
    first = [column[:_LONGEST_NAME], *names]
    wide = max(map(len, first))
    while columns:
        taken, length = 0, wide
        while taken < len(columns) and length + 2 + max(map(len, columns[taken])) <= WIDTH:
            length += 2 + max(map(len, columns[taken]))
            taken += 1
        taken = max(taken, 1)
        block, columns = columns[:taken], columns[taken:]
        for i, name in enumerate(first):
            cells = [cells[i].rjust(max(map(len, cells))) for cells in block]
            yield f"{name:{wide}}" + "".join(f"  {cell}" for cell in cells)


def _short(value: dict[str, Any] | None) -> str:
    """Return a share in percent and the larger side of its interval."""
    if value is None:
        return _NONE
    low, high = value["interval"]
    half = max(value["share"] - low, high - value["share"])
    return f"{100 * value['share']:.0f}±{100 * half:.0f}"
