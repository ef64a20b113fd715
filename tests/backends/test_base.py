"""The facts of the targets agree with the package's extras and with README."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

from fer_edge.backends.base import TargetFacts, backend, engine_libraries, offered, targets
from fer_edge.errors import TargetError

ROOT = Path(__file__).parents[2]
TARGETS = offered()


def test_the_fake_engine_is_a_target_that_no_user_is_offered() -> None:
    assert "fake" in targets()
    assert set(TARGETS) == set(targets()) - {"fake"}


def test_an_unknown_target_lists_the_known_ones() -> None:
    with pytest.raises(TargetError, match=r"unknown target .abacus.\. Known: .*onnxruntime"):
        backend("abacus")


@pytest.mark.parametrize("facts", TARGETS.values(), ids=TARGETS)
def test_facts_are_complete(facts: TargetFacts) -> None:
    assert facts.chips
    assert facts.precisions[0] == ("fp32" if "fp32" in facts.precisions else "fp16")
    assert set(facts.quantised) <= set(facts.precisions)
    assert facts.libraries
    assert facts.modules


@pytest.mark.parametrize("facts", TARGETS.values(), ids=TARGETS)
def test_the_extra_installs_an_engine(facts: TargetFacts) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    extras = project["optional-dependencies"]
    lines = project["dependencies"] if facts.extra is None else extras[facts.extra]
    names = {re.split(r"[<>=;\[ ]", line)[0] for line in lines}
    assert names & set(facts.libraries)


def test_version_records_hold_the_libraries_of_each_engine() -> None:
    assert {"onnxruntime", "openvino", "coremltools", "tensorrt"} <= set(engine_libraries())


def test_the_table_in_readme_states_the_facts() -> None:
    text = (ROOT / "README.md").read_text("utf-8")
    rows = re.findall(r"^\| `(\w+)` \| ([^|]+) \| ([^|]+) \|", text, re.MULTILINE)
    stated = {target: (chips.strip(), precisions.strip()) for target, chips, precisions in rows}
    assert stated == {
        target: (facts.chips, ", ".join(facts.precisions)) for target, facts in TARGETS.items()
    }
