"""Imports of Intel's packages that would otherwise report their use."""

from __future__ import annotations

import importlib
import os
from typing import Any


def import_without_telemetry(name: str) -> Any:
    """Import ``openvino`` or ``nncf`` without its telemetry.

    openvino-telemetry writes a client id into the home folder and reports events, unless a file
    there forbids it. It looks once, as it is imported, and takes a CI job for a no.
    """
    before = os.environ.get("CI")
    os.environ["CI"] = "true"
    try:
        return importlib.import_module(name)
    finally:
        if before is None:
            del os.environ["CI"]
        else:
            os.environ["CI"] = before
