"""Quantisation of a checkpoint from faces to a checkpoint with int8 weights."""

from __future__ import annotations

import copy
import time
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from fer_edge.errors import CheckpointError, DataError, InputError
from fer_edge.out_folder import check_out_folder
from fer_edge.progress import Say, Step, silent
from fer_edge.training.checkpoint import CARD, Checkpoint, load_checkpoint, save_checkpoint
from fer_edge.training.data.faces import stratified
from fer_edge.training.data.holdout import Holdout, split_data
from fer_edge.training.int8_weights import Int8Weights
from fer_edge.training.loop.dataset import FaceDataset, fastest_device
from fer_edge.training.loop.resume import save_tensors
from fer_edge.training.models.network import ExpressionNet, Normalise
from fer_edge.training.models.quantized import QuantizedNet
from fer_edge.training.quantization.agreement import Agreement, agreement, float_answers
from fer_edge.training.quantization.distil import Distillation, Distiller
from fer_edge.training.quantization.exact import ExactScales
from fer_edge.training.quantization.ranges import measure_scales
from fer_edge.training.quantization.reconstruct import reconstruct

RANGE_FACES = 256
"""Number of faces that the ranges of the activations are measured on."""
RECONSTRUCTION_FACES, _RECONSTRUCTION_SIDE = 512, 128
"""Number of faces for reconstructing weights, and the largest side in px for it. Networks with a
larger input take fewer, for the memory of their activations."""
_HOLD_OUT, _MOST_HELD_OUT = Holdout(0.1, 0), 2000
"""Share (0..1) and seed of the faces that select the epoch, and their largest number."""
_LEAST_FACES = 100
_BATCH = 64


def quantize(
    checkpoint: str | Path,
    data: str | Path,
    out: str | Path,
    settings: Distillation | None = None,
    *,
    resume: bool = False,
    say: Say = print,
    step: Step = silent,
) -> Checkpoint:
    """Quantise a checkpoint and write a copy of it with int8 weights.

    The labels of the faces are not used to learn: the float network is the teacher. The epoch with
    the most decisions of the float network on held-out faces is kept. The network reconstructed
    layer by layer, without training, is epoch 0.

    Args:
        checkpoint: Checkpoint to quantise.
        data: Faces of the kind that the network was trained on, with a ``train`` part or without
            parts. Duplicates of faces in the ``val`` part are dropped.
        out: Folder of the new checkpoint. The state to resume from lies beside it.
        settings: Settings of the distillation; 0 epochs reconstruct the layers alone.
        resume: Continue a killed run after its last complete epoch. It ends with the same weights
            as an unbroken run.
        say: Receives each sentence of progress.
        step: Receives progress.

    Returns:
        The checkpoint that was written.

    Raises:
        CheckpointError: The checkpoint cannot be read, or its values are too large for int8.
        DataError: The faces cannot be read, or are too few.
        InputError: The folder cannot be written, or the state to resume from cannot be read or is
            of another run.
    """
    settings = Distillation() if settings is None else settings
    started = time.monotonic()
    out = Path(out)
    check_out_folder(out, CARD, "checkpoint")
    source, network = _float_checkpoint(checkpoint, out)
    learn, held_out, fingerprint = _faces(source, data, say, step)
    net, device = QuantizedNet(network), fastest_device()
    distiller = Distiller(net, network, learn, settings, device)
    run = _Run(out, source, settings, fingerprint, started)
    done = run.load(distiller) if resume else None
    expected = float_answers(source, held_out)

    def judge(epoch: int, note: str, candidate: QuantizedNet = net) -> None:
        kept = agreement(candidate, source, held_out, expected, device)
        if run.note(candidate, kept):
            note += "  best"
        say(f"epoch {epoch}/{settings.epochs}  {kept}{note}")

    try:
        if done is None:
            reconstructed = _reconstructed(net, source, learn, settings, device, step)
            judge(0, "  (without training)", reconstructed)
            run.save(distiller, 0)
            done = 0
        for number in range(done, settings.epochs):
            began = time.monotonic()
            loss = distiller.epoch(number, step)
            judge(number + 1, f"  loss {loss:.4f}  {time.monotonic() - began:.0f} s")
            run.save(distiller, number + 1)
        return run.finish(net)
    except OSError as error:
        raise InputError(
            f"cannot write beside {out}: {error.strerror or error}. Free space and continue with "
            "--resume"
        ) from error


def _float_checkpoint(checkpoint: str | Path, out: Path) -> tuple[Checkpoint, ExpressionNet]:
    """Read checkpoint and network, and make the folder around ``out`` before minutes of work."""
    source = load_checkpoint(checkpoint)
    network = source.model
    if not isinstance(network, ExpressionNet):
        raise CheckpointError(
            f"expected a float checkpoint at {checkpoint}. Name the one that it was made from"
        )
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(
            f"cannot write {out}: {error.strerror or error}. Choose another folder with -o"
        ) from error
    return source, network


