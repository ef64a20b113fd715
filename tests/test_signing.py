"""Signed bundles: what was signed is accepted, and nothing else."""

from __future__ import annotations

import base64
import json
from pathlib import Path

import pytest

from fer_edge import BundleError, InputError
from fer_edge.signing import (
    MAX_SIGNATURES,
    SIGNATURES,
    Signature,
    add_signature,
    new_key_pair,
    read_signatures,
    sign_manifest,
    verify_manifest,
)

MANIFEST = b'{"schema": 1}'


@pytest.fixture
def pair(tmp_path: Path) -> tuple[Path, Path]:
    """Private and public key files."""
    new_key_pair(tmp_path / "a.key", tmp_path / "a.pub")
    return tmp_path / "a.key", tmp_path / "a.pub"


@pytest.fixture
def other(tmp_path: Path) -> tuple[Path, Path]:
    new_key_pair(tmp_path / "b.key", tmp_path / "b.pub")
    return tmp_path / "b.key", tmp_path / "b.pub"


def test_a_signed_manifest_is_accepted(pair: tuple[Path, Path]) -> None:
    signature = sign_manifest(MANIFEST, pair[0])
    assert verify_manifest(MANIFEST, [signature], [pair[1]], "x.fer") == signature.key_id
    assert verify_manifest(MANIFEST, [signature], [pair[1].read_bytes()], "x.fer")


def test_the_private_key_is_its_owners_alone(pair: tuple[Path, Path]) -> None:
    assert pair[0].stat().st_mode & 0o077 == 0


def test_a_key_is_never_overwritten(pair: tuple[Path, Path], tmp_path: Path) -> None:
    with pytest.raises(InputError, match="never overwritten"):
        new_key_pair(pair[0], tmp_path / "c.pub")


@pytest.mark.parametrize("name", ["no-folder/c.pub", "c" * 300])
def test_a_pair_that_cannot_be_written_leaves_no_key(name: str, tmp_path: Path) -> None:
    for _ in range(2):  # the second try must not meet the key of the first
        with pytest.raises(InputError, match="cannot write the key"):
            new_key_pair(tmp_path / "c.key", tmp_path / name)
    assert not list(tmp_path.iterdir())


def test_a_changed_manifest_is_refused(pair: tuple[Path, Path]) -> None:
    signature = sign_manifest(MANIFEST, pair[0])
    for i in range(len(MANIFEST)):
        changed = bytearray(MANIFEST)
        changed[i] ^= 1
        with pytest.raises(BundleError, match="changed after"):
            verify_manifest(bytes(changed), [signature], [pair[1]], "x.fer")


def test_an_unsigned_bundle_is_refused(pair: tuple[Path, Path]) -> None:
    with pytest.raises(BundleError, match="not signed"):
        verify_manifest(MANIFEST, [], [pair[1]], "x.fer")


def test_another_signer_is_refused(pair: tuple[Path, Path], other: tuple[Path, Path]) -> None:
    signature = sign_manifest(MANIFEST, other[0])
    with pytest.raises(BundleError, match=signature.key_id):
        verify_manifest(MANIFEST, [signature], [pair[1]], "x.fer")


def test_a_signature_under_a_borrowed_id_is_refused(
    pair: tuple[Path, Path], other: tuple[Path, Path]
) -> None:
    ours, theirs = sign_manifest(MANIFEST, pair[0]), sign_manifest(MANIFEST, other[0])
    forged = Signature(ours.key_id, theirs.value)
    with pytest.raises(BundleError, match="changed after"):
        verify_manifest(MANIFEST, [forged], [pair[1]], "x.fer")


def test_keys_can_be_rotated(pair: tuple[Path, Path], other: tuple[Path, Path]) -> None:
    both = [sign_manifest(MANIFEST, other[0]), sign_manifest(MANIFEST, pair[0])]
    for trusted in ([pair[1]], [other[1]], [pair[1], other[1]]):
        verify_manifest(MANIFEST, both, trusted, "x.fer")


def test_signatures_are_written_and_read(pair: tuple[Path, Path], tmp_path: Path) -> None:
    assert read_signatures(tmp_path) == []
    signature = sign_manifest(MANIFEST, pair[0])
    add_signature(tmp_path, signature)
    add_signature(tmp_path, signature)
    assert read_signatures(tmp_path) == [signature]


def test_too_many_signatures_are_refused(tmp_path: Path) -> None:
    for i in range(MAX_SIGNATURES):
        add_signature(tmp_path, Signature(f"{i:016x}", bytes(64)))
    with pytest.raises(BundleError, match="Remove some"):
        add_signature(tmp_path, Signature("f" * 16, bytes(64)))


@pytest.mark.parametrize(
    "content",
    [
        "",
        "{}",
        "[]",
        "null",
        "[" * 100_000,
        json.dumps({"schema": 1, "signatures": []}),
        json.dumps({"schema": 2, "signatures": [{}]}),
        json.dumps({"schema": 1, "signatures": [{"algorithm": "none"}]}),
        json.dumps(
            {
                "schema": 1,
                "signatures": [{"algorithm": "ed25519", "key_id": "a" * 16, "value": "?"}],
            }
        ),
        json.dumps(
            {
                "schema": 1,
                "signatures": [
                    {
                        "algorithm": "ed25519",
                        "key_id": "a" * 16,
                        "value": base64.b64encode(bytes(63)).decode(),
                    }
                ],
            }
        ),
    ],
)
def test_damaged_signatures_are_refused(tmp_path: Path, content: str) -> None:
    (tmp_path / SIGNATURES).write_text(content)
    with pytest.raises(BundleError, match="damaged"):
        read_signatures(tmp_path)


def test_a_link_in_their_place_is_refused(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").write_text("{}")
    (tmp_path / SIGNATURES).symlink_to(tmp_path / "elsewhere")
    with pytest.raises(BundleError, match="plain file"):
        read_signatures(tmp_path)


# Keys of the algorithm 1.2.3.4, which no library knows.
UNKNOWN_PUBLIC = b"""-----BEGIN PUBLIC KEY-----
MBIwBQYDKgMEAwkAAAAAAAAAAAA=
-----END PUBLIC KEY-----
"""
UNKNOWN_PRIVATE = b"""-----BEGIN PRIVATE KEY-----
MBQCAQAwBQYDKgMEBAgAAAAAAAAAAA==
-----END PRIVATE KEY-----
"""


@pytest.mark.parametrize(
    "key",
    [b"", b"-----BEGIN PUBLIC KEY-----", "missing.pem", UNKNOWN_PUBLIC, UNKNOWN_PRIVATE],
)
def test_a_bad_key_is_named(key: bytes | str) -> None:
    with pytest.raises(InputError, match=r"key.*fer-edge keygen NAME"):
        sign_manifest(MANIFEST, key)
    with pytest.raises(InputError, match=r"key.*fer-edge keygen NAME"):
        verify_manifest(MANIFEST, [], [key], "x.fer")
