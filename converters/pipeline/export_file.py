"""Export of the deploy graph to one file: TorchScript, torch.export or ONNX."""

from __future__ import annotations

import contextlib
import io
import warnings
import zipfile
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from fer_edge.atomic import check_place, write_file
from fer_edge.backends.base import Batch, Options, Outputs, Session
from fer_edge.backends.onnxruntime import OnnxRuntimeSession
from fer_edge.converters.onnx_graph.export import export_onnx
from fer_edge.converters.pipeline.face_samples import parity_faces
from fer_edge.converters.pipeline.gate import ParityLimits, fp32_failures
from fer_edge.converters.pipeline.parity import compare, prove_batches, run_all
from fer_edge.errors import ConversionError, EngineError, InputError, ParityError
from fer_edge.preprocess import CropRule
from fer_edge.progress import Step, silent
from fer_edge.shown import shown
from fer_edge.training.checkpoint import Checkpoint, load_checkpoint
from fer_edge.training.deploy import DeployModule, check_answers

_FACES = 336
"""Number of shipped faces that verify a file."""
_STAGES = 4
"""Number of stages before faces are compared."""


def export_file(
    checkpoint: str | Path,
    form: str,
    out: str | Path,
    data: str | Path | None = None,
    step: Step = silent,
) -> dict[str, Any]:
    """Write a checkpoint's deploy graph to one file and verify it.

    The graph takes uint8 ``[N, S, S, 3]`` BGR and returns probabilities float32 ``[N, C]`` and
    embeddings float32 ``[N, D]``, with a dynamic batch. The bytes are loaded again and must pass
    the limits of fp32, at several batch sizes, before the file is written. They hold no path and
    no stack trace of this machine.

    Args:
        checkpoint: Checkpoint folder.
        form: ``torchscript``, ``torch-export`` or ``onnx``.
        out: File to write.
        data: Labelled faces whose ``val`` part verifies; None takes the composite faces that ship
            with the package.
        step: Receives progress: the stages, then the compared faces.

    Returns:
        Facts about the file (``file``, ``bytes``, ``format``, ``labels``) and the figures of its
        parity.

    Raises:
        CheckpointError: The checkpoint cannot be read, or its answers are not numbers.
        DataError: The faces cannot be read, or are too few.
        InputError: The form is unknown, or the file cannot be written.
        ConversionError: torch cannot export the network.
        ParityError: The file's answers differ from the checkpoint's.
    """
    if form not in FORMS:
        raise InputError(f"expected the form as {', '.join(FORMS)}, got {shown(form)}")
    write, load = FORMS[form]
    try:
        check_place(Path(out))
    except OSError as error:
        raise _unwritable(out, error) from error
    step("loading the checkpoint", 0, _STAGES)
    source = load_checkpoint(checkpoint)
    labels, size_px = source.spec.labels, source.spec.input.size_px
    # fp32 is judged by probabilities, so without data a few faces suffice.
    most = _FACES if data is None else None
    gate = parity_faces(None if data is None else Path(data), labels, CropRule(size_px), most)
    step("running the checkpoint", 1, _STAGES)
    reference = DeployModule(source).run(gate.images)
    check_answers(reference[0])
    with contextlib.ExitStack() as stack:
        try:
            step("exporting", 2, _STAGES)
            content = write(source)
            step("loading the file", 3, _STAGES)
            session = stack.enter_context(contextlib.closing(load(content)))
            outputs = run_all(_Counted(session, len(gate.images), step), gate.images)
        except ConversionError:
            raise
        except Exception as error:  # torch's exporters raise many kinds, none of them ours
            raise ConversionError(
                f"{source.spec.backbone} cannot be exported as {form}: {error}"
            ) from error
        figures = compare(reference, outputs, gate.truth, labels)
        if broken := fp32_failures(figures, ParityLimits()):
            raise ParityError(f"the {form} file differs from its checkpoint: {broken[0]}")
        proven = prove_batches(session, gate.images, outputs)
    try:
        write_file(Path(out), content)
    except OSError as error:
        raise _unwritable(out, error) from error
    facts = {"file": str(out), "bytes": len(content), "format": form, "labels": list(labels)}
    return {**facts, "faces": asdict(gate.record), "batch_sizes": proven, **asdict(figures)}


