"""Checkpoint folder: model.safetensors and card.json, without pickles."""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from safetensors import SafetensorError

from fer_edge.atomic import write_folder
from fer_edge.errors import CheckpointError, FerEdgeError, next_step
from fer_edge.familiarity import Familiarity, FamiliarityRecord, Statistics
from fer_edge.out_folder import check_out_folder
from fer_edge.plain_file import read_plain
from fer_edge.shipped import checkpoint_path
from fer_edge.shown import shown
from fer_edge.training.int8_weights import Int8Weights
from fer_edge.training.models.network import ExpressionNet, ModelSpec
from fer_edge.training.models.quantized import QuantizedNet
from fer_edge.training.models.shapes import check_shapes, header_shapes

SCHEMA = 1
WEIGHTS, CARD, INT8 = "model.safetensors", "card.json", "int8.safetensors"
FAMILIARITY = "familiarity.bin"
_MOST_CARD_BYTES = 4 << 20
"""Largest card; the shipped one has 8 KiB."""
_MOST_DEPTH = 32
"""Deepest nesting of a card; a recipe in it has 4."""


@dataclass(frozen=True)
class Checkpoint:
    """Trained network, its calibration, and facts about its training.

    Attributes:
        model: Network, in eval mode after loading.
        temperature: Divisor of the logits before the softmax (Guo et al., 2017).
        abstain_below: Lowest top probability (0..1) that is answered; lower ones are uncertain.
        facts: Recipe, data fingerprint, metrics and licences; kept in the card, never interpreted.
        sha256: SHA-256 of the weights file, or of the int8 weights with their scales; empty unless
            loaded.
        familiarity: Statistics of training faces by ``fer-edge familiarize``; or None.
        int8: Scales and weights of the int8 network that ``fer-edge quantize`` trained; or None.
    """

    model: ExpressionNet | QuantizedNet
    temperature: float = 1.0
    abstain_below: float = 0.0
    facts: dict[str, Any] = field(default_factory=dict)
    sha256: str = ""
    int8: Int8Weights | None = None
    familiarity: Familiarity | None = None

    @property
    def spec(self) -> ModelSpec:
        """Specification of the network."""
        return self.model.spec

    @property
    def network_sha256(self) -> str:
        """SHA-256 of all that changes answers: weights, thresholds and specification.

        int8 weights beside the network have a SHA-256 of their own.
        """
        temperature, abstain_below = float(self.temperature), float(self.abstain_below)
        parts = self.sha256, temperature, abstain_below, self.spec.as_dict()
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()

    def quantised(self) -> Checkpoint:
        """Return the checkpoint whose network computes in int8. It takes some seconds.

        Raises:
            CheckpointError: The checkpoint has no int8 weights, or they do not fit.
        """
        if self.int8 is None or not isinstance(self.model, ExpressionNet):
            raise CheckpointError(
                "the checkpoint has no int8 weights. Make them: "
                "fer-edge quantize CHECKPOINT --data FACES -o CHECKPOINT8"
            )
        network = self.int8.network(self.model)
        return replace(self, model=network, int8=None, sha256=self.int8.sha256)


