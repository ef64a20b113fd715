"""The choice of a variant, and the reasons for it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from predictor_inputs import answers, bundle_of

from fer_edge.backends.base import backend, targets
from fer_edge.errors import BundleError, InputError, TargetError
from fer_edge.labels import EMOTIONS
from fer_edge.predictor import Predictor
from fer_edge.preprocess import Image


def test_explain_says_of_each_variant_whether_it_was_taken_and_why_not(tmp_path: Path) -> None:
    path = bundle_of(
        tmp_path / "many.fer",
        {
            "abacus/fp32": b"beads",
            "onnxruntime/fp32": b"no network at all",
            "fake/fp32": answers([1, 0, 0, 0, 0, 0, 0]),
            "fake/int8": answers([0, 1, 0, 0, 0, 0, 0]),
        },
        embedding_dim=4,
    )
    predictor = Predictor(path)
    choices = predictor.explain()
    assert [choice.taken for choice in choices] == [False, False, True, False]
    assert predictor.variant.name == "fake/fp32"
    reasons = [choice.reason or "" for choice in choices]
    assert "no backend for abacus" in reasons[0]
    assert "the engine refused it" in reasons[1]
    assert reasons[2] == ""
    assert "fake/fp32 comes first" in reasons[3]
    assert [str(choice) for choice in choices][2].startswith("fake/fp32: taken (not proven")
    choices.clear()
    assert len(predictor.explain()) == 4


def test_a_target_or_precision_that_was_asked_for_is_the_one_that_runs(
    tmp_path: Path, face: Image
) -> None:
    variants = {"fake/fp32": answers([1, 0, 0, 0, 0, 0, 0]), "fake/int8": answers([0, 1] + [0] * 5)}
    path = bundle_of(tmp_path / "two.fer", variants, embedding_dim=4)
    assert Predictor(path)(face).label == EMOTIONS[0]
    assert Predictor(path, precision="int8")(face).label == EMOTIONS[1]
    assert (
        Predictor(path, "fake", "int8").explain()[0].reason == "not the precision asked for, int8"
    )


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ({"target": "qnn"}, "no variant for qnn, only fake/fp32. Make one: .* --target qnn -o"),
        ({"precision": "int8"}, "for int8, .* --target TARGET --precision int8 -o"),
        ({"target": "fake", "precision": "fp16"}, "for fake/fp16, .* Ask for one of these"),
    ],
)
def test_a_request_that_cannot_run_is_an_error_and_never_a_substitute(
    fake_bundle: Path, arguments: dict[str, str], reason: str
) -> None:
    with pytest.raises(TargetError, match=reason):
        Predictor(fake_bundle, **arguments)  # type: ignore[arg-type]


def test_a_request_that_cannot_run_is_told_of_what_it_asked_for_only(tmp_path: Path) -> None:
    variants = {"fake/fp32": answers([1, 0, 0, 0, 0, 0, 0]), "fake/int8": b"junk"}
    path = bundle_of(tmp_path / "two.fer", variants, embedding_dim=4)
    with pytest.raises(TargetError, match="fake/int8: the engine refused it") as error:
        Predictor(path, "fake", "int8")
    assert str(error.value).endswith("To see what runs here: fer-edge doctor")
    assert "fake/fp32" not in str(error.value)


@pytest.mark.parametrize("target", ["abacus", "", "base", "../fake", "Fake"])
def test_an_unknown_target_is_refused_with_the_known_ones(fake_bundle: Path, target: str) -> None:
    with pytest.raises(TargetError, match=r"(?s)unknown target.*onnxruntime \(any CPU\), openvino"):
        Predictor(fake_bundle, target)
    with pytest.raises(TargetError, match="unknown target"):
        backend(target)


@pytest.mark.parametrize("target", ["fake", "onnxruntime", "openvino"])
@pytest.mark.parametrize("data", [b"", b"junk", b"\0" * 1000, b"{}", b"[]"])
def test_a_model_that_its_engine_cannot_load_is_a_target_error(
    tmp_path: Path, target: str, data: bytes
) -> None:
    if target != "fake":
        pytest.importorskip(target)
    path = bundle_of(tmp_path / "junk.fer", {f"{target}/fp32": data})
    with pytest.raises(TargetError, match="the engine refused it"):
        Predictor(path)


def test_a_device_or_capability_that_is_not_there_is_a_target_error(
    tmp_path: Path, colour_network: bytes
) -> None:
    pytest.importorskip("openvino")
    both = {"onnxruntime/fp32": colour_network, "openvino/fp32": colour_network}
    path = bundle_of(tmp_path / "both.fer", both)
    with pytest.raises(TargetError, match=r"(?s)'abacus'.*no device ABACUS"):
        Predictor(path, device="abacus")


def test_a_damaged_bundle_is_a_bundle_error(fake_bundle: Path, tmp_path: Path) -> None:
    (fake_bundle / "extra").write_text("not listed")
    for path in (fake_bundle, tmp_path / "missing.fer"):
        with pytest.raises(BundleError):
            Predictor(path)


@pytest.mark.parametrize("options", [{"hint": "fast"}, {"threads": 0}, {"threads": -1}])
def test_an_impossible_option_is_refused(fake_bundle: Path, options: dict[str, Any]) -> None:
    with pytest.raises(InputError):
        Predictor(fake_bundle, **options)


@pytest.mark.parametrize("target", targets())
def test_asking_for_each_target_runs_it_or_nothing(fake_bundle: Path, target: str) -> None:
    if target == "fake":
        assert Predictor(fake_bundle, target).variant.target == target
        return
    with pytest.raises(TargetError, match=f"has no variant for {target}, only fake/fp32"):
        Predictor(fake_bundle, target)


@pytest.mark.parametrize(
    ("target", "precision", "advice"),
    [
        ("openvino", None, "Make one: fer-edge convert CHECKPOINT --target openvino -o NAME.fer"),
        (None, "int8", "Make one: fer-edge convert CHECKPOINT --target TARGET --precision int8 -o"),
        ("qnn", "int8", "Make one: fer-edge convert CHECKPOINT --target qnn --precision int8 -o"),
        (None, "int4", "Ask for one of these: coreml"),
        (None, "INT8", "Ask for one of these: coreml"),
        ("qnn", "bf16", "Ask for one of these: qnn: fp16"),
        ("fake", "int8", "Ask for one of these: coreml"),
    ],
)
def test_the_advice_for_a_missing_variant_can_be_followed(
    fake_bundle: Path, target: str | None, precision: str | None, advice: str
) -> None:
    with pytest.raises(TargetError) as refused:
        Predictor(fake_bundle, target, precision)
    assert advice in str(refused.value)


def test_a_variant_that_was_never_judged_says_so_where_it_is_taken(fake_bundle: Path) -> None:
    with Predictor(fake_bundle) as predictor:
        (choice,) = predictor.explain()
    assert choice.taken
    assert choice.warning == "not proven: it has no parity report"
    assert str(choice) == "fake/fp32: taken (not proven: it has no parity report)"


def test_a_judged_variant_is_taken_without_a_warning() -> None:
    with Predictor() as predictor:
        assert all(choice.warning is None for choice in predictor.explain())


def test_variants_can_be_excluded_by_name(tmp_path: Path) -> None:
    row = answers([1.0, 0, 0, 0, 0, 0, 0])
    bundle = bundle_of(tmp_path / "two.fer", {"fake/int8": row, "fake/fp32": row})
    with Predictor(bundle, exclude=["fake/int8"]) as predictor:
        assert predictor.variant.name == "fake/fp32"
        assert "fake/int8: excluded by the caller" in map(str, predictor.explain())
    with pytest.raises(TargetError, match=r"fake/int8: excluded.*fake/fp32: excluded"):
        Predictor(bundle, exclude=["fake/int8", "fake/fp32"])
    with pytest.raises(InputError, match="among fake/int8, fake/fp32, got fake/int4"):
        Predictor(bundle, exclude=["fake/int4"])