def _unwritable(out: str | Path, error: OSError) -> InputError:
    return InputError(f"cannot write {out}: {error.strerror}. Choose another file with -o")


@dataclass
class _Counted:
    """Session that reports each call; see backends.base."""

    session: Session
    total: int
    step: Step
    done: int = 0

    def run(self, batch: Batch) -> Outputs:
        outputs = self.session.run(batch)
        self.done += 1
        self.step("comparing faces", self.done, self.total)
        return outputs

    def close(self) -> None:
        """Close the session."""
        self.session.close()


@dataclass(frozen=True)
class _TorchSession:
    """Session of a torch module; see backends.base."""

    module: Callable[[torch.Tensor], tuple[torch.Tensor, torch.Tensor]]

    def run(self, batch: Batch) -> Outputs:
        try:
            with torch.inference_mode():
                probabilities, embedding = self.module(torch.from_numpy(batch))
        except Exception as error:  # a static batch raises several kinds
            raise EngineError(f"torch failed on a batch {batch.shape}: {error}") from error
        if len(probabilities) != len(batch):
            raise EngineError(f"{len(batch)} faces got {len(probabilities)} answers")
        return probabilities.numpy(), embedding.numpy()

    def close(self) -> None:
        """Do nothing: torch frees the module with its last reference."""


def _example(checkpoint: Checkpoint) -> tuple[nn.Module, torch.Tensor]:
    size = checkpoint.spec.input.size_px
    return DeployModule(checkpoint), torch.zeros(2, size, size, 3, dtype=torch.uint8)


def _torchscript(checkpoint: Checkpoint) -> bytes:
    module, example = _example(checkpoint)
    out = io.BytesIO()
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")  # TorchScript is deprecated; the command's help says so
        torch.jit.save(torch.jit.trace(module, example), out)  # type: ignore[no-untyped-call]
    return _without_paths(out)


def _without_paths(archive: io.BytesIO) -> bytes:
    """Remove the files in which torch keeps traced source lines and their paths."""
    out = io.BytesIO()
    with zipfile.ZipFile(archive) as old, zipfile.ZipFile(out, "w") as new:
        for entry in old.infolist():
            if not entry.filename.endswith(".debug_pkl"):
                new.writestr(entry, old.read(entry))
    return out.getvalue()


def _load_torchscript(content: bytes) -> Session:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        module = torch.jit.load(io.BytesIO(content))  # type: ignore[no-untyped-call]
    return _TorchSession(module)


def _torch_export(checkpoint: Checkpoint) -> bytes:
    module, example = _example(checkpoint)
    batch = {"images": {0: torch.export.Dim("batch", min=1)}}
    program = torch.export.export(module, (example,), dynamic_shapes=batch)
    for graph in (m.graph for m in program.graph_module.modules() if hasattr(m, "graph")):
        for node in graph.nodes:
            node.meta.pop("stack_trace", None)
    out = io.BytesIO()
    torch.export.save(program, out)
    return out.getvalue()


def _load_torch_export(content: bytes) -> Session:
    return _TorchSession(torch.export.load(io.BytesIO(content)).module())


def _load_onnx(content: bytes) -> Session:
    return OnnxRuntimeSession(content, Options(threads=torch.get_num_threads()))


FORMS: dict[str, tuple[Callable[[Checkpoint], bytes], Callable[[bytes], Session]]] = {
    "torchscript": (_torchscript, _load_torchscript),
    "torch-export": (_torch_export, _load_torch_export),
    "onnx": (export_onnx, _load_onnx),
}
