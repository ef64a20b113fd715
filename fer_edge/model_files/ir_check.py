"""Checks of an OpenVINO IR file (``model.xml``), before OpenVINO reads it.

An IR names its weights by offset and size in the file beside it. OpenVINO 2026.4 refuses what lies
beyond that file; older versions that are allowed were not all tried. A document type can include
other files, and loops can run forever. ``fer-edge convert`` writes none of them.
"""

from __future__ import annotations

import re
from xml.parsers import expat

from fer_edge.errors import BundleError
from fer_edge.shown import shown

_MOST_ELEMENTS = 2_000_000
"""Largest number of elements. The largest IR that was converted has about 60,000."""
_REFUSED_LAYERS = frozenset({"If", "Loop", "TensorIterator", "ReadValue", "Assign"})
"""Layers that can run forever or keep values from one face to the next."""
_DIGITS = re.compile(r"[0-9]{1,18}")


def check_ir(xml: bytes, weights_bytes: int, name: str) -> None:
    """Refuse an IR that refers to anything outside its weights, or that can loop.

    Args:
        xml: Content of ``model.xml``.
        weights_bytes: Size of the weights file in bytes; 0 if there is none.
        name: Name of the file, for messages.

    Raises:
        BundleError: The IR reaches outside, or has control flow.
        ValueError: The file is not the XML of an IR.
    """
    walker = _Walker(weights_bytes, name)
    parser = expat.ParserCreate("UTF-8")
    parser.StartDoctypeDeclHandler = walker.doctype
    parser.StartElementHandler = walker.element
    try:
        if b"\0" in xml:
            raise ValueError("it is not UTF-8")
        parser.Parse(xml, True)
    except (expat.ExpatError, ValueError) as error:
        raise ValueError(f"{name} is not a readable OpenVINO model: {error}") from error


class _Walker:
    """Handlers of the XML parser."""

    def __init__(self, weights_bytes: int, name: str) -> None:
        self._weights_bytes, self._name = weights_bytes, name
        self._elements = 0

    def doctype(self, *_: object) -> None:
        raise ValueError("it has a document type")

    def element(self, tag: str, attributes: dict[str, str]) -> None:
        self._elements += 1
        if self._elements == 1 and tag != "net":
            raise ValueError(f"it starts with {shown(tag)}")
        if self._elements > _MOST_ELEMENTS:
            raise ValueError(f"it has more than {_MOST_ELEMENTS:,} elements")
        if "weights_path" in tag or any("path" in key for key in attributes):
            raise self._refusal("names another file")
        layer = attributes.get("type") if tag == "layer" else None
        if layer in _REFUSED_LAYERS:
            raise self._refusal(f"holds the layer {layer}, which can run forever or keep state")
        if "offset" in attributes:
            self._check_range(attributes)

    def _check_range(self, attributes: dict[str, str]) -> None:
        place = [attributes.get(key, "") for key in ("offset", "size")]
        if not all(map(_DIGITS.fullmatch, place)) or sum(map(int, place)) > self._weights_bytes:
            raise self._refusal(
                f"refers to the bytes {shown(place)} of a weights file of {self._weights_bytes}"
            )

    def _refusal(self, what: str) -> BundleError:
        return BundleError(
            f"{self._name} {what}, which a bundle must not. Convert the checkpoint again with "
            "fer-edge convert"
        )
