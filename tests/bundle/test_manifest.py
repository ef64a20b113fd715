"""A hostile or damaged manifest is refused before anything it names is opened."""

from __future__ import annotations

import json
import math
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fer_edge.bundle import (
    MANIFEST,
    SCHEMA,
    open_bundle,
)
from fer_edge.errors import BundleError
from fer_edge.labels import check_label_list

DATA = "fake-fp32/answers.json"

Watch = Callable[[], AbstractContextManager[list[str]]]
Refusal = Callable[[Path], str]
Put = Callable[[Path, str, object], None]
Edit = Callable[[Path, Callable[[Any], object]], None]


@contextmanager
def copied(template: Path) -> Iterator[Path]:
    """A bundle of its own for each example that hypothesis makes up."""
    with tempfile.TemporaryDirectory() as folder:
        yield Path(shutil.copytree(template, Path(folder) / "copy.fer"))


@pytest.mark.parametrize(
    "path",
    [
        "../secret",
        "../../../secret",
        "fake-fp32/../../secret",
        "/secret",
        "{out}/secret",
        "..",
        ".",
        "",
        "/",
        "fake-fp32",
        "fake-fp32/",
        "/answers.json",
        "./answers.json",
        "fake-fp32//answers.json",
        "fake-fp32/./answers.json",
        "a/b/answers.json",
        ".hidden/answers.json",
        "fake-fp32\\..\\answers.json",
        "C:/answers.json",
        "fake-fp32/answers.json\n",
        "fake-fp32/answers.json\0",
        "fäke/answers.json",
        "x" * 200 + "/answers.json",
        7,
        None,
        ["fake-fp32", "answers.json"],
    ],
    ids=repr,
)
def test_a_path_that_leads_anywhere_else_is_refused(
    fake_bundle: Path, tmp_path: Path, path: Any, refusal: Refusal, put: Put
) -> None:
    (tmp_path / "secret").write_bytes((fake_bundle / DATA).read_bytes())
    if isinstance(path, str):
        path = path.format(out=tmp_path)
    put(fake_bundle, "variants.0.files.0.path", path)
    put(fake_bundle, "variants.0.entry", path)
    message = refusal(fake_bundle)
    assert "Expected folder/name" in message or not isinstance(path, str)


@pytest.mark.parametrize("schema", [0, SCHEMA + 1, -1, "1", None, [1], {}, 1.5])
def test_another_schema_is_refused(
    fake_bundle: Path, schema: object, refusal: Refusal, put: Put
) -> None:
    put(fake_bundle, "schema", schema)
    assert f"expected bundle schema {SCHEMA}" in refusal(fake_bundle)


@pytest.mark.parametrize(
    "keys",
    [
        "schema",
        "labels",
        "input",
        "outputs",
        "outputs.probabilities",
        "outputs.probabilities.shape",
        "outputs.embedding",
        "crop",
        "crop.size_px",
        "crop.margin",
        "crop.kernel",
        "temperature",
        "abstain_below",
        "embedding_dim",
        "provenance",
        "variants",
        "variants.0.target",
        "variants.0.precision",
        "variants.0.entry",
        "variants.0.files",
        "variants.0.files.0.path",
        "variants.0.files.0.sha256",
        "variants.0.files.0.bytes",
        "variants.0.needs",
        "variants.0.batch",
        "variants.0.batch.min",
        "variants.0.batch.max",
        "variants.0.tools",
        "variants.0.parity",
        "variants.0.speed",
    ],
)
def test_a_missing_key_is_refused(
    fake_bundle: Path,
    keys: str,
    refusal: Refusal,
    edit: Edit,
) -> None:
    def remove(content: Any) -> None:
        *parents, last = keys.split(".")
        for key in parents:
            content = content[int(key) if isinstance(content, list) else key]
        del content[last]

    edit(fake_bundle, remove)
    refusal(fake_bundle)


@pytest.mark.parametrize(
    ("keys", "value"),
    [
        ("outputs.probabilities.shape", [None, 6]),
        ("outputs.probabilities.shape", [7, None]),
        ("outputs.probabilities.shape", [None]),
        ("outputs.embedding.shape", [None, 5]),
        ("outputs.probabilities.dtype", "float16"),
        ("input.shape", [None, 64, 64, 3]),
        ("input.dtype", "float32"),
        ("input.colour", "rgb"),
        ("input.layout", "NCHW"),
        ("embedding_dim", 5),
        ("crop.size_px", 64),
        ("crop.kernel", "linear"),
        ("variants.0.batch", {"min": 5, "max": 2}),
        ("variants.0.entry", "fake-fp32/other.json"),
        ("variants.0.target", "../fake"),
        ("variants.0.target", "Fake"),
        ("variants.0.precision", ""),
        ("variants.0.files.0.sha256", "0" * 63),
        ("variants.0.files.0.sha256", "g" * 64),
        ("variants.0.files.0.sha256", "0" * 64),
        ("variants.0.files", []),
        ("variants", []),
        ("variants", {}),
    ],
)
def test_a_manifest_that_contradicts_itself_is_refused(
    fake_bundle: Path, keys: str, value: object, refusal: Refusal, put: Put
) -> None:
    put(fake_bundle, keys, value)
    refusal(fake_bundle)


