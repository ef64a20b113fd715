"""The logger ``fer_edge``: one line at INFO, reasons at DEBUG, silent unless configured."""

from __future__ import annotations

import logging
import subprocess
import sys
from pathlib import Path

import pytest

from fer_edge.predictor import Predictor


def test_the_variant_is_logged_once_at_info(
    fake_bundle: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, "fer_edge"), Predictor(fake_bundle):
        (record,) = caplog.records
    assert record.name == "fer_edge"
    assert "fake/fp32" in record.getMessage()


def test_the_reasons_of_the_others_are_logged_at_debug(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG, "fer_edge"), Predictor(target="onnxruntime") as predictor:
        lines = [r.getMessage() for r in caplog.records if r.levelno == logging.DEBUG]
    for choice in predictor.explain():
        assert any(str(choice) in line for line in lines), choice


def test_nothing_is_printed_unless_logging_is_configured(fake_bundle: Path) -> None:
    code = (
        "import logging, sys; from fer_edge import Predictor; Predictor(sys.argv[1]); "
        "logging.getLogger('fer_edge').warning('hidden')"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(fake_bundle)], capture_output=True, text=True, check=True
    )
    assert (done.stdout, done.stderr) == ("", "")
