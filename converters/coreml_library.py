"""coremltools, imported without its warnings about what it was tested with."""

from __future__ import annotations

import functools
import importlib
import importlib.util
import logging
import warnings
from typing import Any

from fer_edge.errors import MissingDependencyError


@functools.cache
def coremltools() -> Any:
    """The package. Raises MissingDependencyError.

    It logs that Core ML itself is absent off a Mac, and which torch it has not been tested with;
    what it does here is proven by running what it wrote. Its progress bars are for terminals.
    """
    if importlib.util.find_spec("coremltools") is None:
        raise MissingDependencyError("coremltools", "convert")
    logging.getLogger("coremltools").setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return importlib.import_module("coremltools")
