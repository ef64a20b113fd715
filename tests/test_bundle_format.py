"""The page on the bundle format names every key."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

from fer_edge import parity, verdict
from fer_edge.bundle import MANIFEST, SCHEMA, Bundle, BundleFile, Variant, open_bundle
from fer_edge.preprocess import CropRule
from fer_edge.shipped import DEFAULT_BUNDLE

PAGE = (Path(__file__).parents[1] / "docs/reference/bundle-format.md").read_text("utf-8")
MANIFEST_CONTENT = json.loads((DEFAULT_BUNDLE / MANIFEST).read_text("utf-8"))
FREE = {"recipe", "tools", "data", "licences", "recall_change"}
"""Keys whose values have names of their own."""
NOT_WRITTEN = {"path", "sha256", "signed_by"}
"""Fields of Bundle that bundle.json does not hold."""


def keys(content: Any) -> Iterator[str]:
    """Every key of decoded JSON, without the names of variants."""
    if isinstance(content, list):
        for item in content:
            yield from keys(item)
    elif isinstance(content, dict):
        for key, value in content.items():
            if "/" not in key:
                yield key
            if key not in FREE:
                yield from keys(value)


def documented(name: str) -> bool:
    return re.search(rf"`(?:\w+\.)*{re.escape(name)}`", PAGE) is not None


@pytest.mark.parametrize("key", sorted(set(keys(MANIFEST_CONTENT))))
def test_every_key_of_the_shipped_manifest_is_on_the_page(key: str) -> None:
    assert documented(key)


@pytest.mark.parametrize(
    "kind",
    [
        Bundle,
        BundleFile,
        Variant,
        CropRule,
        parity.FacesRecord,
        parity.JudgedBy,
        parity.ParityReport,
        parity.RecipeTrial,
        parity.RefusedVariant,
        parity.Speed,
        verdict.Check,
        verdict.Flips,
        verdict.Judgement,
    ],
)
def test_every_field_is_on_the_page(kind: Any) -> None:
    names = {each.name for each in fields(kind)} - (NOT_WRITTEN if kind is Bundle else set())
    assert [name for name in sorted(names) if not documented(name)] == []


def test_the_page_names_the_schema() -> None:
    assert f"schema {SCHEMA}" in PAGE


def test_the_example_is_the_shipped_manifest_abridged() -> None:
    block = re.search(r"```json\n(.*?)```", PAGE, re.DOTALL)
    assert block is not None
    example = json.loads(block.group(1))
    assert_abridged(example, MANIFEST_CONTENT)
    (variant,) = example["variants"]
    assert variant["parity"].keys() == MANIFEST_CONTENT["variants"][0]["parity"].keys()
    assert parity.ParityReport.parse(variant["parity"]).agreement > 0.98
    assert open_bundle(DEFAULT_BUNDLE).as_dict().keys() == example.keys()


def assert_abridged(example: Any, full: Any) -> None:
    """Everything in the example is in the manifest, at the same place."""
    if isinstance(example, dict):
        assert example.keys() <= full.keys()
        for key, value in example.items():
            assert_abridged(value, full[key])
    elif isinstance(example, list):
        for item, expected in zip(example, full, strict=False):
            assert_abridged(item, expected)
    else:
        assert example == full
