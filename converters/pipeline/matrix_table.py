"""Rows of the conversion matrix and their tables in Markdown."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from fer_edge.page import markdown_table
from fer_edge.parity import JudgedBy
from fer_edge.verdict import UNDECIDED


@dataclass(frozen=True)
class MatrixRow:
    """One network on one target in one precision.

    Attributes:
        network: Name of the network.
        parameters: Number of parameters.
        target: Name of the target.
        precision: Name of the precision.
        refused: Why there are no figures; None if there are.
        agreement: Share (0..1) of faces with the checkpoint's decision.
        max_abs_dp: Largest absolute difference of a probability.
        failures: Limits of the gate that the variant breaks.
        verdict: Verdict of the gate; None if there is none.
        doubt: What more faces would decide; None if the verdict is clear.
        recipes_tried: Number of recipes that were run.
        judged_by: Session that ran instead of the engine; None if the engine ran.
        bytes: Size of the variant's files.
        build_s: Seconds of the build, the search of recipes included.
        p50_ms: Median latency of one face in milliseconds; None if the engine cannot run here.
    """

    network: str
    parameters: int
    target: str
    precision: str
    refused: str | None = None
    agreement: float | None = None
    max_abs_dp: float | None = None
    failures: tuple[str, ...] = ()
    recipes_tried: int = 0
    judged_by: JudgedBy | None = None
    bytes: int | None = None
    build_s: float | None = None
    p50_ms: float | None = None
    verdict: str | None = None
    doubt: str | None = None


def _overview(rows: Sequence[MatrixRow]) -> str:
    """Tabulate the verdicts: networks across, targets and precisions down."""
    networks = list(dict.fromkeys(row.network for row in rows))
    cells = {(f"{row.target}/{row.precision}", row.network): _glance(row) for row in rows}
    variants = dict.fromkeys(variant for variant, _ in cells)
    return markdown_table(
        ["", *networks],
        [[variant, *(cells.get((variant, name), "") for name in networks)] for variant in variants],
    )


def _glance(row: MatrixRow) -> str:
    if row.agreement is None:
        return "–"
    mark = "✗" if row.failures else "✓"
    return f"{'?' if row.verdict == UNDECIDED else mark} {row.agreement:.1%}"


def markdown(rows: Sequence[MatrixRow]) -> str:
    """Return the tables in Markdown.

    Sessions that ran instead of engines stand below.

    Args:
        rows: Rows of the matrix.
    """
    head = ["network", "parameters", "target", "precision", "agreement", "max abs dp", "verdict"]
    head += ["MB", "build s", "p50 ms"]
    lines = []
    notes: list[JudgedBy] = []
    for row in rows:
        verdict = row.refused or "; ".join(row.failures) or row.doubt or "passed"
        if row.recipes_tried > 1:
            verdict += f" (the best of {row.recipes_tried} recipes)"
        if row.judged_by and not row.refused:
            if row.judged_by not in notes:
                notes.append(row.judged_by)
            verdict += f" [{notes.index(row.judged_by) + 1}]"
        lines.append(
            [
                row.network,
                f"{row.parameters:,}",
                row.target,
                row.precision,
                "" if row.agreement is None else f"{row.agreement:.2%}",
                "" if row.max_abs_dp is None else f"{row.max_abs_dp:.1e}",
                verdict.replace("|", "/"),
                "" if row.bytes is None else f"{row.bytes / 1e6:.1f}",
                "" if row.build_s is None else f"{row.build_s:.1f}",
                "" if row.p50_ms is None else f"{row.p50_ms:.2f}",
            ]
        )
    below = "\n".join(f"[{i}] Verified by {note}.  " for i, note in enumerate(notes, start=1))
    legend = (
        "Decisions that agree with the checkpoint; ✓ passed, ✗ failed its gate, ? was judged by "
        "too few faces to tell, – has no figures for the reason below."
    )
    tables = f"{legend}\n\n{_overview(rows)}\n{markdown_table(head, lines)}"
    return f"{tables}\n{below}\n" if notes else tables
