"""Parity reports are read strictly and written back unchanged."""

from __future__ import annotations

import copy
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from fer_edge.bundle import MANIFEST, open_bundle
from fer_edge.errors import BundleError
from fer_edge.manifest import sealed
from fer_edge.parity import JudgedBy, ParityReport, RecipeTrial, RefusedVariant, Speed
from fer_edge.shipped import DEFAULT_BUNDLE

SHIPPED = json.loads((DEFAULT_BUNDLE / MANIFEST).read_text("utf-8"))
REPORT: dict[str, Any] = SHIPPED["variants"][0]["parity"] | {
    "judged_by": {"judge": "onnxruntime", "reason": "no GPU here"},
    "calibration": {"source": "fer2013", "faces": 300, "sha256": "0" * 64},
    "search": [
        {"recipe": {}, "agreement": 0.9, "seconds": 1.5},
        {"recipe": {"keep_float": 2}, "refused": "90.00% is too far off"},
    ],
    "judgement": {
        "verdict": "not enough faces to tell",
        "reference": "fp32 network",
        "abstain_below": 0.5,
        "checks": [
            {"name": "agreement", "value": 0.98, "low": 0.97, "high": 0.99, "faces": 336},
            {
                "name": "answered_agreement",
                "value": 1.0,
                "low": 0.986,
                "high": 1.0,
                "faces": 270,
                "limit": 0.995,
                "verdict": "not enough faces to tell",
                "faces_needed": 952,
            },
            {"name": "recall_change.fear", "value": -0.02, "low": -0.1, "high": 0.05, "faces": 48},
        ],
        "flips": {"faces": 6, "answered": 0, "margin_p50": 0.01, "margin_max": 0.05},
    },
}
SPEED: dict[str, Any] = SHIPPED["variants"][-1]["speed"]
REFUSED: dict[str, Any] = {  # as the conversion of 2026-11-21 left int8 out
    "agreement": 0.9315451243364068,
    "accuracy_change": -0.015088013411567514,
    "failures": [
        "93.15 % of the decisions agree, 98 % are needed",
        "the variant's answers change with the batch size, at 2",
    ],
    "search": [
        {"recipe": {}, "agreement": 0.94, "seconds": 7.2},
        {"recipe": {"ranges": "mean"}, "agreement": 0.8333333333333334, "seconds": 7.5},
        {"recipe": {"keep_float": "depthwise"}, "agreement": 0.9466666666666667, "seconds": 7.4},
    ],
}
OPTIONAL = {"judged_by", "calibration", "search", "beaten_by", "judgement", "verdict"}


def changed(content: dict[str, Any], keys: str, value: Any) -> dict[str, Any]:
    """A copy with another value at ``faces.sha256`` or ``search.0.agreement``."""
    result: Any = copy.deepcopy(content)
    place = result
    *parents, last = keys.split(".")
    for key in parents:
        place = place[int(key) if isinstance(place, list) else key]
    place[int(last) if isinstance(place, list) else last] = value
    return dict(result)


# --- what is written is what was read ------------------------------------------------------------


def test_the_shipped_manifest_is_written_back_byte_for_byte() -> None:
    text = json.dumps(open_bundle(DEFAULT_BUNDLE).as_dict(), indent=1) + "\n"
    assert text == (DEFAULT_BUNDLE / MANIFEST).read_text("utf-8")


def test_a_report_with_every_key_is_written_back() -> None:
    assert ParityReport.parse(REPORT).as_dict() == REPORT


@pytest.mark.parametrize("without", [None, "search"])
def test_refusals_are_written_back(without: str | None) -> None:
    entry = {key: value for key, value in REFUSED.items() if key != without}
    assert RefusedVariant.parse(entry).as_dict() == entry


# --- strict reading ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("parse", "content"),
    [(ParityReport.parse, REPORT), (Speed.parse, SPEED), (RefusedVariant.parse, REFUSED)],
    ids=["parity", "speed", "refused"],
)
def test_a_missing_or_unknown_key_is_refused_by_name(
    parse: Callable[[Any, str], object], content: dict[str, Any]
) -> None:
    for key in set(content) - OPTIONAL:
        with pytest.raises(ValueError, match=rf"place\.{key}, found none"):
            parse({k: v for k, v in content.items() if k != key}, "place")
    with pytest.raises(ValueError, match=r"unknown key place\.agrement"):
        parse(content | {"agrement": 1.0}, "place")


