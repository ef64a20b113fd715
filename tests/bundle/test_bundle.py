"""A bundle is read as it was written, and only a readable one is written."""

from __future__ import annotations

import hashlib
import json
import math
import tempfile
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fer_edge.backends.fake import write_fake_bundle
from fer_edge.bundle import (
    MANIFEST,
    Bundle,
    Variant,
    listed,
    open_bundle,
    write_bundle,
)
from fer_edge.errors import BundleError
from fer_edge.labels import EMOTIONS_8
from fer_edge.parity import FacesRecord, JudgedBy, ParityReport, RecipeTrial, Speed
from fer_edge.preprocess import CropRule

DATA = "fake-fp32/answers.json"

Watch = Callable[[], AbstractContextManager[list[str]]]


numbers = st.integers(-(10**9), 10**9) | st.floats(allow_nan=False, allow_infinity=False)
free_form = st.dictionaries(
    st.text(max_size=8), st.none() | st.booleans() | numbers | st.text(max_size=8), max_size=3
)
printable = st.text(st.characters(exclude_categories=["C", "Z"]), max_size=8)
needs = st.dictionaries(
    printable, st.none() | st.booleans() | numbers | printable | st.lists(printable), max_size=3
)
shares = st.floats(0, 1)
changes = st.floats(-1, 1)
records = st.builds(
    FacesRecord,
    st.text(max_size=8),
    st.integers(1, 10**6),
    st.from_regex("[0-9a-f]{64}", fullmatch=True),
)
trials = st.builds(
    RecipeTrial,
    free_form,
    st.none() | shares,
    st.none() | st.text(max_size=8),
    st.none() | st.floats(0, 1e6),
)
reports = st.builds(
    ParityReport,
    **dict.fromkeys(("max_abs_dp", "mean_abs_dp"), shares),
    **dict.fromkeys(("agreement", "accuracy", "reference_accuracy"), shares),
    **dict.fromkeys(("accuracy_change", "macro_f1_change", "ece_change"), changes),
    recall_change=st.dictionaries(st.text(max_size=8), changes, max_size=2),
    embedding_cosine_min=changes,
    batch_sizes=st.lists(st.integers(1, 64), max_size=3).map(tuple),
    faces=records,
    allowed_drop=st.none() | shares,
    failures=st.lists(st.text(max_size=8), max_size=2).map(tuple),
    machine=st.text(max_size=8),
    judged_by=st.none() | st.builds(JudgedBy, st.text(max_size=8), st.text(max_size=8)),
    calibration=st.none() | records,
    search=st.lists(trials, max_size=2).map(tuple),
)
speeds = st.builds(Speed, st.floats(0, 1e6), st.text(max_size=8), st.none() | st.text(max_size=8))
words = st.text("abcxyz0189", min_size=1, max_size=6)
file_names = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._-]{0,12}", fullmatch=True)


@st.composite
def bundles(draw: st.DrawFn) -> tuple[Bundle, dict[str, bytes]]:
    contents = {
        f"{folder}/{name}": draw(st.binary(max_size=40))
        for folder, name in draw(
            st.lists(
                st.tuples(words, file_names),
                min_size=1,
                max_size=4,
                unique_by=lambda pair: "/".join(pair).lower(),
            )
        )
    }
    files = [listed(path, data) for path, data in contents.items()]
    names = draw(st.lists(st.tuples(words, words), min_size=1, max_size=4, unique=True))
    variants = []
    for position, (target, precision) in enumerate(names):
        used = files if position == 0 else draw(st.lists(st.sampled_from(files), min_size=1))
        variants.append(
            Variant(
                target,
                precision,
                used[0].path,
                tuple(dict.fromkeys(used)),
                needs=draw(needs),
                batch={"min": 1, "max": draw(st.none() | st.integers(1, 1000))},
                tools=draw(st.dictionaries(words, words, max_size=2)),
                parity=(parity := draw(st.none() | reports)),
                unproven=draw(st.none() | st.text(max_size=8)) if parity is None else None,
                speed=draw(st.none() | speeds),
            )
        )
    labels = draw(st.lists(st.sampled_from(EMOTIONS_8), min_size=1, unique=True))
    bundle = Bundle(
        path=Path(),
        labels=tuple(labels),
        crop=CropRule(draw(st.integers(8, 4096)), draw(st.floats(0, 2))),
        temperature=draw(st.floats(1e-3, 1e3)),
        abstain_below=draw(st.floats(0, 1)),
        embedding_dim=draw(st.integers(1, 10**6)),
        provenance=draw(free_form),
        variants=tuple(variants),
    )
    return bundle, contents