def _faces(
    source: Checkpoint, data: str | Path, say: Say, step: Step
) -> tuple[FaceDataset, FaceDataset, str]:
    """Return faces to learn from and to select the epoch, and a fingerprint."""
    split = split_data(
        data, source.spec.labels, Holdout.stated(source.facts) or _HOLD_OUT, step, say
    )
    if len(split.train) < _LEAST_FACES:
        raise DataError(
            f"expected at least {_LEAST_FACES} faces to quantise with, got {len(split.train)}. "
            "Give more with --data"
        )
    apart = -(-len(split.held_out) // _MOST_HELD_OUT)
    learn = FaceDataset(split.train, None, source.spec.input)
    held_out = FaceDataset(split.held_out[::apart], None, source.spec.input)
    say(f"{len(learn):,} faces to learn from, {len(held_out):,} held out")
    return learn, held_out, split.fingerprint


def _reconstructed(
    net: QuantizedNet,
    source: Checkpoint,
    learn: FaceDataset,
    settings: Distillation,
    device: torch.device,
    step: Step,
) -> QuantizedNet:
    """Set the scales of ``net``, and return a copy fitted layer by layer."""
    measure_scales(net, _batches(learn, RANGE_FACES, settings.seed, device), step)
    exact = ExactScales(net)
    exact.set_weights()
    # Distillation starts from the float weights: its own scales follow them.
    reconstructed = copy.deepcopy(net)
    exact.set_biases()
    few = _batches(learn, _reconstruction_faces(source), settings.seed, device)
    reconstruct(reconstructed, torch.cat(few), step)
    return reconstructed


class _Run:
    """Best weights so far, and the state file."""

    def __init__(
        self, out: Path, source: Checkpoint, settings: Distillation, faces: str, started: float
    ) -> None:
        self._out, self._source, self._started = out, source, started
        self._about = {"checkpoint": source.network_sha256, "faces": faces, **asdict(settings)}
        self._settings = settings
        self._path = out.with_name(f"{out.name}.state.pt")
        self._best: dict[str, Tensor] | None = None
        self._agreement: Agreement | None = None

    def note(self, net: QuantizedNet, counts: Agreement) -> bool:
        """Keep the weights if they agree most; return True if they do."""
        if self._agreement is not None and counts.all <= self._agreement.all:
            return False
        self._agreement = counts
        self._best = copy.deepcopy(net.state_dict())
        return True

    def save(self, distiller: Distiller, epoch: int) -> None:
        assert self._agreement is not None
        state = {
            "about": self._about,
            "epoch": epoch,
            "seconds": time.monotonic() - self._started,
            "best": self._best,
            "agreement": asdict(self._agreement),
            "distiller": distiller.state(),
        }
        save_tensors(self._path, state)

    def load(self, distiller: Distiller) -> int | None:
        """Go on from the state file; return the number of complete epochs, None without a file."""
        if not self._path.exists():
            return None
        try:
            state: dict[str, Any] = torch.load(self._path, map_location="cpu", weights_only=True)
            about = state["about"]
        except Exception as error:  # whatever a damaged archive makes torch raise
            raise self._damaged(error) from error
        if about != self._about:
            raise InputError(
                f"{self._path} was started with another checkpoint, other faces or other settings. "
                "Resume with those, or leave --resume out"
            )
        try:
            distiller.load(state["distiller"])
            self._started -= float(state["seconds"])
            self._best, self._agreement = state["best"], Agreement(**state["agreement"])
            return int(state["epoch"])
        except Exception as error:  # each part raises its own errors
            raise self._damaged(error) from error

    def _damaged(self, error: Exception) -> InputError:
        return InputError(f"cannot read {self._path}: {error}. Remove it, or leave --resume out")

    def finish(self, net: QuantizedNet) -> Checkpoint:
        """Write the checkpoint and remove the state file."""
        assert self._best is not None
        assert self._agreement is not None
        net.cpu().load_state_dict(self._best)
        facts = {
            "method": {
                "distillation": asdict(self._settings),
                "range_faces": RANGE_FACES,
                "reconstruction_faces": _reconstruction_faces(self._source),
            },
            "held_out": self._agreement.record(),
            "minutes": round((time.monotonic() - self._started) / 60, 1),
        }
        made = replace(self._source, int8=Int8Weights.of(net, facts))
        save_checkpoint(made, self._out)
        written = load_checkpoint(self._out)
        self._path.unlink(missing_ok=True)
        return written


def _reconstruction_faces(source: Checkpoint) -> int:
    """Return the number of faces that weights are reconstructed on."""
    smaller = min(_RECONSTRUCTION_SIDE / source.spec.input.size_px, 1)
    return int(RECONSTRUCTION_FACES * smaller**2)


def _batches(faces: FaceDataset, count: int, seed: int, device: torch.device) -> list[Tensor]:
    """Return normalised faces of all classes alike, for the ranges."""
    chosen = FaceDataset(stratified(faces.faces, count, seed), None, faces.spec)
    pixels = torch.stack([chosen[index][0] for index in range(len(chosen))])
    return list(Normalise(faces.spec)(pixels.float()).to(device).split(_BATCH))