@pytest.mark.parametrize(
    "labels",
    [
        ["angry", "disgust", "fear", "happy", "neutral", "sad", "surprise"],
        ["Anger", "disgust", "fear", "happiness", "neutral", "sadness", "surprise"],
        ["anger", "anger", "fear", "happiness", "neutral", "sadness", "surprise"],
        ["anger", "Joy", "fear", "happiness", "neutral", "sadness", "surprise"],
        ["anger", "", "fear", "happiness", "neutral", "sadness", "surprise"],
        ["anger", "a\nb", "fear", "happiness", "neutral", "sadness", "surprise"],
        ["anger", "disgust", "fear"],
        ["anger", None, "fear", "happiness", "neutral", "sadness", "surprise"],
        list(range(7)),
        "surprise",
        None,
        {},
    ],
    ids=str,
)
def test_labels_that_are_not_canonical_are_refused(
    fake_bundle: Path, labels: object, refusal: Refusal, put: Put
) -> None:
    put(fake_bundle, "labels", labels)
    refusal(fake_bundle)


def test_a_class_of_the_users_own_is_taken(fake_bundle: Path, put: Put) -> None:
    own = ["anger", "drowsy", "fear", "happiness", "neutral", "sadness", "surprise"]
    put(fake_bundle, "labels", own)
    assert open_bundle(fake_bundle).labels == tuple(own)


def test_a_network_without_labels_is_refused(fake_bundle: Path, refusal: Refusal, put: Put) -> None:
    put(fake_bundle, "labels", [])
    put(fake_bundle, "outputs.probabilities.shape", [None, 0])
    refusal(fake_bundle)


def test_two_variants_of_one_name_are_refused(
    fake_bundle: Path, refusal: Refusal, edit: Edit
) -> None:
    edit(fake_bundle, lambda content: content["variants"].append(content["variants"][0]))
    assert "expected different variants" in refusal(fake_bundle)


NUMBERS = [
    "crop.size_px",
    "crop.margin",
    "temperature",
    "abstain_below",
    "embedding_dim",
    "variants.0.files.0.bytes",
    "variants.0.batch.min",
    "variants.0.batch.max",
]
NO_NUMBERS = [math.nan, math.inf, -math.inf, -1, 1e300, 10**400, True, "1", [1]]


@pytest.mark.parametrize("keys", NUMBERS)
@pytest.mark.parametrize("value", NO_NUMBERS, ids=lambda value: repr(value)[:8])
def test_a_number_that_is_none_or_out_of_range_is_refused(
    fake_bundle: Path, keys: str, value: object, refusal: Refusal, put: Put
) -> None:
    put(fake_bundle, keys, value)
    refusal(fake_bundle)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"not JSON",
        b"{",
        b"\xff\xfe\x00",
        b"\x80abc",
        b"[]",
        b"null",
        b"1",
        b'"bundle"',
        b"[" * 100_000,
        b"[" * 100_000 + b"]" * 100_000,
        b'{"schema": 1, "labels": ' + b'{"a":' * 100_000,
        b'{"schema": ' + b"9" * 10_000 + b"}",
        b'{"schema": 1}' + b" " * (5 * 1024 * 1024),
    ],
    ids=lambda data: f"{data[:20]!r} of {len(data)}",
)
def test_a_manifest_that_is_not_a_small_json_object_is_refused(
    fake_bundle: Path, data: bytes, refusal: Refusal
) -> None:
    (fake_bundle / MANIFEST).write_bytes(data)
    assert MANIFEST in refusal(fake_bundle) or data[:1] in b'[n1"'


def places(content: Any, before: tuple[str, ...] = ()) -> list[str]:
    """Every key of a manifest, as ``put`` takes it."""
    if not isinstance(content, dict | list):
        return []
    items = content.items() if isinstance(content, dict) else enumerate(content)
    return [
        place
        for key, value in items
        for place in [".".join((*before, str(key))), *places(value, (*before, str(key)))]
    ]


anything = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=20)
    | st.sampled_from([10**400, "../x", "/secret", "bundle.json", "fp32", DATA, "0" * 64]),
    lambda children: (
        st.lists(children, max_size=4) | st.dictionaries(st.text(max_size=8), children, max_size=4)
    ),
    max_leaves=6,
)


@given(st.data())
def test_any_json_anywhere_gives_a_bundle_error_or_a_valid_bundle(
    template: Path, put: Put, watched: Watch, data: st.DataObject
) -> None:
    with copied(template) as path:
        keys = sorted(places(json.loads((path / MANIFEST).read_text())))
        for place in data.draw(st.lists(st.sampled_from(keys), min_size=1, max_size=2)):
            try:
                put(path, place, data.draw(anything))
            except (KeyError, TypeError, ValueError, IndexError):
                continue  # the place went away with the first change
        with watched() as opened:
            try:
                bundle = open_bundle(path)
            except BundleError:
                bundle = None
        assert set(opened) <= {str(path / MANIFEST), str(path / DATA)}
    if bundle is not None:
        assert check_label_list(bundle.labels) == bundle.labels
        assert 8 <= bundle.crop.size_px <= 4096
        assert all(map(math.isfinite, (bundle.temperature, bundle.abstain_below)))
        assert [variant.entry for variant in bundle.variants] == [DATA]