@settings(max_examples=25)
@given(bundles())
def test_a_bundle_is_read_as_it_was_written(pair: tuple[Bundle, dict[str, bytes]]) -> None:
    bundle, contents = pair
    with tempfile.TemporaryDirectory() as folder:
        bundle = replace(bundle, path=Path(folder) / "name.fer")
        write_bundle(bundle, contents)
        found = open_bundle(bundle.path)
        manifest = (bundle.path / MANIFEST).read_bytes()
        assert found == replace(bundle, sha256=hashlib.sha256(manifest).hexdigest())
        assert json.loads(json.dumps(found.as_dict())) == json.loads(manifest)
        assert found.read(found.variants[0]) == contents


def test_a_valid_bundle_is_read_from_its_own_folder_alone(
    fake_bundle: Path, watched: Watch
) -> None:
    with watched() as opened:
        bundle = open_bundle(str(fake_bundle))
        bundle.read(bundle.variants[0])
    assert set(opened) == {str(fake_bundle / MANIFEST), str(fake_bundle / DATA)}


def test_an_older_bundle_is_replaced_whole(fake_bundle: Path) -> None:
    before = open_bundle(fake_bundle)
    write_fake_bundle(fake_bundle, {"fear": 1.0})
    assert open_bundle(fake_bundle).variants[0].files != before.variants[0].files
    assert [path.name for path in fake_bundle.parent.iterdir()] == [fake_bundle.name]


def test_a_variant_that_is_not_there_is_refused_with_those_that_are(fake_bundle: Path) -> None:
    bundle = open_bundle(fake_bundle)
    assert bundle.variant("fake", "fp32") is bundle.variants[0]
    with pytest.raises(BundleError, match=r"no variant fake/int8.* It has fake/fp32"):
        bundle.variant("fake", "int8")


# What cannot be read back is not written


@pytest.mark.parametrize(
    "change",
    [
        {"labels": ("happy", "sad")},
        {"labels": ()},
        {"temperature": math.nan},
        {"abstain_below": 1.5},
        {"variants": ()},
    ],
    ids=str,
)
def test_an_impossible_bundle_is_not_written(fake_bundle: Path, change: dict[str, Any]) -> None:
    bundle = open_bundle(fake_bundle)
    contents = bundle.read(bundle.variants[0])
    before = (fake_bundle / MANIFEST).read_bytes()
    with pytest.raises(BundleError):
        write_bundle(replace(bundle, **change), contents)
    assert (fake_bundle / MANIFEST).read_bytes() == before
    assert [path.name for path in fake_bundle.parent.iterdir()] == [fake_bundle.name]


@pytest.mark.parametrize(
    "name", ["../beside.txt", "fake-fp32/../../beside.txt", "{out}/beside.txt"]
)
def test_a_file_outside_the_folder_is_not_written(fake_bundle: Path, name: str) -> None:
    bundle = open_bundle(fake_bundle)
    contents = bundle.read(bundle.variants[0])
    name = name.format(out=fake_bundle.parent)
    with pytest.raises(BundleError):
        write_bundle(bundle, {**contents, name: b"text"})
    assert [path.name for path in fake_bundle.parent.iterdir()] == [fake_bundle.name]


def test_contents_must_be_what_the_variants_list(fake_bundle: Path) -> None:
    bundle = open_bundle(fake_bundle)
    contents = bundle.read(bundle.variants[0])
    for wrong in ({}, {DATA: b"other"}, {**contents, "fake-fp32/more": b"more"}):
        with pytest.raises(BundleError):
            write_bundle(bundle, wrong)
    open_bundle(fake_bundle)


def test_a_place_that_cannot_be_written_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("a file")
    with pytest.raises(BundleError, match="cannot write"):
        write_fake_bundle(tmp_path / "file" / "name.fer")
