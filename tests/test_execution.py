"""A precision that was requested and not executed is refused with a sentence."""

from __future__ import annotations

from fer_edge.execution import Execution, Operation, Placement


def run(*layers: str, others: int = 3, device: str = "CPU") -> Execution:
    operations = [Operation("Conv", device, precision, is_layer=True) for precision in layers]
    operations += [Operation("Reshape", "CPU", "fp32", is_layer=False)] * others
    return Execution.of("engine 1.0", "CPU", operations)


def test_operations_are_counted_by_place_and_precision() -> None:
    execution = run("int8", "int8", "fp32")
    assert execution.placements == (Placement("CPU", "int8", 2, 0), Placement("CPU", "fp32", 1, 3))
    assert str(execution) == (
        "engine 1.0, all on CPU: 2 layers in int8, 1 layer and 3 other operations in fp32"
    )


def test_what_was_asked_for_is_no_refusal() -> None:
    for precision in ("fp32", "fp16", "bf16", "int8"):
        assert run(precision, precision).refusal(precision) is None
    assert run("int8", "int8", "fp32").refusal("int8") is None  # a recipe keeps a layer in float
    assert run("int8").refusal("w8a8") is None
    assert run("fp32").refusal("pal6") is None


def test_another_precision_than_the_one_asked_for_is_refused_with_the_counts() -> None:
    assert run("fp32", "fp32").refusal("bf16") == (
        "bf16 was asked for, and engine 1.0 ran 2 in fp32 of 2 layers on CPU. Choose another "
        "precision for this machine"
    )
    assert run("bf16", "fp32").refusal("fp32") is not None
    assert run("int8", "fp32", "fp32").refusal("int8") is not None
    assert run("bf16", "bf16").refusal("fp16") is not None


def test_an_operation_that_fell_back_is_named() -> None:
    execution = Execution.of(
        "engine 1.0",
        "NPU",
        [Operation("Conv", "NPU", "int8", True), Operation("Softmax", "CPU", "fp32", False)],
    )
    assert execution.elsewhere == ("Softmax",)
    assert "Softmax" in str(execution.refusal("int8"))
    assert str(execution) == (
        "engine 1.0 on NPU: 1 layer in int8, 1 other operation in fp32 on CPU; not on NPU: Softmax"
    )


def test_it_is_plain_values_for_json() -> None:
    assert run("fp32").as_dict()["placements"] == (
        {"device": "CPU", "precision": "fp32", "layers": 1, "others": 3},
    )
