"""torchvision imports without its compiled library, whichever module comes first."""

from __future__ import annotations

import subprocess
import sys

import pytest


@pytest.mark.slow
@pytest.mark.parametrize(
    "module",
    ["training.evaluation.metrics", "training.evaluation.evaluate", "converters.pipeline.parity"],
)
def test_a_module_may_be_the_first_that_is_imported(module: str) -> None:
    """The missing operators are declared before torchmetrics imports torchvision."""
    command = [sys.executable, "-c", f"import fer_edge.{module}"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-500:]
