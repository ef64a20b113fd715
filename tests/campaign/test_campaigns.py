"""A few hundred cases of each campaign; the large counts are commands (see the modules)."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))  # importlib mode does not add this folder

COUNTS = {"bundles": 300, "pictures": 400, "recipes": 60, "data": 300, "kills": 4}


@pytest.mark.parametrize("name", COUNTS)
def test_no_case_is_a_fault(name: str) -> None:
    common = importlib.import_module("common")
    outcomes = common.run(importlib.import_module(name).cases, COUNTS[name], seed=1)
    assert common.faults(outcomes) == {}, outcomes
    assert outcomes[common.REFUSED] + outcomes[common.ANSWERED] == COUNTS[name]


def test_a_fault_would_be_counted() -> None:
    common = importlib.import_module("common")

    def fails() -> None:
        raise KeyError("x")

    assert common.judged(fails).startswith(common.FOREIGN)
    assert common.faults({common.judged(fails): 1}) != {}
