"""Conversion to .tflite, run by the Python of the conversion environment.

``python -I in_environment.py FOLDER PARENT`` reads ``job.json`` in the folder, and
``program.pt2`` or the ``plain.tflite`` that it was converted to before. An int8 that is calibrated
needs ``faces.npy``. It writes ``model.tflite``, ``plain.tflite`` and ``answer.json``. PARENT is the
process id of the program that it ends with. It imports nothing of fer_edge, which that environment
does not have.
"""

from __future__ import annotations

import ctypes
import json
import os
import shutil
import signal
import sys
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

_HALF = b"fp16accfp16"
"""Value of LiteRT's metadata ``reduced_precision_support`` that lets XNNPACK compute in fp16."""
_OUTPUTS = ("probabilities", "embedding")
_PARENT_DEATH_SIGNAL = 1
"""Number of the option PR_SET_PDEATHSIG of prctl (Linux)."""
_SAME = 1e-3
"""Largest difference of probabilities between a face alone and in a batch."""
_SAME_EMBEDDING = 0.02
"""Largest difference of embeddings, as a share of the largest number: some steps of int8."""


def main(folder: Path) -> None:
    """Convert what is in the folder."""
    job = json.loads((folder / "job.json").read_bytes())
    plain, made = folder / "plain.tflite", folder / "made.tflite"
    if not plain.exists():
        _convert(folder / "program.pt2", plain, job)
    shutil.copyfile(plain, made)
    if job["precision"] == "fp16":
        _quantised(made, None, [_in_half()])
    elif job["precision"] == "int8" and not job["own_scales"]:
        _quantised(made, np.load(folder / "faces.npy"), _in_bytes(job["recipe"]))
    model = _finished(made.read_bytes(), job)
    (folder / "model.tflite").write_bytes(model)
    answer = {
        "resizable": _resizable(model, job["size_px"]),
        "tools": {
            name: version(name)
            for name in ("litert-torch", "litert-converter", "litert-quantizer", "torch")
        },
    }
    (folder / "answer.json").write_text(json.dumps(answer))


def _convert(program: Path, out: Path, job: dict[str, Any]) -> None:
    import litert_torch
    import torch
    import torch.ao.quantization.fx._decomposed  # registers the operations of own scales
    from litert_torch.quantize import pt2e_quantizer, quant_config

    # The graph has its rounding already. This only says that its operations become int8.
    static = pt2e_quantizer.get_symmetric_quantization_config(is_per_channel=True)
    how = quant_config.QuantConfig(pt2e_quantizer=pt2e_quantizer.PT2EQuantizer().set_global(static))
    example = torch.zeros(1, job["size_px"], job["size_px"], 3, dtype=torch.uint8)
    converted = litert_torch.convert(
        torch.export.load(program).module(check_guards=False),
        (),
        {job["input"]: example},
        quant_config=how if job["own_scales"] else None,
    )
    converted.export(str(out))


def _in_half() -> dict[str, Any]:
    weights = {"num_bits": 16, "symmetric": True, "granularity": "TENSORWISE", "dtype": "FLOAT"}
    return _rule(
        "*",
        "float_casting",
        {
            "weight_tensor_config": weights,
            "compute_precision": "FLOAT",
            "explicit_dequantize": True,
        },
    )


def _in_bytes(recipe: dict[str, Any]) -> list[dict[str, Any]]:
    from litert_quantizer import recipe as recipes
    from litert_quantizer.algorithm_manager import AlgorithmName

    octav = recipe.get("weights") == "octav"
    names = AlgorithmName.OCTAV if octav else AlgorithmName.MIN_MAX_UNIFORM_QUANT
    if recipe.get("ranges") == "dynamic":
        return list(recipes.dynamic_wi8_afp32())
    in_float = ["OUTPUT", "SOFTMAX"]
    if recipe.get("keep_float") == "depthwise":
        in_float.append("DEPTHWISE_CONV_2D")
    return [
        *recipes.static_wi8_ai8(names),
        *(_rule(operation, "no_quantize", {}) for operation in in_float),
    ]


def _rule(operation: str, algorithm: str, config: dict[str, Any]) -> dict[str, Any]:
    return {
        "regex": ".*",
        "operation": operation,
        "algorithm_key": algorithm,
        "op_config": config,
    }


def _quantised(
    model: Path, faces: npt.NDArray[np.uint8] | None, rules: list[dict[str, Any]]
) -> None:
    """Quantise a model in place."""
    from ai_edge_litert.interpreter import Interpreter
    from litert_quantizer import quantizer

    (signature,) = Interpreter(model_path=str(model)).get_signature_list().items()
    name, (tensor,) = signature[0], signature[1]["inputs"]
    work = quantizer.Quantizer(str(model), rules)
    ranges = None
    if faces is not None and work.need_calibration:
        ranges = work.calibrate({name: [{tensor: face[None]} for face in faces]})
    work.quantize(ranges).export_model(model, overwrite=True)


