"""Ed25519 signatures of bundles (RFC 8032).

A bundle's manifest lists the SHA-256 of every file, so a signature of the manifest covers the
bundle. Signatures lie beside the manifest in ``signatures.json``; there may be several, so that
a fleet can move from one key to the next. Needs the ``sign`` extra.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
import re
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fer_edge.atomic import write_file
from fer_edge.errors import BundleError, InputError, next_step
from fer_edge.libraries import needed
from fer_edge.manifest import read_json
from fer_edge.paths import as_path, check_possible
from fer_edge.plain_file import read_plain

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import (
        Ed25519PrivateKey,
        Ed25519PublicKey,
    )

SIGNATURES = "signatures.json"
"""Name of the file in a bundle that holds its signatures."""
MAX_SIGNATURES = 16
"""Largest number of signatures of one bundle."""
MAX_SIGNATURES_BYTES = 64 * 1024
_CONTEXT = b"fer-edge bundle signature, version 1\n"
"""Prefix of the signed message, so that a signature for something else never fits."""
_MAKE_PAIR = "Make a pair: fer-edge keygen NAME"
_MAX_KEY_BYTES = 16 * 1024

_KEY_ID = re.compile(r"[0-9a-f]{16}")

Key = str | Path | bytes
"""PEM key: path of its file, or its bytes."""


@dataclass(frozen=True)
class Signature:
    """One signature of a bundle.

    Attributes:
        key_id: First 16 hexadecimal digits of the SHA-256 of the raw public key.
        value: 64 bytes.
    """

    key_id: str
    value: bytes

    def as_dict(self) -> dict[str, str]:
        value = base64.b64encode(self.value).decode()
        return {"algorithm": "ed25519", "key_id": self.key_id, "value": value}


def new_key_pair(private: Path, public: Path) -> str:
    """Write a new key pair as PEM files; return its id.

    Args:
        private: File for the private key; readable by its owner only.
        public: File for the public key, which goes into the car.

    Raises:
        InputError: One of the files exists or cannot be written. Then neither is written.
        MissingDependencyError: The ``sign`` extra is not installed.
    """
    private, public = as_path(private, "the private key"), as_path(public, "the public key")
    ed25519, serialization = _library()
    key = ed25519.Ed25519PrivateKey.generate()
    secret = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    shared = key.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    try:
        for path in (private, public):
            check_possible(path)
            if path.exists():
                raise InputError(f"{path} exists; a key is never overwritten. Choose another name")
        private.touch(mode=0o600, exist_ok=False)  # closed to others before it holds the key
        with ExitStack() as undo:
            undo.callback(private.unlink, missing_ok=True)
            private.write_bytes(secret)
            write_file(public, shared)
            undo.pop_all()
    except OSError as error:
        raise InputError(f"cannot write the key: {error}. Choose another place") from error
    return _key_id(key.public_key())


def sign_manifest(manifest: bytes, key: Key) -> Signature:
    """Sign the bytes of a ``bundle.json`` with a private key.

    Raises:
        InputError: The key is not an Ed25519 private key in PEM form.
        MissingDependencyError: The ``sign`` extra is not installed.
    """
    private = _private_key(key)
    return Signature(_key_id(private.public_key()), private.sign(_message(manifest)))


def add_signature(bundle: Path, signature: Signature) -> None:
    """Put a signature into a bundle, replacing one by the same key.

    Raises:
        BundleError: The bundle's signatures are damaged, or too many.
    """
    others = [s for s in read_signatures(bundle) if s.key_id != signature.key_id]
    if len(others) >= MAX_SIGNATURES:
        raise BundleError(f"{bundle} has {MAX_SIGNATURES} signatures already. Remove some first")
    rows = [s.as_dict() for s in (*others, signature)]
    text = json.dumps({"schema": 1, "signatures": rows}, indent=1) + "\n"
    try:
        write_file(bundle / SIGNATURES, text.encode())
    except OSError as error:
        raise InputError(
            f"cannot write {bundle / SIGNATURES}: {error.strerror}. Sign a copy in another folder"
        ) from error


def read_signatures(bundle: Path) -> list[Signature]:
    """Return the unverified signatures in a bundle; none if unsigned.

    Raises:
        BundleError: The file is damaged.
    """
    path = bundle / SIGNATURES
    try:
        if path.is_symlink() or path.lstat().st_size > MAX_SIGNATURES_BYTES:
            raise BundleError(f"expected a plain file of at most 64 KiB at {path}. Sign it again")
        content = read_json(read_plain(path, MAX_SIGNATURES_BYTES))
        rows = content["signatures"]
        if content["schema"] != 1 or not 0 < len(rows) <= MAX_SIGNATURES:
            raise ValueError
        signatures = [_parsed(row) for row in rows]
    except FileNotFoundError:
        return []
    except OSError as error:
        advice = next_step(error, "Copy the bundle again")
        raise BundleError(f"cannot read {path}: {error.strerror}. {advice}") from error
    except (ValueError, KeyError, TypeError) as error:
        raise BundleError(
            f"{path} is damaged. Delete it, and sign the bundle again: "
            "fer-edge sign BUNDLE --key KEY"
        ) from error
    return signatures


def load_keys(trusted: Sequence[Key]) -> tuple[bytes, ...]:
    """Read public keys once, so that later checks need no file.

    Args:
        trusted: Public keys, as PEM files or bytes.

    Raises:
        InputError: A key is no Ed25519 public key, or there is none. An empty list is an error:
            it would accept every bundle or none, and both surprise.
        MissingDependencyError: The ``sign`` extra is not installed.
    """
    if isinstance(trusted, str | bytes | Path):
        raise InputError("expected a list of trusted keys, got a single one. Put it into a list")
    if not isinstance(trusted, Sequence):
        raise InputError(f"expected a list of trusted keys, got {type(trusted).__name__}")
    if not trusted:
        raise InputError("expected at least one trusted key, got none. Name a public key file")
    pems = tuple(_pem(key) for key in trusted)
    for key, pem in zip(trusted, pems, strict=True):
        _public_key(pem, _name(key))
    return pems


def verify_manifest(
    manifest: bytes, signatures: Sequence[Signature], trusted: Sequence[Key], name: str
) -> str:
    """Return the id of the first trusted key that signed the manifest.

    Args:
        manifest: Bytes of ``bundle.json``.
        signatures: Signatures of the bundle, from read_signatures.
        trusted: Public keys that are accepted, as PEM files or bytes.
        name: Name of the bundle, for messages.

    Raises:
        BundleError: The bundle is unsigned, was changed after it was signed, or was signed by
            other keys only.
        InputError: A trusted key is not an Ed25519 public key, or none is given.
        MissingDependencyError: The ``sign`` extra is not installed.
    """
    keys = {_key_id(key): key for key in map(_public_key, load_keys(trusted))}

    from cryptography.exceptions import InvalidSignature

    if not signatures:
        raise BundleError(
            f"{name} is not signed, and only signed bundles are accepted. "
            "Sign it: fer-edge sign BUNDLE --key KEY"
        )
    changed = False
    for signature in signatures:
        if signature.key_id not in keys:
            continue
        try:
            keys[signature.key_id].verify(signature.value, _message(manifest))
        except InvalidSignature:
            changed = True
            continue
        return signature.key_id
    if changed:
        raise BundleError(f"{name} was changed after it was signed. Get the bundle again")
    signers = ", ".join(signature.key_id for signature in signatures)
    raise BundleError(
        f"{name} is signed by {signers}, and trusted are {', '.join(keys)}. "
        "Have it signed by a trusted key: fer-edge sign BUNDLE --key KEY"
    )


def _message(manifest: bytes) -> bytes:
    return _CONTEXT + hashlib.sha256(manifest).digest()


def _parsed(row: Any) -> Signature:
    if row["algorithm"] != "ed25519" or not isinstance(row["key_id"], str):
        raise ValueError
    try:
        value = base64.b64decode(row["value"], validate=True)
    except binascii.Error as error:
        raise ValueError from error
    if len(value) != 64 or not _KEY_ID.fullmatch(row["key_id"]):
        raise ValueError
    return Signature(row["key_id"], value)


def _key_id(key: Ed25519PublicKey) -> str:
    return hashlib.sha256(key.public_bytes_raw()).hexdigest()[:16]


def _private_key(key: Key) -> Ed25519PrivateKey:
    ed25519, serialization = _library()
    unreadable = _unreadable()
    try:
        loaded = serialization.load_pem_private_key(_pem(key), password=None)
    except unreadable as error:
        raise InputError(
            f"{_name(key)} is not an unencrypted private key in PEM form. {_MAKE_PAIR}"
        ) from error
    if not isinstance(loaded, ed25519.Ed25519PrivateKey):
        raise InputError(
            f"expected an Ed25519 private key, {_name(key)} is of another kind. {_MAKE_PAIR}"
        )
    return loaded  # type: ignore[no-any-return]


def _public_key(key: Key, name: str = "the key") -> Ed25519PublicKey:
    ed25519, serialization = _library()
    unreadable = _unreadable()
    try:
        loaded = serialization.load_pem_public_key(_pem(key))
    except unreadable as error:
        raise InputError(f"{name} is not a public key in PEM form. {_MAKE_PAIR}") from error
    if not isinstance(loaded, ed25519.Ed25519PublicKey):
        raise InputError(f"expected an Ed25519 public key, {name} is of another kind. {_MAKE_PAIR}")
    return loaded  # type: ignore[no-any-return]


def _pem(key: Key) -> bytes:
    if isinstance(key, bytes):
        return key
    if not isinstance(key, str | Path):
        raise InputError(f"expected a PEM file or its bytes as a key, got {type(key).__name__}")
    path = as_path(key, "the key")
    try:
        return read_plain(path, _MAX_KEY_BYTES, pipes=True)
    except OSError as error:
        advice = next_step(error, _MAKE_PAIR)
        raise InputError(f"cannot read the key {path}: {error.strerror}. {advice}") from error


def _name(key: Key) -> str:
    return "the key" if isinstance(key, bytes) else str(key)


def _unreadable() -> tuple[type[Exception], ...]:
    """Return what cryptography raises for keys that it cannot read, or does not know."""
    from cryptography.exceptions import UnsupportedAlgorithm

    return ValueError, TypeError, UnsupportedAlgorithm


def _library() -> tuple[Any, Any]:
    with needed("cryptography", "sign"):
        from cryptography.hazmat.primitives import serialization
        from cryptography.hazmat.primitives.asymmetric import ed25519
    return ed25519, serialization