@pytest.mark.parametrize("value", ["1", None, True, [], math.nan, math.inf, -1.1, 1.1, 10**400])
@pytest.mark.parametrize("key", ["agreement", "accuracy", "accuracy_change", "max_abs_dp"])
def test_a_figure_out_of_range_is_refused_by_name(key: str, value: Any) -> None:
    with pytest.raises(ValueError, match=rf"parity\.{key}, got"):
        ParityReport.parse(changed(REPORT, key, value))


@pytest.mark.parametrize("key", ["agreement", "accuracy", "reference_accuracy", "allowed_drop"])
def test_a_share_is_not_negative(key: str) -> None:
    with pytest.raises(ValueError, match=rf"parity\.{key}, got -0\.01"):
        ParityReport.parse(changed(REPORT, key, -0.01))


@pytest.mark.parametrize(
    ("keys", "value"),
    [
        ("recall_change", [0.0]),
        ("recall_change.anger", "much"),
        ("batch_sizes", 1),
        ("batch_sizes.0", 0),
        ("batch_sizes.0", 1.0),
        ("faces", None),
        ("faces.faces", -1),
        ("faces.source", 7),
        ("faces.sha256", "0" * 63),
        ("failures", "none"),
        ("failures", [1]),
        ("machine", None),
        ("judged_by", "onnxruntime"),
        ("judged_by.reason", None),
        ("calibration.sha256", "g" * 64),
        ("judgement", "passed"),
        ("judgement.verdict", "good"),
        ("judgement.reference", "another network"),
        ("judgement.abstain_below", 1.5),
        ("judgement.checks", {}),
        ("judgement.checks.0.name", "likeness"),
        ("judgement.checks.0.name", "recall_change"),
        ("judgement.checks.0.value", None),
        ("judgement.checks.0.faces", -1),
        ("judgement.checks.1.limit", 2),
        ("judgement.checks.1.verdict", "maybe"),
        ("judgement.checks.1.faces_needed", 0),
        ("judgement.flips.faces", 0.5),
        ("judgement.flips.margin_max", -0.1),
        ("search", {}),
        ("search.0.recipe", None),
        ("search.0.agreement", 2),
        ("search.1.refused", 3),
        ("search.0.seconds", -1),
    ],
)
def test_a_value_of_another_kind_is_refused_by_name(keys: str, value: Any) -> None:
    with pytest.raises(ValueError, match=rf"parity\.{keys}"):
        ParityReport.parse(changed(REPORT, keys, value))


@pytest.mark.parametrize("value", [None, "fast", math.nan, -1])
def test_a_latency_is_a_number(value: Any) -> None:
    with pytest.raises(ValueError, match=r"speed\.batch_1_p50_ms, got"):
        Speed.parse(changed(SPEED, "batch_1_p50_ms", value))


@pytest.mark.parametrize(
    ("variant", "named"),
    [
        ({"parity": {**REPORT, "agreement": 2}}, "variants.0.parity.agreement"),
        ({"speed": {**SPEED, "p99_ms": 1}}, "variants.0.speed.p99_ms"),
        ({"parity": {}}, "variants.0.parity.max_abs_dp"),
        ({"parity": REPORT, "unproven": "no chip"}, "variants.0.unproven"),
        ({"unproven": 1}, "variants.0.unproven"),
    ],
)
def test_a_bundle_with_a_damaged_report_is_refused(
    fake_bundle: Path, variant: dict[str, Any], named: str
) -> None:
    manifest = fake_bundle / MANIFEST
    content = json.loads(manifest.read_text("utf-8"))
    content["variants"][0] |= variant
    manifest.write_text(json.dumps(sealed(content)), "utf-8")
    with pytest.raises(BundleError) as caught:
        open_bundle(fake_bundle)
    assert named in str(caught.value)
    assert "convert the checkpoint again" in str(caught.value)


# --- sentences -----------------------------------------------------------------------------------


def test_the_session_that_judged_is_named_with_the_reason() -> None:
    sentence = ParityReport.parse(REPORT).verification
    assert sentence == ("verified by onnxruntime; the chip itself has not run it yet: no GPU here")
    assert ParityReport.parse(SHIPPED["variants"][0]["parity"]).verification is None


def test_a_refusal_has_its_reason() -> None:
    assert RefusedVariant(0.9, -0.1, ("one", "two")).reason == "one; two"
    speed = Speed(1.0, "a CPU", "openvino/bf16")
    assert RefusedVariant(1.0, 0.0, (), speed=speed).reason == "openvino/bf16 is faster here"
    judged = RefusedVariant(
        0.9, -0.1, ("one",), (RecipeTrial({}, 0.9),), JudgedBy("onnxruntime", "no GPU"), speed
    )
    assert RefusedVariant.parse(judged.as_dict()) == judged