def data_facts(facts: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return what a card or a bundle's provenance states of its data; {} for no mapping."""
    data = facts.get("data")
    return data if isinstance(data, Mapping) else {}


def save_checkpoint(checkpoint: Checkpoint, folder: str | Path) -> None:
    """Write a checkpoint folder in one step; replace an older one.

    Weight matrices are stored in half precision, biases and statistics in full. The rounding is
    part of the checkpoint: every measurement and every conversion uses the rounded weights.

    Args:
        checkpoint: Checkpoint to write.
        folder: Path of the folder.

    Raises:
        CheckpointError: A weight is not finite in half precision, or the int8 weights could not be
            read back.
        OSError: The folder cannot be written.
    """
    state = {
        name: (value.half() if value.is_floating_point() and value.ndim > 1 else value)
        .cpu()
        .contiguous()
        for name, value in checkpoint.model.state_dict().items()
    }
    if not all(torch.isfinite(value).all() for value in state.values()):
        raise CheckpointError(
            "the weights are too large for half precision: not saved. Train again with a smaller "
            "--set fit.lr=…, or import weights whose values are below 65,504"
        )
    data = safetensors.torch.save(state)
    card = {
        "schema": SCHEMA,
        "model": checkpoint.spec.as_dict(),
        "embedding_dim": checkpoint.model.embedding_dim,
        "temperature": float(checkpoint.temperature),
        "abstain_below": float(checkpoint.abstain_below),
        "weights": {"file": WEIGHTS, "sha256": hashlib.sha256(data).hexdigest()},
        **checkpoint.facts,
    }
    int8 = None if checkpoint.int8 is None else checkpoint.int8.data()
    if checkpoint.int8 is not None and int8 is not None:
        digest = hashlib.sha256(int8).hexdigest()
        card["int8"] = {"file": INT8, "sha256": digest, **checkpoint.int8.card()}

    statistics = (
        None if checkpoint.familiarity is None else checkpoint.familiarity.statistics.data()
    )
    if checkpoint.familiarity is not None:
        card["familiarity"] = asdict(checkpoint.familiarity.record)

    def fill(temporary: Path) -> None:
        (temporary / WEIGHTS).write_bytes(data)
        if statistics is not None:
            (temporary / FAMILIARITY).write_bytes(statistics)
        if int8 is not None:
            (temporary / INT8).write_bytes(int8)
        (temporary / CARD).write_text(json.dumps(card, indent=2) + "\n", "utf-8")
        if int8 is not None:
            load_checkpoint(temporary)  # only readable int8 weights take the place

    check_out_folder(Path(folder), CARD, "checkpoint")
    write_folder(Path(folder), fill)


def load_checkpoint(folder: str | Path) -> Checkpoint:
    """Load a checkpoint folder on the CPU, in eval mode.

    Args:
        folder: Path of the folder, or the name of a shipped model (``"default"``).

    Returns:
        The checkpoint.

    Raises:
        CheckpointError: A file is missing or damaged, or the weights do not fit the card.
    """
    folder = checkpoint_path(folder)
    card, data = _read(folder)
    if not isinstance(card, dict) or card.get("schema") != SCHEMA:
        raise CheckpointError(f"expected a card of schema {SCHEMA} in {folder}")
    sha256 = hashlib.sha256(data).hexdigest()
    weights = card.get("weights")
    if not isinstance(weights, dict) or weights.get("sha256") != sha256:
        raise CheckpointError(
            f"expected the SHA-256 of {folder / WEIGHTS} as in {CARD}, got {sha256}: the file was "
            "changed or damaged. Copy the checkpoint again"
        )
    for key, low, high in (("temperature", 1e-3, 1e3), ("abstain_below", 0, 1)):
        value = card.get(key)
        if (
            isinstance(value, bool)
            or not isinstance(value, int | float)
            or not low <= value <= high
        ):
            raise CheckpointError(
                f"expected {key} in {low:g}..{high:g} in {folder / CARD}, got {shown(value)}"
            )
    try:
        stored = header_shapes(data)
    except CheckpointError as error:
        raise CheckpointError(f"{folder / WEIGHTS}: {error}") from error
    try:
        spec = ModelSpec.from_dict(card.get("model", {}))
        check_shapes(spec, stored)
        model = ExpressionNet(spec).eval()
    except FerEdgeError as error:
        raise CheckpointError(f"{folder / CARD}: {error}") from error
    try:
        state = safetensors.torch.load(data)
        model.load_state_dict(state, strict=True)
    except (SafetensorError, RuntimeError, ValueError, KeyError) as error:
        raise CheckpointError(f"{folder / WEIGHTS} does not fit its card: {error}") from error
    if not all(torch.isfinite(p).all() for p in model.state_dict().values()):
        raise CheckpointError(f"{folder / WEIGHTS} holds values that are not finite")
    known = {"schema", "model", "embedding_dim", "temperature", "abstain_below", "weights"}
    known |= {"int8", "familiarity"}
    return Checkpoint(
        model=model,
        temperature=float(card["temperature"]),
        abstain_below=float(card["abstain_below"]),
        facts={k: v for k, v in card.items() if k not in known},
        sha256=sha256,
        int8=_int8(folder, card["int8"]) if "int8" in card else None,
        familiarity=_familiarity(folder, card, model) if "familiarity" in card else None,
    )


def _int8(folder: Path, section: Any) -> Int8Weights:
    try:
        data = read_plain(folder / INT8, sys.maxsize)
    except OSError as error:
        raise CheckpointError(
            f"expected the int8 weights at {folder / INT8}: {error.strerror}. "
            f"{next_step(error, 'Copy the checkpoint again')}"
        ) from error
    sha256 = hashlib.sha256(data).hexdigest()
    if not isinstance(section, dict) or section.get("sha256") != sha256:
        raise CheckpointError(
            f"expected the SHA-256 of {folder / INT8} as in {CARD}, got {sha256}: the file was "
            "changed or damaged. Copy the checkpoint again"
        )
    try:
        return Int8Weights.read(section, data)
    except CheckpointError as error:
        raise CheckpointError(f"{folder}: {error}") from error


def _familiarity(folder: Path, card: dict[str, Any], model: ExpressionNet) -> Familiarity:
    """Read the statistics of training faces. Raises CheckpointError."""
    try:
        record = FamiliarityRecord.parse(card["familiarity"], "familiarity")
        record.check(model.embedding_dim, model.spec.input.size_px)
        data = read_plain(folder / FAMILIARITY, record.file.bytes)
        if (len(data), hashlib.sha256(data).hexdigest()) != (record.file.bytes, record.file.sha256):
            raise ValueError(f"{FAMILIARITY} has another size or SHA-256 than the card says")
        statistics = Statistics.read(data, record.components, model.embedding_dim)
    except (ValueError, OSError) as error:
        raise CheckpointError(
            f"cannot read the familiarity of {folder}: {error}. "
            f"{next_step(error, 'Copy the checkpoint again')}"
        ) from error
    return Familiarity(record, statistics)


def _read(folder: Path) -> tuple[Any, bytes]:
    """Return the card as plain values, and the bytes of the weights."""
    try:
        for name in (CARD, WEIGHTS):
            if (folder / name).exists() and not (folder / name).is_file():
                raise CheckpointError(f"expected a file at {folder / name}, found something else")
        text = read_plain(folder / CARD, _MOST_CARD_BYTES)
        data = read_plain(folder / WEIGHTS, sys.maxsize)
    except OSError as error:
        raise CheckpointError(
            f"expected a checkpoint folder with {WEIGHTS} and {CARD} at {folder}: "
            f"{error.strerror}. {next_step(error, 'fer-edge train writes one, in RUN/best')}"
        ) from error
    try:
        card = json.loads(text)
        if _depth(card) > _MOST_DEPTH:
            raise ValueError("values are nested too deeply")
    except (ValueError, RecursionError) as error:
        raise CheckpointError(f"{folder / CARD} is not JSON: {error}") from error
    return card, data


def _depth(value: Any) -> int:
    """Return how deeply lists and named values are nested."""
    depth, level = 0, [value]
    while level := [
        inner
        for item in level
        if isinstance(item, dict | list)
        for inner in (item.values() if isinstance(item, dict) else item)
    ]:
        depth += 1
    return depth
