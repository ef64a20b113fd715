"""Models that refer to data outside their file, or can loop, are refused before any engine."""

from __future__ import annotations

from collections.abc import Callable

import onnx
import pytest
from onnx import TensorProto, helper

from fer_edge import BundleError
from fer_edge.model_files.onnx_check import check_onnx, read_metadata
from fer_edge.shipped import DEFAULT_BUNDLE


def tensor(location: str | None = None) -> onnx.TensorProto:
    made = helper.make_tensor("w", TensorProto.FLOAT, [1], [1.0])
    if location is not None:
        made.ClearField("float_data")
        made.data_location = TensorProto.EXTERNAL
        made.external_data.add(key="location", value=location)
    return made


def graph(*nodes: onnx.NodeProto, **parts: list[onnx.TensorProto]) -> onnx.GraphProto:
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, [1])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, [1])
    return helper.make_graph(list(nodes), "g", [x], [y], **parts)  # type: ignore[arg-type]


def as_initializer(w: onnx.TensorProto) -> onnx.ModelProto:
    return helper.make_model(graph(initializer=[w]))


def as_sparse_initializer(w: onnx.TensorProto) -> onnx.ModelProto:
    sparse = helper.make_sparse_tensor(w, helper.make_tensor("i", TensorProto.INT64, [1], [0]), [1])
    made = graph()
    made.sparse_initializer.append(sparse)
    return helper.make_model(made)


def as_constant(w: onnx.TensorProto) -> onnx.ModelProto:
    return helper.make_model(graph(helper.make_node("Constant", [], ["y"], value=w)))


def as_list_of_constants(w: onnx.TensorProto) -> onnx.ModelProto:
    return helper.make_model(graph(helper.make_node("Thing", [], ["y"], values=[w])))


def in_a_graph_of_a_node(w: onnx.TensorProto) -> onnx.ModelProto:
    inner = graph(initializer=[w])
    return helper.make_model(graph(helper.make_node("Thing", [], ["y"], body=inner)))


def in_a_function(w: onnx.TensorProto) -> onnx.ModelProto:
    node = helper.make_node("Constant", [], ["y"], value=w)
    function = helper.make_function("d", "f", [], ["y"], [node], [])
    return helper.make_model(graph(), functions=[function])


PLACES = [
    as_initializer,
    as_sparse_initializer,
    as_constant,
    as_list_of_constants,
    in_a_graph_of_a_node,
    in_a_function,
]
LOCATIONS = ["/etc/passwd", "../secret", "weights.bin", "*/_ORT_MEM_ADDR_/*", ""]


@pytest.mark.parametrize("place", PLACES)
def test_data_inside_the_file_are_accepted(
    place: Callable[[onnx.TensorProto], onnx.ModelProto],
) -> None:
    check_onnx(place(tensor()).SerializeToString(), "model.onnx")


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("location", LOCATIONS)
def test_data_outside_the_file_are_refused(
    place: Callable[[onnx.TensorProto], onnx.ModelProto], location: str
) -> None:
    with pytest.raises(BundleError, match="outside"):
        check_onnx(place(tensor(location)).SerializeToString(), "model.onnx")


def test_a_location_without_its_mark_is_refused() -> None:
    made = tensor()
    made.external_data.add(key="location", value="/etc/passwd")
    with pytest.raises(BundleError, match="outside"):
        check_onnx(as_initializer(made).SerializeToString(), "model.onnx")


@pytest.mark.parametrize("operation", ["Loop", "Scan", "If", "SequenceMap"])
def test_control_flow_is_refused(operation: str) -> None:
    model = helper.make_model(graph(helper.make_node(operation, ["x"], ["y"], body=graph())))
    with pytest.raises(BundleError, match=operation):
        check_onnx(model.SerializeToString(), "model.onnx")


@pytest.mark.parametrize(
    "damaged",
    [
        b"\x3a",
        b"\x3a\xff\xff\xff\xff\x0f",
        b"\x80" * 20,
        b"\x3a\x02\x0a\x7f",
        b"\x0b\x0c",
        b"\x38\x01",
    ],
)
def test_what_is_no_protobuf_is_refused(damaged: bytes) -> None:
    with pytest.raises(ValueError, match="readable"):
        check_onnx(damaged, "model.onnx")


@pytest.mark.parametrize(
    "entry",
    [
        b"\x72\x02\x08\x05",  # a number as the key
        b"\x72\x03\x0a\x09k",  # a key that is longer than its entry
        b"\x72\x01\x80",  # a tag that is cut off
        b"\x70\x05",  # a number in place of an entry
    ],
)
def test_damaged_metadata_are_refused(entry: bytes) -> None:
    damaged = as_initializer(tensor()).SerializeToString() + entry
    with pytest.raises(ValueError, match=r"model\.onnx has damaged metadata"):
        read_metadata(damaged, "model.onnx")


def test_deep_nesting_is_refused_without_deep_recursion() -> None:
    made = graph()
    for _ in range(12):
        made = graph(helper.make_node("Thing", [], ["y"], body=made))
    with pytest.raises(ValueError, match="readable"):
        check_onnx(helper.make_model(made).SerializeToString(), "model.onnx")


def test_many_small_fields_are_refused() -> None:
    with pytest.raises(ValueError, match="readable"):
        check_onnx(b"\x08\x00" * 4_200_000, "model.onnx")


def test_the_shipped_models_pass() -> None:
    models = list(DEFAULT_BUNDLE.rglob("*.onnx"))
    assert models
    for path in models:
        check_onnx(path.read_bytes(), path.name)
