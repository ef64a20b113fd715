"""The fake engine follows its plan, and refuses a plan that it cannot follow."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from fer_edge import EngineError, InputError
from fer_edge.backends import fake
from fer_edge.backends.base import Options
from fer_edge.backends.fake import write_fake_bundle
from fer_edge.bundle import Variant, listed

PLAN: dict[str, Any] = {"row": [0.125] * 8, "latency_ms": 0, "fail_after": None, "crash": False}
WRONG: list[dict[str, Any]] = [
    *({"latency_ms": value} for value in (-1e3, 1e300, "1", None, True)),
    *({"fail_after": value} for value in (-1, 1.5, "1", True)),
    {"row": ["a"]},
]


@pytest.mark.parametrize("wrong", WRONG, ids=repr)
def test_a_plan_that_cannot_be_followed_is_refused_at_the_start(wrong: dict[str, Any]) -> None:
    data = json.dumps(PLAN | wrong).encode()
    file = listed("fake-fp32/answers.json", data)
    variant = Variant("fake", "fp32", file.path, (file,))
    with pytest.raises(EngineError, match="cannot read its answers"):
        fake.load(variant, {file.path: data}, Options())


@pytest.mark.parametrize(
    "option", [{"latency_ms": -1.0}, {"latency_ms": float("nan")}, {"fail_after": -1}]
)
def test_a_plan_that_cannot_be_followed_is_not_written(
    option: dict[str, Any], tmp_path: Path
) -> None:
    (name,) = option
    with pytest.raises(InputError, match=name):
        write_fake_bundle(tmp_path / "a.fer", **option)
    assert list(tmp_path.iterdir()) == []
