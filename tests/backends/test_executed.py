"""Each engine says what it ran, on every backend that runs on this machine."""

from __future__ import annotations

import os
import tempfile
from dataclasses import replace
from pathlib import Path

import pytest

from fer_edge import EngineError, Predictor, VariantChoice, loaded, open_bundle
from fer_edge.backends import openvino
from fer_edge.backends.base import Options, backend
from fer_edge.backends.fake import write_fake_bundle
from fer_edge.bundle import Bundle, Variant
from fer_edge.execution import Execution
from fer_edge.explanation import executed
from fer_edge.shipped import DEFAULT_BUNDLE

SHIPPED = open_bundle(DEFAULT_BUNDLE)


def runs(variant: Variant) -> bool:
    return backend(variant.target).preflight(variant, Options()) is None


@pytest.mark.parametrize("variant", SHIPPED.variants, ids=lambda variant: variant.name)
def test_the_shipped_variants_execute_what_they_are_called(variant: Variant) -> None:
    if not runs(variant):
        pytest.skip(f"{variant.name} cannot run here")
    execution, refusal = executed(SHIPPED, variant, Options(threads=1))
    assert refusal is None
    assert execution is not None
    assert execution.layers == 54
    # OpenVINO may compute in fp32 the product that turns pixels into grey.
    kept_fp32 = execution.layers_in("fp32") if variant.precision == "bf16" else 0
    assert kept_fp32 in (0, 1)
    assert execution.layers_in(variant.precision) == execution.layers - kept_fp32
    assert execution.elsewhere == ()
    assert any(digit.isdigit() for digit in execution.engine)


def test_what_openvino_does_to_weights_as_it_loads_is_no_operation_of_a_face() -> None:
    for variant in SHIPPED.variants:
        if variant.target == "openvino" and runs(variant):
            execution, _ = executed(SHIPPED, variant, Options(threads=1))
            assert execution is not None
            assert sum(place.others for place in execution.placements) < 20


def test_a_profile_leaves_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    executed(SHIPPED, SHIPPED.variant("onnxruntime", "fp32"), Options())
    assert os.listdir(tmp_path) == []


def test_a_precision_that_the_device_exchanges_is_refused_at_the_start() -> None:
    """OpenVINO computes in bf16 or fp32 where a CPU has no fp16."""
    bf16 = SHIPPED.variant("openvino", "bf16")
    if backend("openvino").preflight(replace(bf16, needs={}), Options()) is not None:
        pytest.skip("OpenVINO cannot run here")
    if "FP16" in openvino.shared_core().get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
        pytest.skip("this CPU has fp16")
    fp16 = replace(bf16, precision="fp16", needs={})
    with pytest.raises(EngineError, match="f16 was asked for, and this device would compute in"):
        openvino.load(fp16, SHIPPED.read(bf16), Options())
    execution, refusal = executed(SHIPPED, fp16, Options())
    assert execution is None
    assert "f16 was asked for" in str(refusal)


def test_float_layers_under_the_name_of_int8_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    fp32 = SHIPPED.variant("onnxruntime", "fp32")
    execution, refusal = executed(SHIPPED, replace(fp32, precision="int8"), Options())
    assert execution is not None
    assert "int8 was asked for" in str(refusal)
    assert "54 in fp32 of 54 layers" in str(refusal)


# --- on request ----------------------------------------------------------------------------------


def test_explain_says_it_on_request_alone(tmp_path: Path) -> None:
    with Predictor(write_fake_bundle(tmp_path / "x.fer")) as predictor:
        (choice,) = predictor.explain()
        assert choice.execution is None
        (choice,) = predictor.explain(executed=True)
    assert choice == VariantChoice(
        "fake", "fp32", True, None, choice.warning, execution=choice.execution
    )
    assert str(choice).endswith("; the fake engine, all on no chip: 1 layer in fp32")


def test_a_simulator_is_named_and_its_speed_is_no_chips() -> None:
    choice = VariantChoice("qnn", "int8", True, None, simulator="simulator of the HTP v73")
    traced = replace(choice, execution=Execution.of("engine", "simulator of the HTP v73", []))
    text = ", on a simulator, not on a chip: its speed is not that of a chip; engine, all on"
    assert text in str(traced)
    assert str(choice) == (
        "qnn/int8: taken, on the simulator of the HTP v73, not on a chip: its speed is not that "
        "of a chip"
    )


def test_a_variant_that_only_a_simulator_runs_would_not_run_after_the_one_taken(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Without its target's name it never runs, wherever it stands in the bundle."""
    others = {"openvino": "onnxruntime", "onnxruntime": "openvino"}
    with Predictor() as predictor:
        simulated = others[predictor.variant.target]
    monkeypatch.setattr(loaded, "simulator", lambda name, _: "simulator" * (name == simulated))
    with Predictor() as predictor:
        reasons = [str(c.reason) for c in predictor.explain() if c.target == simulated]
    assert reasons
    assert all("would run on the simulator. Ask for it by name" in reason for reason in reasons)


def test_a_start_asks_no_engine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from fer_edge.backends import fake

    def never(*_: object) -> None:
        raise AssertionError("asked")

    monkeypatch.setattr(fake, "executed", never)
    with Predictor(write_fake_bundle(tmp_path / "x.fer")) as predictor:
        predictor.explain()


def test_an_engine_that_fails_to_say_is_a_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from fer_edge.backends import fake

    def failing(*_: object) -> None:
        raise RuntimeError("no profile")

    monkeypatch.setattr(fake, "executed", failing)
    with Predictor(write_fake_bundle(tmp_path / "x.fer")) as predictor:
        (choice,) = predictor.explain(executed=True)
    assert "cannot say what it executes: no profile" in str(choice)


def test_an_engine_without_the_function_says_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from fer_edge.backends import fake

    monkeypatch.delattr(fake, "executed")
    bundle: Bundle = open_bundle(write_fake_bundle(tmp_path / "x.fer"))
    assert executed(bundle, bundle.variants[0], Options()) == (None, None)
