"""Output of the studies."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner

from fer_edge.benchmarks.studies import (
    clip_availability,
    endurance,
    fleet_scaling,
    monitor_cost,
    options,
)
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


@pytest.mark.parametrize("study", [clip_availability, endurance, fleet_scaling, monitor_cost])
def test_a_detector_beside_the_whole_frame_is_refused(study: Any, clip: Path) -> None:
    command: click.Command = study.main
    words = [str(clip), "--whole-frame", "--detector", "no-such.onnx"]
    result = CliRunner().invoke(command, words)
    assert result.exit_code == 2
    assert "expected --detector or --whole-frame, got both" in result.stderr
