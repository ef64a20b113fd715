"""A bundle is hostile until checked: read whole and as listed, or refused with BundleError."""

from __future__ import annotations

import hashlib
import json
import math
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fer_edge.backends.fake import write_fake_bundle
from fer_edge.bundle import (
    MANIFEST,
    SCHEMA,
    Bundle,
    Variant,
    listed,
    open_bundle,
    write_bundle,
)
from fer_edge.errors import BundleError
from fer_edge.labels import EMOTIONS_8, check_label_list
from fer_edge.preprocess import CropRule

DATA = "fake-fp32/answers.json"
Manifest = dict[str, Any]

# Python tells an audit hook about every file it opens. A hook cannot be taken away again, so
# there is one, and it notes something only inside ``watched``.
_opened: list[str] | None = None


def _note(event: str, args: tuple[Any, ...]) -> None:
    if event == "open" and _opened is not None:
        _opened.append(os.fsdecode(args[0]) if not isinstance(args[0], int) else str(args[0]))


sys.addaudithook(_note)


@contextmanager
def watched() -> Iterator[list[str]]:
    global _opened
    opened: list[str] = []
    _opened = opened
    try:
        yield opened
    finally:
        _opened = None


def refusal(bundle: Path) -> str:
    """The message with which the bundle is refused, opening no file outside its folder."""
    with watched() as opened, pytest.raises(BundleError) as caught:
        open_bundle(bundle)
    outside = [name for name in opened if bundle.resolve() not in Path(name).resolve().parents]
    assert outside == []
    return str(caught.value)


def edit(bundle: Path, change: Callable[[Manifest], object]) -> None:
    content = json.loads((bundle / MANIFEST).read_text())
    change(content)
    (bundle / MANIFEST).write_text(json.dumps(content))


def put(bundle: Path, keys: str, value: object) -> None:
    """Set ``crop.size_px`` or ``variants.0.files.0.path`` in a manifest."""

    def change(content: Any) -> None:
        *parents, last = keys.split(".")
        for key in parents:
            content = content[int(key) if isinstance(content, list) else key]
        content[int(last) if isinstance(content, list) else last] = value

    edit(bundle, change)


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_fake_bundle(tmp_path_factory.mktemp("template") / "fake.fer")


@contextmanager
def copied(template: Path) -> Iterator[Path]:
    """A bundle of its own for each example that hypothesis makes up."""
    with tempfile.TemporaryDirectory() as folder:
        yield Path(shutil.copytree(template, Path(folder) / "copy.fer"))


# What is written is what is read

numbers = st.integers(-(10**9), 10**9) | st.floats(allow_nan=False, allow_infinity=False)
free_form = st.dictionaries(
    st.text(max_size=8), st.none() | st.booleans() | numbers | st.text(max_size=8), max_size=3
)
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
                needs=draw(free_form),
                batch={"min": 1, "max": draw(st.none() | st.integers(1, 1000))},
                tools=draw(st.dictionaries(words, words, max_size=2)),
                parity=draw(free_form),
                speed=draw(free_form),
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


def test_a_valid_bundle_is_read_from_its_own_folder_alone(fake_bundle: Path) -> None:
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


# Damaged folders


@given(st.integers(0), st.integers(1, 255))
def test_any_changed_byte_of_a_listed_file_is_found(
    template: Path, position: int, flip: int
) -> None:
    with copied(template) as bundle:
        opened = open_bundle(bundle)
        data = bytearray((bundle / DATA).read_bytes())
        data[position % len(data)] ^= flip
        (bundle / DATA).write_bytes(data)
        assert DATA in refusal(bundle)
        with pytest.raises(BundleError, match="SHA-256"):
            opened.read(opened.variants[0])


@given(st.integers(0), st.integers(1, 255))
def test_a_changed_byte_of_the_manifest_is_refused_or_seen(
    template: Path, position: int, flip: int
) -> None:
    with copied(template) as bundle:
        before = open_bundle(bundle)
        data = bytearray((bundle / MANIFEST).read_bytes())
        data[position % len(data)] ^= flip
        (bundle / MANIFEST).write_bytes(data)
        try:
            after = open_bundle(bundle)
        except BundleError:
            return
        assert after.sha256 != before.sha256


@pytest.mark.parametrize("change", [lambda data: data + b"\0", lambda data: data[:-1]])
def test_a_file_of_another_length_is_refused(
    fake_bundle: Path, change: Callable[[bytes], bytes]
) -> None:
    (fake_bundle / DATA).write_bytes(change((fake_bundle / DATA).read_bytes()))
    assert "size or SHA-256 differs" in refusal(fake_bundle)


