"""The exported graph is standard ONNX and the same each time."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import torch
from torch import Tensor

from fer_edge.converters.onnx_graph.export import export_onnx
from fer_edge.model_files.model_check import CONTRACT
from fer_edge.model_files.onnx_check import read_metadata
from fer_edge.telemetry import import_without_telemetry
from fer_edge.training.checkpoint import load_checkpoint
from fer_edge.training.deploy import DeployModule
from fer_edge.training.models.network import ModelSpec


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


class Writing(torch.nn.Module):
    """Network that writes into a view, into a slice and into the output of a layer."""

    embedding_dim = 7

    def __init__(self, spec: ModelSpec) -> None:
        super().__init__()
        self.spec = spec
        torch.manual_seed(0)
        self.layer = torch.nn.Conv2d(1, 7, 9, stride=9)
        self.act = torch.nn.ReLU6(inplace=True)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        y = self.layer(x)
        z = self.act(self.layer(-x))
        y[:, :3].add_(1)
        y[:, :, 2:] = 0.5
        again = self.layer(2 * x)
        self.act(again)  # read after it was written
        embedding = (y + z + again).mean((2, 3))
        return embedding, embedding


def test_what_a_network_writes_into_its_tensors_is_in_the_graph(checkpoint: Path) -> None:
    source = load_checkpoint(checkpoint)
    network = replace(source, model=Writing(source.spec).eval())
    faces = np.random.default_rng(0).integers(0, 256, (3, 48, 48, 3), np.uint8)
    session = import_without_telemetry("onnxruntime").InferenceSession(export_onnx(network))
    for found, wanted in zip(
        session.run(None, {"images": faces}), DeployModule(network).run(faces), strict=True
    ):
        np.testing.assert_allclose(found, wanted, atol=1e-5)


def test_the_graph_records_labels_and_contract(checkpoint: Path, graph: bytes) -> None:
    source = load_checkpoint(checkpoint)
    contract = json.loads(read_metadata(graph, "graph")[CONTRACT])
    assert contract["labels"] == list(source.spec.labels)
    assert contract["temperature"] == source.temperature
    assert (contract["size_px"], contract["embedding_dim"]) == (48, source.model.embedding_dim)
