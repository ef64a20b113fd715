"""Output of the studies."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from fer_edge.benchmarks.studies import options
from fer_edge.benchmarks.studies.options import print_report


def test_a_report_is_printed_as_json_or_as_text(capsys: pytest.CaptureFixture[str]) -> None:
    print_report({"ms": 1.5}, True, "1.5 ms")
    assert json.loads(capsys.readouterr().out) == {"ms": 1.5}
    print_report({"ms": 1.5}, False, "1.5 ms")
    assert capsys.readouterr().out == "1.5 ms\n"


def test_no_study_prints_what_is_no_json() -> None:
    with pytest.raises(ValueError, match="JSON compliant"):
        print_report({"ms": float("nan")}, True, "")
    studies = Path(options.__file__).parent
    printing = {path.name for path in studies.glob("*.py") if "json.dumps(" in path.read_text()}
    assert printing == {"options.py"}