def _finished(data: bytes, job: dict[str, Any]) -> bytes:
    """Return the model with a batch of any size, our names and our metadata."""
    import flatbuffers
    from ai_edge_litert import schema_py_generated as schema

    model = schema.ModelT.InitFromObj(schema.Model.GetRootAs(data, 0))
    for buffer in model.buffers:
        if buffer.offset > 1:  # the quantiser appends weights to the flatbuffer
            content = data[buffer.offset : buffer.offset + buffer.size]
            buffer.data, buffer.offset, buffer.size = np.frombuffer(content, np.uint8), 0, 0
    (graph,) = model.subgraphs
    _read_bytes_by_xnnpack(model, graph, schema)
    _free_batch(model, graph, schema)
    (signature,) = model.signatureDefs
    for output in signature.outputs:
        place = [int(i) for i in graph.outputs].index(int(output.tensorIndex))
        output.name = _OUTPUTS[place].encode()
    ends = {int(i) for i in (*graph.inputs, *graph.outputs)}
    for place, tensor in enumerate(graph.tensors):
        if place not in ends:  # long names of operations that were fused, a tenth of a small file
            tensor.name = b""
    model.description = b"fer_edge"
    notes = {b"fer_edge": json.dumps(job["contract"], sort_keys=True).encode()}
    if job["precision"] == "fp16":
        notes[b"reduced_precision_support"] = _HALF
    for name, content in notes.items():
        buffer = schema.BufferT()
        buffer.data = np.frombuffer(content, np.uint8)
        entry = schema.MetadataT()
        entry.name, entry.buffer = name, len(model.buffers)
        model.buffers.append(buffer)
        model.metadata = [*(model.metadata or []), entry]
    builder = flatbuffers.Builder(len(data))
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())


def _read_bytes_by_xnnpack(model: Any, graph: Any, schema: Any) -> None:
    """Replace the cast of the pictures to float by a DEQUANTIZE of step 1.

    XNNPACK lacks the cast. Both give the same numbers.
    """
    (picture,) = graph.inputs
    for operator in graph.operators:
        code = model.operatorCodes[operator.opcodeIndex].builtinCode
        if code == schema.BuiltinOperator.CAST and operator.inputs[0] == picture:
            dequantize = schema.OperatorCodeT()
            dequantize.builtinCode = schema.BuiltinOperator.DEQUANTIZE
            dequantize.deprecatedBuiltinCode = schema.BuiltinOperator.DEQUANTIZE
            dequantize.version = 2
            operator.opcodeIndex = len(model.operatorCodes)
            model.operatorCodes.append(dequantize)
            operator.builtinOptionsType = schema.BuiltinOptions.DequantizeOptions
            operator.builtinOptions = schema.DequantizeOptionsT()
            step = schema.QuantizationParametersT()
            step.scale, step.zeroPoint = [1.0], [0]
            graph.tensors[picture].quantization = step


def _free_batch(model: Any, graph: Any, schema: Any) -> None:
    """Leave the first side of constant shapes open for any batch size."""
    for end in (*graph.inputs, *graph.outputs):
        graph.tensors[end].shapeSignature = [-1, *list(graph.tensors[end].shape)[1:]]
    opened: dict[int, Callable[[Any], bool]] = {
        schema.BuiltinOperator.RESHAPE: lambda shape: -1 not in shape,
        schema.BuiltinOperator.BROADCAST_TO: lambda shape: False,
    }
    done: set[int] = set()
    for operator in graph.operators:
        code = model.operatorCodes[operator.opcodeIndex].builtinCode
        if code not in opened or len(operator.inputs) < 2:
            continue
        tensor = graph.tensors[operator.inputs[1]]
        buffer = model.buffers[tensor.buffer]
        if buffer.data is None or tensor.buffer in done:
            continue
        shape = np.frombuffer(bytes(buffer.data), np.int32).copy()
        if len(shape) and opened[code](shape):
            shape[0] = -1
            buffer.data = np.frombuffer(shape.tobytes(), np.uint8)
            done.add(tensor.buffer)
            if operator.builtinOptions is not None:
                operator.builtinOptions.newShape = shape


def _resizable(model: bytes, size_px: int) -> bool:
    """Report whether a batch gives each face the answers that it has alone."""
    from ai_edge_litert.interpreter import Interpreter

    faces = np.random.default_rng(0).integers(0, 256, (3, size_px, size_px, 3), np.uint8)
    engine = Interpreter(model_content=model)
    engine.allocate_tensors()

    def outputs(batch: npt.NDArray[np.uint8]) -> list[npt.NDArray[np.float32]]:
        place = engine.get_input_details()[0]["index"]
        engine.resize_tensor_input(place, batch.shape)
        engine.allocate_tensors()
        engine.set_tensor(place, batch)
        engine.invoke()
        return [np.array(engine.get_tensor(each["index"])) for each in engine.get_output_details()]

    single = [outputs(faces[i : i + 1]) for i in range(len(faces))]
    alone = [np.concatenate(parts) for parts in zip(*single, strict=True)]
    try:
        together = outputs(faces)
    except (RuntimeError, ValueError):
        return False
    if [output.shape for output in alone] != [output.shape for output in together]:
        return False
    changes = [float(np.abs(a - b).max()) for a, b in zip(alone, together, strict=True)]
    return changes[0] <= _SAME and changes[1] <= _SAME_EMBEDDING * float(np.abs(alone[1]).max())


def _end_with_parent(parent: int) -> None:
    """Do as fer_edge.child does, which this environment lacks."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PARENT_DEATH_SIGNAL, signal.SIGKILL, 0, 0, 0)
        if os.getppid() != parent:  # it ended before the kernel was asked
            os._exit(1)


if __name__ == "__main__":
    _end_with_parent(int(sys.argv[2]))
    os.environ["CUDA_VISIBLE_DEVICES"] = ""
    main(Path(sys.argv[1]))
