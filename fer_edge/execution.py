"""Report of what an engine ran: where, how many operations, in which precision."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

from fer_edge.shown import printable

_ARITHMETIC = {
    "fp32": "fp32",
    "fp16": "fp16",
    "bf16": "bf16",
    "int8": "int8",
    "w8a8": "int8",
    "w8a16": "w8a16",
}
"""Arithmetic that most layers must have, by precision. Palettes (``pal6``) state none."""


@dataclass(frozen=True)
class Operation:
    """One operation that an engine ran for a face.

    Attributes:
        kind: Name of the operation, in the engine's words.
        device: Device that ran it, in the engine's words.
        precision: Arithmetic that it computed in (``fp32``, ``bf16``, ``int8``).
        is_layer: It is a convolution or a matrix product, which take nearly all of the time.
    """

    kind: str
    device: str
    precision: str
    is_layer: bool


@dataclass(frozen=True)
class Placement:
    """Operations that ran on one device in one precision.

    Attributes:
        device: Device, in the engine's words.
        precision: Arithmetic.
        layers: Number of convolutions and matrix products.
        others: Number of other operations.
    """

    device: str
    precision: str
    layers: int
    others: int


@dataclass(frozen=True)
class Execution:
    """Report of an engine on how it runs one face.

    Attributes:
        engine: Name of the engine and its build.
        device: Device that was asked for, in the engine's words.
        placements: Number of operations by device and precision, most layers first.
        elsewhere: Kinds of operations that ran on another device than the one asked for.
    """

    engine: str
    device: str
    placements: tuple[Placement, ...]
    elsewhere: tuple[str, ...] = ()

    @classmethod
    def of(cls, engine: str, device: str, operations: Iterable[Operation]) -> Execution:
        """Count operations.

        Args:
            engine: Name of the engine and its build.
            device: Device that was asked for, as ``Operation.device`` names it.
            operations: Operations that were run.
        """
        layers: Counter[tuple[str, str]] = Counter()
        others: Counter[tuple[str, str]] = Counter()
        elsewhere = []
        for operation in operations:
            place = operation.device, operation.precision
            (layers if operation.is_layer else others)[place] += 1
            if operation.device != device:
                elsewhere.append(operation.kind)
        places = sorted(layers.keys() | others.keys(), key=lambda p: (-layers[p], -others[p], p))
        placements = tuple(Placement(*place, layers[place], others[place]) for place in places)
        return cls(engine, device, placements, tuple(dict.fromkeys(elsewhere)))

    def layers_in(self, precision: str) -> int:
        """Return the number of layers that ran in a precision."""
        return sum(place.layers for place in self.placements if place.precision == precision)

    @property
    def layers(self) -> int:
        """Number of convolutions and matrix products."""
        return sum(place.layers for place in self.placements)

    def refusal(self, precision: str) -> str | None:
        """Say why this is not what was asked for; None if it is.

        fp32 asks for every layer. Another precision asks for most of them: a recipe may keep some
        layers in float.

        Args:
            precision: Precision of the variant.
        """
        if self.elsewhere:
            return (
                f"{self.device} was asked for, and {', '.join(self.elsewhere[:5])} ran elsewhere. "
                "Convert for another target"
            )
        asked = _ARITHMETIC.get(precision)
        if asked is None or not self.layers:
            return None
        right = self.layers_in(asked)
        if right == self.layers or (asked != "fp32" and 2 * right > self.layers):
            return None
        others = Counter[str]()
        for place in self.placements:
            if place.precision != asked:
                others[place.precision] += place.layers
        counts = ", ".join(f"{count} in {name}" for name, count in others.most_common() if count)
        return (
            f"{precision} was asked for, and {self.engine} ran {counts} of {self.layers} layers on "
            f"{self.device}. Choose another precision for this machine"
        )

    def as_dict(self) -> dict[str, Any]:
        """Return the attributes as plain values."""
        return asdict(self)

    def __str__(self) -> str:
        places = []
        for place in self.placements:
            counts = ((place.layers, "layer"), (place.others, "other operation"))
            words = [f"{n} {word}{'s' * (n != 1)}" for n, word in counts if n]
            where = f" on {place.device}" if place.device != self.device else ""
            places.append(f"{' and '.join(words)} in {place.precision}{where}")
        if not self.elsewhere:
            return printable(f"{self.engine}, all on {self.device}: {', '.join(places)}")
        fallback = f"not on {self.device}: {', '.join(self.elsewhere)}"
        return printable(f"{self.engine} on {self.device}: {', '.join(places)}; {fallback}")