@pytest.mark.parametrize("name", [MANIFEST, DATA])
def test_a_missing_file_is_refused_by_name(fake_bundle: Path, name: str) -> None:
    (fake_bundle / name).unlink()
    assert name in refusal(fake_bundle)


def test_a_folder_in_a_files_place_is_refused(fake_bundle: Path) -> None:
    (fake_bundle / DATA).unlink()
    (fake_bundle / DATA).mkdir()
    assert DATA in refusal(fake_bundle)


@pytest.mark.parametrize(
    "name",
    [
        "notes.txt",
        ".hidden",
        "fake-fp32/extra.bin",
        "fake-fp32/.hidden",
        ".git/config",
        "a/b/c/deep.so",
        "fake-fp32/bundle.json",
    ],
)
def test_an_unlisted_file_is_refused_by_name(fake_bundle: Path, name: str) -> None:
    (fake_bundle / name).parent.mkdir(parents=True, exist_ok=True)
    (fake_bundle / name).write_text("not listed")
    assert name in refusal(fake_bundle)


@pytest.mark.parametrize("name", [MANIFEST, DATA, "fake-fp32", "extra"])
def test_a_link_is_refused_even_to_the_very_same_content(
    fake_bundle: Path, tmp_path: Path, name: str
) -> None:
    outside = tmp_path / "outside"
    if (fake_bundle / name).exists():
        shutil.move(fake_bundle / name, outside)
    else:
        outside.mkdir()
    (fake_bundle / name).symlink_to(outside)
    refusal(fake_bundle)


def test_a_link_that_came_after_the_check_is_compared_with_the_hash(
    fake_bundle: Path, tmp_path: Path
) -> None:
    bundle = open_bundle(fake_bundle)
    secret = tmp_path / "secret"
    secret.write_bytes(b"x" * (fake_bundle / DATA).stat().st_size)
    (fake_bundle / DATA).unlink()
    (fake_bundle / DATA).symlink_to(secret)
    with pytest.raises(BundleError):
        bundle.read(bundle.variants[0])


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
@pytest.mark.parametrize("name", [MANIFEST, DATA, "fake-fp32/pipe"])
def test_a_named_pipe_is_refused_and_not_waited_for(fake_bundle: Path, name: str) -> None:
    (fake_bundle / name).unlink(missing_ok=True)
    os.mkfifo(fake_bundle / name)
    script = "import sys, fer_edge; fer_edge.open_bundle(sys.argv[1])"
    done = subprocess.run(
        [sys.executable, "-c", script, str(fake_bundle)],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert "fer_edge.errors.BundleError" in done.stderr


@pytest.mark.parametrize(
    "name", ["missing.fer", "file.fer", "file.fer/inside", "empty", "nul\0byte"]
)
def test_a_path_that_is_no_bundle_is_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / "file.fer").write_text("a file")
    (tmp_path / "empty").mkdir()
    refusal(tmp_path / name)


# Hostile manifests


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
    fake_bundle: Path, tmp_path: Path, path: Any
) -> None:
    (tmp_path / "secret").write_bytes((fake_bundle / DATA).read_bytes())
    if isinstance(path, str):
        path = path.format(out=tmp_path)
    put(fake_bundle, "variants.0.files.0.path", path)
    put(fake_bundle, "variants.0.entry", path)
    message = refusal(fake_bundle)
    assert "Expected folder/name" in message or not isinstance(path, str)


@pytest.mark.parametrize("schema", [0, SCHEMA + 1, -1, "1", None, [1], {}, 1.5])
def test_another_schema_is_refused(fake_bundle: Path, schema: object) -> None:
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
def test_a_missing_key_is_refused(fake_bundle: Path, keys: str) -> None:
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
    fake_bundle: Path, keys: str, value: object
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
def test_labels_that_are_not_canonical_are_refused(fake_bundle: Path, labels: object) -> None:
    put(fake_bundle, "labels", labels)
    refusal(fake_bundle)


def test_a_class_of_the_users_own_is_taken(fake_bundle: Path) -> None:
    own = ["anger", "drowsy", "fear", "happiness", "neutral", "sadness", "surprise"]
    put(fake_bundle, "labels", own)
    assert open_bundle(fake_bundle).labels == tuple(own)


def test_a_network_without_labels_is_refused(fake_bundle: Path) -> None:
    put(fake_bundle, "labels", [])
    put(fake_bundle, "outputs.probabilities.shape", [None, 0])
    refusal(fake_bundle)


def test_two_variants_of_one_name_are_refused(fake_bundle: Path) -> None:
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
    fake_bundle: Path, keys: str, value: object
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
    fake_bundle: Path, data: bytes
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
    template: Path, data: st.DataObject
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
