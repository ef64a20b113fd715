"""bundle.json is JSON of one meaning: no repeats, no NaN, no depth, no value of another type."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from fer_edge.bundle import MANIFEST, open_bundle
from fer_edge.manifest import read_json

Refusal = Callable[[Path], str]
Put = Callable[[Path, str, object], None]


@pytest.mark.parametrize(
    "data",
    [
        b'{"a": 1, "a": 1}',
        b'{"a": 1, "\\u0061": 2}',
        b'[{"b": {"c": 1, "c": 2}}]',
        b"[NaN]",
        b"[Infinity]",
        b"[-Infinity]",
        b"[1e999]",
        b'["\\ud800"]',
        b'{"\\udc00": 1}',
        b"\xef\xbb\xbf{}",
        "{}".encode("utf-16"),
        b'"\xed\xa0\x80"',
        b"[" * 33 + b"]" * 33,
        b'{"a":' * 33 + b"1" + b"}" * 33,
        b"[[]," * 33 + b"1" + b"]" * 33,
        b"[" + b"[]," * 100_000 + b"1]",
        b"]",
    ],
    ids=lambda data: repr(data[:24]),
)
def test_json_with_two_meanings_or_none_is_refused(data: bytes) -> None:
    with pytest.raises(ValueError, match=r"."):
        read_json(data)


@pytest.mark.parametrize(
    "content", [{"a": ["[[[[\\", '"{', {"b": None}]}, [1.5, -0.0, True, "\u2028é"], "[" * 100, 7]
)
def test_plain_json_is_read(content: Any) -> None:
    assert read_json(json.dumps(content).encode()) == content
    assert read_json(json.dumps(content, ensure_ascii=False).encode()) == content


@pytest.mark.parametrize(
    "data",
    [
        b'"' + b'\\"' * 2_000_000,
        b'"' + b"\\" * 3_999_999,
        b'"a' * 2_000_000,
        b"[" * 4_000_000,
        b"}" * 4_000_000,
        b"9" * 4_000_000,
    ],
    ids=lambda data: repr(data[:8]),
)
def test_four_megabytes_of_anything_are_refused_in_linear_time(data: bytes) -> None:
    """Quadratic work would take hours."""
    with pytest.raises(ValueError, match=r"."):
        read_json(data)


@pytest.mark.parametrize(
    ("keys", "value"),
    [
        ("schema", True),
        ("schema", 1.0),
        ("crop.size_px", 48.0),
        ("crop.size_px", 48.5),
        ("embedding_dim", 4.0),
        ("input.shape", [None, 48.0, 48, 3]),
        ("input.shape", [False, 48, 48, 3]),
        ("outputs.embedding.shape", [None, 4.0]),
        ("variants.0.files.0.bytes", 1.5),
        ("variants.0.batch.min", True),
        ("variants.0.batch.max", 2.0),
        ("variants.0.tools", {"onnx": 1}),
        ("variants.0.tools", {"onnx": "\x1b[2J"}),
        ("variants.0.needs", {"capability": "\x1b[2J"}),
        ("variants.0.needs", {"engines": {"sm_86": {"path": "\u202e"}}}),
        ("variants.0.needs", {"engines": [["\n"]]}),
        ("variants.0.needs", []),
        ("variants.0.unproven", 1),
        ("variants.0.parity", []),
        ("variants.0.speed", 1.0),
        ("provenance", []),
        ("labels", [["anger"]]),
    ],
)
def test_a_value_of_another_type_is_refused(
    fake_bundle: Path, keys: str, value: object, refusal: Refusal, put: Put
) -> None:
    put(fake_bundle, keys, value)
    message = refusal(fake_bundle)
    assert keys.split(".")[-1] in message or keys.split(".")[0] in message
    assert "\x1b" not in message


def test_a_message_never_holds_a_strangers_value_whole(
    fake_bundle: Path, refusal: Refusal, put: Put
) -> None:
    for keys in ("temperature", "labels", "variants.0.target", "crop", "variants.0.files.0.path"):
        before = (fake_bundle / MANIFEST).read_bytes()
        put(fake_bundle, keys, ["x" * 100_000] * 5)
        assert len(refusal(fake_bundle)) < 2000
        (fake_bundle / MANIFEST).write_bytes(before)


@pytest.mark.parametrize("place", ["provenance", "variants.0.needs"])
def test_deep_values_are_refused_and_shallow_ones_written_back(
    fake_bundle: Path, place: str, refusal: Refusal, put: Put
) -> None:
    def nested(depth: int) -> Any:
        value: Any = 1
        for _ in range(depth):
            value = [value]
        return {"a": value}

    put(fake_bundle, place, nested(20))
    assert open_bundle(fake_bundle).as_dict()
    put(fake_bundle, place, nested(600))
    assert "levels" in refusal(fake_bundle)
