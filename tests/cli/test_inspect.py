"""``fer-edge inspect``: contents of a bundle, and its variants on this machine."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from fer_edge import engine_trial
from fer_edge.bundle import open_bundle, write_bundle
from fer_edge.parity import JudgedBy
from fer_edge.shipped import DEFAULT_BUNDLE


def test_inspect_shows_what_is_in_it_and_what_runs_here(run: Any, fake_bundle: Path) -> None:
    result = run("inspect", fake_bundle)
    assert result.exit_code == 0
    for word in ("all hashes match", "anger, disgust", "[N, 48, 48, 3]", "fake/fp32: taken"):
        assert word in result.stdout


def test_inspect_prints_the_manifest_as_json(run: Any, fake_bundle: Path) -> None:
    shown = json.loads(run("inspect", fake_bundle, "--json").stdout)
    manifest = json.loads((fake_bundle / "bundle.json").read_text("utf-8"))
    assert shown.pop("path") == str(fake_bundle)
    assert len(shown.pop("sha256")) == 64
    assert shown == manifest


def test_inspect_shows_a_bundle_that_nothing_here_can_run(run: Any, somechip_bundle: Path) -> None:
    """A workstation looks into a bundle that was made for another chip."""
    result = run("inspect", somechip_bundle)
    assert result.exit_code == 0
    assert "no backend for somechip" in result.output


def test_inspect_shows_the_shipped_model(run: Any) -> None:
    result = run("inspect")
    assert result.exit_code == 0
    assert str(DEFAULT_BUNDLE) in result.stdout
    assert "agreement" in result.stdout


def test_a_name_is_the_shipped_model_and_a_path_is_a_path(
    run: Any, fake_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(fake_bundle, tmp_path / "default")
    monkeypatch.chdir(tmp_path)
    assert "fake/fp32" in run("inspect", "./default").stdout
    assert str(DEFAULT_BUNDLE) in run("inspect", "default").stdout


HOSTILE = ["\x1b[2J\x1b]0;x\x07", "\u202e", "a\nb", 10**400, [[1] * 1000], {"x": None}, "x" * 9999]


@pytest.mark.parametrize("value", HOSTILE, ids=lambda value: repr(value)[:12])
@pytest.mark.parametrize("place", ["backbone", "recipe", "refused", "name of a refused", "reason"])
def test_inspect_writes_no_control_characters_and_always_ends(
    run: Any, fake_bundle: Path, place: str, value: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine_trial, "try_variants", lambda path: ["fake/fp32: \x1b[2J"])
    refused = {"agreement": 0.5, "accuracy_change": 0.0, "failures": ["too different"]}
    provenance: dict[str, Any] = {"refused": {"fake/int8": refused}}
    if place == "name of a refused":
        provenance["refused"] = {str(value)[:300]: refused}
    elif place == "reason":
        refused["failures"] = [value]
    else:
        provenance[place] = value
    bundle = open_bundle(fake_bundle)
    contents = bundle.read(bundle.variants[0])
    write_bundle(replace(bundle, provenance=provenance), contents)
    for more in ([], ["--json"]):
        result = run("inspect", fake_bundle, *more)
        assert result.exit_code == 0
        assert all(c.isprintable() or c == "\n" for c in result.output)
        assert more or len(result.output) < 3000


def test_the_reason_of_a_stand_in_is_printed_once(
    run: Any, fake_bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Five variants of a chip that is not there say the same; the reader needs it once."""
    monkeypatch.setattr(engine_trial, "try_variants", lambda path: ["fake/fp32: taken"])
    bundle = open_bundle(fake_bundle)
    first = bundle.variants[0]
    shipped = open_bundle(DEFAULT_BUNDLE).variants[0].parity
    assert shipped is not None
    no_gpu = JudgedBy("onnxruntime", "there is no GPU here")
    no_mac = JudgedBy("coreml_evaluator", "this is not a Mac")
    judges = {"somechip/fp32": no_gpu, "somechip/fp16": no_gpu, "apple/fp16": no_mac}
    variants = []
    for name, judge in judges.items():
        target, _, precision = name.partition("/")
        parity = replace(shipped, judged_by=judge)
        variants.append(replace(first, target=target, precision=precision, parity=parity))
    write_bundle(replace(bundle, variants=tuple(variants)), bundle.read(first))
    output = run("inspect", fake_bundle).stdout
    assert output.count("verified by onnxruntime [1]") == 2
    assert output.count("verified by coreml_evaluator [2]") == 1
    assert output.count("there is no GPU here") == 1
    assert "[1] the chip itself has not run these yet: there is no GPU here\n" in output
    assert f"on {shipped.faces.faces:,} faces" in output
