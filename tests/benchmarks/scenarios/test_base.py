"""Scenarios: one module each, from which everything else is derived."""

from __future__ import annotations

import json
import subprocess
import sys
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from fer_edge.benchmarks.bench import bench
from fer_edge.benchmarks.reports.budget import parse_budget
from fer_edge.benchmarks.reports.schema import report_schema, schema_of
from fer_edge.benchmarks.reports.terminal import print_table
from fer_edge.benchmarks.scenarios import base, stream
from fer_edge.benchmarks.scenarios.base import names, scenario, scenarios
from fer_edge.cli.bench import SCENARIOS
from fer_edge.errors import InputError


def test_the_command_line_and_the_schema_know_every_scenario() -> None:
    assert names() == SCENARIOS
    assert report_schema()["properties"]["scenario"]["enum"] == list(names())
    assert {"batch", "single", "stream", "multistream", "offline"} < set(names())


def test_an_unknown_scenario_is_a_sentence() -> None:
    with pytest.raises(InputError, match=r"multistream.*'race'"):
        scenario("race")
    with pytest.raises(InputError, match="'base'"):
        scenario("base")


@pytest.mark.parametrize("name", names())
def test_metrics_are_of_fields_that_the_scenario_reports(name: str) -> None:
    chosen = scenario(name)
    fields = set(schema_of(chosen.row)["properties"])
    for part in map(schema_of, chosen.parts.values()):
        fields |= set(part.get("additionalProperties", {}).get("properties", ()))
    assert {metric.key for metric in chosen.metrics.values()} <= fields


def test_a_new_module_is_a_scenario_everywhere(monkeypatch: pytest.MonkeyPatch) -> None:
    module = sys.modules["made_up"] = type(sys)("made_up")
    module.SCENARIO = stream.SCENARIO  # type: ignore[attr-defined]
    known = base.import_module
    paths: dict[str, Any] = {"fer_edge.benchmarks.scenarios.made_up": module}
    monkeypatch.setattr(base, "import_module", lambda path: paths.get(path) or known(path))
    monkeypatch.setattr(base, "names", lambda: (*names(), "made_up"))
    assert "made_up" in scenarios()
    assert "made_up" in report_schema()["properties"]["scenario"]["enum"]
    assert parse_budget("misses<1%", "made_up")[0].key == "miss_rate"


def test_names_load_no_heavy_library() -> None:
    code = (
        "import sys; from fer_edge.benchmarks.scenarios.base import names; names()\n"
        "loaded = {'psutil', 'rich', 'torch', 'matplotlib', 'onnxruntime'} & sys.modules.keys()\n"
        "loaded |= {'fer_edge.benchmarks.scenarios.batch'} & sys.modules.keys()\n"
        "sys.exit(f'loaded {loaded}' if loaded else 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    "scenario", sorted(set(names()) - {"batch", "single", "stream", "multistream"})
)
def test_each_scenario_gives_a_row_and_a_table(
    fake_bundle: Path, scenario: str, capsys: pytest.CaptureFixture[str]
) -> None:
    steps = count()
    report = bench(
        fake_bundle, scenario=scenario, budget_s=0.3, step=lambda what, done, total: next(steps)
    )
    assert next(steps) > 0
    assert json.loads(json.dumps(report, allow_nan=False)) == report
    assert {row["variant"] for row in report["rows"]} == {"fake/fp32"}
    print_table(report)
    assert "fake/fp32" in capsys.readouterr().out
