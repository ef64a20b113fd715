"""Models that a repository holds: their kinds, files and checks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from fer_edge.bundle import MANIFEST, open_bundle
from fer_edge.errors import InputError
from fer_edge.paths import as_path
from fer_edge.plain_file import is_file
from fer_edge.signing import Key

Kind = Literal["bundle", "checkpoint"]

KINDS: tuple[Kind, ...] = ("bundle", "checkpoint")
"""Kinds of models; a repository holds each in a folder of that name."""
MANIFESTS = {"bundle": MANIFEST, "checkpoint": "card.json"}
"""File that each kind has, by kind."""


@dataclass(frozen=True)
class Transfer:
    """A finished push or pull.

    Attributes:
        repo: Repository, ``OWNER/NAME``.
        kind: ``bundle`` or ``checkpoint``.
        revision: Commit, as 40 hexadecimal digits.
        path: Folder on this machine.
        files: Number of files.
        size: Bytes of all files.
        signed_by: Id of the trusted key that signed the bundle; empty if no key was asked for.
    """

    repo: str
    kind: Kind
    revision: str
    path: Path
    files: int
    size: int
    signed_by: str = ""


def kind_of(path: str | Path) -> Kind:
    """Return what a folder holds. Raises InputError for anything else."""
    path = as_path(path, "the model")
    for kind in KINDS:
        if is_file(path / MANIFESTS[kind]):
            return kind
    raise InputError(
        f"expected a bundle (NAME.fer) or a checkpoint folder at {path}, found neither. "
        "fer-edge convert writes bundles, and fer-edge train writes checkpoints, in RUN/best"
    )


def check(kind: Kind, path: Path, trusted_keys: Sequence[Key] | None) -> str:
    """Check a complete model; return the id of the key that signed it."""
    if kind == "bundle":
        bundle = open_bundle(path, trusted_keys)
        for variant in bundle.variants:
            bundle.read(variant)  # checks what the models refer to
        return bundle.signed_by
    from fer_edge.training.checkpoint import load_checkpoint

    load_checkpoint(path)
    return ""
