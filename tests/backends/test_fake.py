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
from fer_edge.labels import EMOTIONS

PLAN: dict[str, Any] = {"row": [0.125] * 8, "latency_ms": 0, "fail_after": None, "crash": False}
WRONG: list[dict[str, Any]] = [
    *({"latency_ms": value} for value in (-1e3, 1e300, "1", None, True)),
    *({"fail_after": value} for value in (-1, 1.5, "1", True)),
    {"row": ["a"]},
    {"crash": "yes"},
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


EVEN = dict.fromkeys(EMOTIONS, 1 / len(EMOTIONS))


@pytest.mark.parametrize(
    "option",
    [
        {"answers": dict.fromkeys(EMOTIONS, 0.01)},
        {"answers": {"fear": 0.6, "anger": 0.6}},
        {"answers": {"fear": float("nan")}},
        {"answers": {"fear": "0.9"}},
        {"answers": {"fear": None}},
        {"answers": {"joy": 0.9}},
        {"answers": ["fear"]},
        {"abstain_below": 2},
        {"abstain_below": float("nan")},
        {"abstain_below": "0.5"},
        {"crash": "yes"},
    ],
    ids=str,
)
def test_an_option_without_a_meaning_is_refused(option: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"expected .* Choose another value"):
        write_fake_bundle(tmp_path / "a.fer", **option)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("answers", [EVEN, {}, {"fear": 1}, {"fear": 0.9, "anger": 0.1}], ids=str)
def test_probabilities_of_any_labels_may_be_given(
    answers: dict[str, float], tmp_path: Path
) -> None:
    write_fake_bundle(tmp_path / "a.fer", answers)
    plan = json.loads((tmp_path / "a.fer/fake-fp32/answers.json").read_bytes())
    assert sum(plan["row"]) == pytest.approx(1.0)
