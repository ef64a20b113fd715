"""Pull of a model, checked before it is put in place."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from fer_edge.atomic import write_folder
from fer_edge.errors import BundleError, CheckpointError, InputError
from fer_edge.hub.client import api, endpoint, library, sentences
from fer_edge.hub.model import KINDS, MANIFESTS, Kind, Transfer, check
from fer_edge.out_folder import check_out_folder
from fer_edge.progress import Step, silent
from fer_edge.shown import shown
from fer_edge.signing import Key, load_keys

_MOST_FILES = 1000
_MOST_BYTES = 4 << 30
"""Largest size in bytes of a pulled model, as the Hub states it."""
_BESIDE = ("README.md", "LICENSE", *KINDS)
"""Entries at the root of a repository that are not part of a model there."""
_SHA = re.compile(r"[0-9a-f]{40}")


def pull(
    repo: str,
    out: Path,
    *,
    kind: Kind | None = None,
    revision: str | None = None,
    trusted_keys: Sequence[Key] | None = None,
    step: Step = silent,
) -> Transfer:
    """Pull a bundle or a checkpoint from the Hugging Face Hub, and check it.

    ``out`` is written in one step, after all checks. The commit is looked up once, and every file
    is of this commit.

    Args:
        repo: Repository, ``OWNER/NAME``.
        out: Folder to write; an older bundle or checkpoint there is replaced.
        kind: ``bundle`` or ``checkpoint``; None takes the one that the repository holds, and of
            both a bundle for a name that ends in ``.fer``.
        revision: Branch, tag or commit; None is the main branch. Only a commit always gives the
            same files.
        trusted_keys: Public keys; one of them must have signed the bundle.
        step: Receives progress.

    Returns:
        The commit and what was written.

    Raises:
        InputError: The Hub cannot be reached or has no such model, a key cannot be read, or ``out``
            is another folder.
        BundleError: The bundle is damaged, unsigned or signed by others, or a file differs.
        CheckpointError: The checkpoint is damaged, or a file differs.
        MissingDependencyError: The ``hub`` or the ``sign`` extra is not installed.
    """
    keys = None if trusted_keys is None else load_keys(trusted_keys)  # before gigabytes are pulled
    hub = library()
    with sentences(repo, revision):
        info = api(hub).model_info(repo, revision=revision, files_metadata=True)
    sha = str(info.sha)
    if not _SHA.fullmatch(sha):
        raise InputError(f"expected a commit of {repo}, the Hub answered {shown(sha)}. Try again")
    kind, root, siblings = _model_in(repo, info.siblings or (), kind, out)
    if keys is not None and kind == "checkpoint":
        raise InputError(
            f"{repo} holds a checkpoint, and only bundles are signed. Pull it without a trusted key"
        )
    _check_out(kind, out)
    result: list[str] = []

    def fill(temporary: Path) -> None:
        for i, file in enumerate(siblings):
            step(f"pulling {repo}", i, len(siblings))
            data = _fetched(hub, repo, sha, file)
            _check_hash(repo, sha, kind, file, data)
            target = temporary / file.rfilename.removeprefix(root)
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(data)
        step(f"pulling {repo}", len(siblings), len(siblings))
        try:
            result.append(check(kind, temporary, keys))
        except (BundleError, CheckpointError) as error:
            text = str(error).replace(str(temporary), f"{repo} at {sha[:12]}")
            raise type(error)(f"nothing was written to {out}: {text}") from error

    try:
        write_folder(out, fill)
    except OSError as error:
        raise InputError(
            f"cannot write {out}: {error.strerror or error}. Choose another path"
        ) from error
    size = sum(file.stat().st_size for file in out.rglob("*") if file.is_file())
    return Transfer(repo, kind, sha, out, len(siblings), size, result[0])


def _fetched(hub: Any, repo: str, sha: str, file: Any) -> bytes:
    """Return a file of a commit. The client keeps it in its cache."""
    with sentences(repo, sha):
        stored = hub.hf_hub_download(
            repo, file.rfilename, revision=sha, endpoint=endpoint(), library_name="fer-edge"
        )
    return Path(stored).read_bytes()


def _model_in(
    repo: str, siblings: Sequence[Any], kind: Kind | None, out: Path
) -> tuple[Kind, str, list[Any]]:
    """Return kind, folder and files of the model in a repository."""
    names = [file.rfilename for file in siblings]
    for name in names:
        _check_name(repo, name)
    roots = {
        one: root for one in KINDS for root in ("", f"{one}/") if f"{root}{MANIFESTS[one]}" in names
    }
    if kind is None and roots:
        preferred: Kind = "bundle" if out.suffix == ".fer" else "checkpoint"
        kind = preferred if preferred in roots else next(iter(roots))
    if kind is None or kind not in roots:
        raise InputError(
            f"{repo} holds no {kind or 'bundle or checkpoint'} of fer-edge. Expected "
            f"{' or '.join(f'{one}/{MANIFESTS[one]}' for one in KINDS)}. Look at its files on the "
            "Hub; other networks are read by fer-edge import"
        )
    root = roots[kind]
    files = [f for f in siblings if f.rfilename.startswith(root) and _belongs(f.rfilename, root)]
    size = sum(file.size or 0 for file in files)
    if len(files) > _MOST_FILES or size > _MOST_BYTES:
        raise InputError(
            f"{repo} states {len(files):,} files of {size / 1e9:.1f} GB, more than any model has"
        )
    return kind, root, files


def _belongs(name: str, root: str) -> bool:
    """Return True for a file of the model. The root of a repository has others as well."""
    if root:
        return True
    return not any(part.startswith(".") for part in name.split("/")) and (
        name.partition("/")[0] not in _BESIDE
    )


def _check_name(repo: str, name: str) -> None:
    """Raise BundleError for a name that leads out of a folder, on any system."""
    parts = name.split("/")
    bad = any(not part or (part != part.strip(". ") and part.strip(". ") == "") for part in parts)
    if bad or re.search(r'[\\:\x00-\x1f\x7f<>"|?*]', name) or len(name) > 500:
        raise BundleError(
            f"{repo} names a file {shown(name)}, which leads out of its folder: nothing was "
            "written. Do not use this repository"
        )


def _check_hash(repo: str, sha: str, kind: Kind, file: Any, data: bytes) -> None:
    """Compare a file's size and hash with those that the Hub states.

    The hash is its SHA-256 or git's.
    """
    lfs = file.lfs
    if lfs is not None:
        same = hashlib.sha256(data).hexdigest() == lfs.sha256
    elif file.blob_id:
        blob = b"blob %d\x00" % len(data) + data
        same = hashlib.sha1(blob, usedforsecurity=False).hexdigest() == file.blob_id
    else:
        same = file.size in (None, len(data))
    if not same:
        kind_of_error = BundleError if kind == "bundle" else CheckpointError
        raise kind_of_error(
            f"{repo} at {sha[:12]}: {shown(file.rfilename)} is not the file that the Hub states: "
            "nothing was written. Clear the cache (hf cache) and pull again"
        )


def _check_out(kind: Kind, out: Path) -> None:
    if kind == "bundle" and out.suffix != ".fer":
        raise InputError(
            f"expected a name that ends in .fer for a bundle, got {out}. Use -o NAME.fer"
        )
    check_out_folder(out, MANIFESTS[kind], kind)
