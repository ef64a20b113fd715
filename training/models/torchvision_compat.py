"""Import of torchvision without its compiled library.

A CPU build of torch beside the package index's torchvision (built for CUDA) is common. Importing
torchvision, and so timm, then fails with ``operator torchvision::nms does not exist``. timm and the
v2 transforms need only torchvision's Python code, so this module declares the two missing operator
schemas. The operators stay unimplemented: calling ``torchvision.ops.nms`` still raises.

Import this module before timm or torchvision.
"""

from __future__ import annotations

import importlib.util
from pathlib import Path

import torch

_SCHEMAS = (
    "nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
)
_declared: list[torch.library.Library] = []


def declare_missing_operators() -> bool:
    """Declare missing schemas; return True if that was needed."""
    spec = importlib.util.find_spec("torchvision")
    if spec is None or spec.origin is None or _declared:
        return bool(_declared)
    for binary in Path(spec.origin).parent.glob("_C*"):
        try:
            torch.ops.load_library(str(binary))  # type: ignore[no-untyped-call]
            return False
        except OSError:
            continue
    library = torch.library.Library("torchvision", "DEF")  # type: ignore[no-untyped-call]
    for schema in _SCHEMAS:
        library.define(schema)  # type: ignore[no-untyped-call]
    _declared.append(library)  # the declarations live as long as this object
    return True


declare_missing_operators()
