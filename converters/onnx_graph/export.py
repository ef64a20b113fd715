"""Export of a checkpoint's deploy graph to ONNX with a dynamic batch."""

from __future__ import annotations

import hashlib
import json
import logging
import warnings

import numpy as np
import onnx
import onnxscript.optimizer
import torch
from onnx import TensorProto, helper, numpy_helper
from torch.fx import GraphModule, Node

from fer_edge.converters.onnx_graph.int8_of_checkpoint import (
    store_weights_as_int8,
    translations,
)
from fer_edge.errors import ConversionError
from fer_edge.model_files.model_check import CONTRACT, contract_of
from fer_edge.training.checkpoint import Checkpoint
from fer_edge.training.deploy import DeployModule

INPUT, PROBABILITIES, EMBEDDING = "images", "probabilities", "embedding"
OPSET = 18
_LAYERS = frozenset({"add", "batch_norm", "conv2d", "linear"})
"""Operations whose output is a tensor of its own, and which an activation follows."""


def export_onnx(checkpoint: Checkpoint) -> bytes:
    """Export a checkpoint to ONNX.

    Args:
        checkpoint: Checkpoint to export.

    Returns:
        ONNX: ``images`` uint8 ``[N, S, S, 3]`` BGR to ``probabilities`` float32 ``[N, C]`` and
        ``embedding`` float32 ``[N, D]``; the same bytes for the same checkpoint. A quantised
        network becomes Q/DQ pairs with the checkpoint's own scales.

    Raises:
        ConversionError: torch cannot export the network.
    """
    module = DeployModule(checkpoint)
    size = checkpoint.spec.input.size_px
    example = torch.zeros(2, size, size, 3, dtype=torch.uint8)
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            batch = {"images": {0: torch.export.Dim("batch", min=1)}}
            traced = torch.export.export(module, (example,), dynamic_shapes=batch)
            _write_no_input(traced.graph_module)
            program = torch.onnx.export(
                traced,
                dynamo=True,
                dynamic_shapes=batch,
                input_names=[INPUT],
                output_names=[PROBABILITIES, EMBEDDING],
                opset_version=OPSET,
                optimize=False,  # its rewriting folds batch norm and so changes the weights
                verbose=False,
                custom_translation_table=translations(),
            )
            assert program is not None
            model = program.model_proto
            onnxscript.optimizer.inline(model)
            onnxscript.optimizer.fold_constants(model)
            onnxscript.optimizer.remove_unused_nodes(model)
    except Exception as error:  # the exporter raises many kinds, none of them ours
        raise ConversionError(
            f"torch could not export {checkpoint.spec.backbone}: {error}"
        ) from error
    store_weights_as_int8(model)
    _strip(model)
    _record_contract(model, checkpoint)
    _store_weights_in_half(model)
    onnx.checker.check_model(model, full_check=True)
    data: bytes = model.SerializeToString()
    return data


def graph_path(graph: bytes) -> str:
    """Return the exported graph's path in a bundle.

    Every variant that runs the graph unchanged shares it.

    The folder is named by the content, so a later variant never changes an earlier one's file.
    """
    return f"graph-{hashlib.sha256(graph).hexdigest()[:12]}/model.onnx"


def _write_no_input(module: GraphModule) -> None:
    """Let activations that write into the output of a layer, as ``hardtanh_``, return new tensors.

    The exporter rewrites ``hardtanh_`` into comparisons of symbolic shapes and keeps ``hardtanh``:
    it exports a MobileNetV2 in three quarters of the time. A tensor that is read elsewhere, or that
    may be a view of another, is written as before.
    """
    for node in module.graph.nodes:
        layer = node.args[0] if node.op == "call_function" and node.args else None
        if not isinstance(layer, Node) or len(layer.users) > 1:
            continue
        if _operation(layer)[0] in _LAYERS:
            name, overload = _operation(node)
            if name.endswith("_"):
                node.target = getattr(getattr(torch.ops.aten, name[:-1]), overload)
    module.recompile()


def _operation(node: Node) -> tuple[str, str]:
    """Return the name of a node's operation and its overload, as ``("conv2d", "default")``."""
    name, _, overload = str(node.target).removeprefix("aten.").partition(".")
    return name, overload


def _strip(model: onnx.ModelProto) -> None:
    """Remove metadata: the exporter stores stack traces with paths of this machine."""
    del model.metadata_props[:]
    model.doc_string = model.graph.doc_string = ""
    del model.graph.metadata_props[:]
    for item in [*model.graph.node, *model.graph.value_info, *model.graph.initializer]:
        item.doc_string = ""
        del item.metadata_props[:]


def _record_contract(model: onnx.ModelProto, checkpoint: Checkpoint) -> None:
    """Write labels, temperature and shapes into the metadata; a bundle must say the same."""
    spec = checkpoint.spec
    contract = contract_of(
        spec.labels,
        checkpoint.temperature,
        spec.input.size_px,
        checkpoint.model.embedding_dim,
    )
    model.metadata_props.add(key=CONTRACT, value=json.dumps(contract, sort_keys=True))


def _store_weights_in_half(model: onnx.ModelProto) -> None:
    """Store weight matrices in fp16, with a Cast to float32 that every engine folds.

    A checkpoint's weight matrices are half-precision numbers: the file halves, the arithmetic stays
    the same.
    """
    casts = []
    for weight in model.graph.initializer:
        values = numpy_helper.to_array(weight)
        if weight.data_type != TensorProto.FLOAT or values.ndim < 2:
            continue
        half = values.astype(np.float16)
        if not np.array_equal(half.astype(np.float32), values):
            continue
        name = weight.name
        weight.CopyFrom(numpy_helper.from_array(half, f"{name}.half"))
        casts.append(helper.make_node("Cast", [f"{name}.half"], [name], f"{name}.cast", to=1))
    rest = list(model.graph.node)
    del model.graph.node[:]
    model.graph.node.extend([*casts, *rest])
