"""``fer-edge diff``: what a new bundle changes for the car."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from fer_edge.backends.fake import write_fake_bundle
from fer_edge.bundle import Bundle, open_bundle, write_bundle
from fer_edge.preprocess import CropRule
from fer_edge.shipped import DEFAULT_BUNDLE


@pytest.fixture
def pair(tmp_path: Path) -> tuple[Path, Path]:
    """The shipped bundle and a copy."""
    return DEFAULT_BUNDLE, Path(shutil.copytree(DEFAULT_BUNDLE, tmp_path / "new.fer"))


def rewrite(path: Path, **changed: Any) -> Bundle:
    bundle = open_bundle(path)
    contents = {file.path: (path / file.path).read_bytes() for file in bundle.files}
    write_bundle(replace(bundle, **changed), contents)
    return bundle


def test_the_same_bundle_is_the_same(run: Any, pair: tuple[Path, Path]) -> None:
    rewrite(pair[1], name="other", version="9", created="2030-01-01")
    result = run("diff", *pair)
    assert result.exit_code == 0, result.output
    assert "nothing changes for the car" in result.output
    assert "version 9" in result.output
    assert json.loads(run("diff", *pair, "--json").stdout)["same"] is True


def test_each_change_has_a_line(run: Any, pair: tuple[Path, Path]) -> None:
    old = open_bundle(pair[0])
    first, *others = old.variants
    assert first.parity
    worse = replace(first, parity=replace(first.parity, agreement=0.98), needs={"capability": "x"})
    rewrite(
        pair[1],
        labels=(*old.labels[1:], "drowsy"),
        crop=CropRule(old.crop.size_px, 0.2),
        temperature=2.0,
        abstain_below=0.25,
        provenance={**old.provenance, "licences": {"data": "CC0\x1b[2J"}},
        variants=(others[0], worse),
    )
    result = run("diff", *pair)
    assert result.exit_code == 8
    for line in (
        "labels: anger, disgust",
        "crop.margin: 0.1 -> 0.2",
        "temperature: ",
        f"abstain_below: {old.abstain_below} -> 0.25",
        "variants: openvino/bf16, ",
        f"openvino/bf16: agreement: {first.parity.agreement:g} -> 0.98",
        "openvino/bf16: needs: ",
        "licences: ",
    ):
        assert f"\n  {line}" in result.output
    assert "\x1b" not in result.output
    changes = json.loads(run("diff", *pair, "--json").stdout)["changes"]
    assert {"what": "temperature", "old": old.temperature, "new": 2.0} in changes


def test_bundles_of_other_variants_and_files_are_compared(run: Any, tmp_path: Path) -> None:
    one, other = (
        write_fake_bundle(tmp_path / "a.fer"),
        write_fake_bundle(tmp_path / "b.fer", {"fear": 1.0}),
    )
    result = run("diff", one, other)
    assert result.exit_code == 8
    assert "fake/fp32: files" in result.output
    assert run("diff", one, DEFAULT_BUNDLE).exit_code == 8


def test_a_damaged_bundle_has_the_exit_code_of_a_damaged_bundle(
    run: Any, pair: tuple[Path, Path]
) -> None:
    (pair[1] / "bundle.json").write_text("{}")
    assert run("diff", *pair).exit_code == 4
