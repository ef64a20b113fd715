"""The exported graph is standard ONNX and the same each time."""

from __future__ import annotations

import json
from pathlib import Path

import onnx

from fer_edge.converters.onnx_graph.export import export_onnx
from fer_edge.model_files.model_check import CONTRACT
from fer_edge.model_files.onnx_check import read_metadata
from fer_edge.training.checkpoint import load_checkpoint


def test_the_exported_graph_is_standard_onnx_with_a_dynamic_batch(graph: bytes) -> None:
    proto = onnx.load_from_string(graph)
    onnx.checker.check_model(proto, full_check=True)
    assert [o.domain for o in proto.opset_import] == [""]
    assert [i.name for i in proto.graph.input] == ["images"]
    assert [o.name for o in proto.graph.output] == ["probabilities", "embedding"]
    for value in (*proto.graph.input, *proto.graph.output):
        assert value.type.tensor_type.shape.dim[0].dim_param
    assert [prop.key for prop in proto.metadata_props] == [CONTRACT]
    for item in (*proto.graph.node, *proto.graph.value_info, *proto.graph.initializer):
        assert not item.doc_string
        assert not item.metadata_props


def test_exporting_twice_gives_the_same_bytes(checkpoint: Path, graph: bytes) -> None:
    """Variants that were converted on different days then share one file."""
    assert export_onnx(load_checkpoint(checkpoint)) == graph


def test_the_graph_records_labels_and_contract(checkpoint: Path, graph: bytes) -> None:
    source = load_checkpoint(checkpoint)
    contract = json.loads(read_metadata(graph, "graph")[CONTRACT])
    assert contract["labels"] == list(source.spec.labels)
    assert contract["temperature"] == source.temperature
    assert (contract["size_px"], contract["embedding_dim"]) == (48, source.model.embedding_dim)
