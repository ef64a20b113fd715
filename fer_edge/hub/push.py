"""Push of a model as one commit."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from fer_edge.bundle import MANIFEST, open_bundle
from fer_edge.errors import InputError
from fer_edge.hub.card import MARK, hub_card
from fer_edge.hub.client import api, endpoint, library, no_repository, sentences
from fer_edge.hub.model import Kind, Transfer, check, kind_of
from fer_edge.paths import as_path, is_litter
from fer_edge.plain_file import is_file
from fer_edge.progress import Step, silent
from fer_edge.signing import SIGNATURES

_CARD = "README.md"


def push(
    path: str | Path,
    repo: str,
    *,
    licence: str | None = None,
    private: bool = False,
    revision: str | None = None,
    message: str | None = None,
    step: Step = silent,
) -> Transfer:
    """Push a bundle or a checkpoint to the Hugging Face Hub, as one commit.

    The repository is created if it does not exist. Files of an older push are replaced, and others
    stay. A model card, README.md, is written unless the repository has one of its own.

    Args:
        path: ``.fer`` bundle or checkpoint folder; it is checked first.
        repo: Repository, ``OWNER/NAME``.
        licence: Licence of the weights, an identifier of the Hub such as ``mit``; None takes the
            one in the checkpoint's card.
        private: Create a private repository; a public one is refused.
        revision: Branch to push to; None is the main branch.
        message: First line of the commit.
        step: Receives progress.

    Returns:
        The commit and what it holds.

    Raises:
        InputError: The path is neither bundle nor checkpoint, or the Hub refuses the push.
        BundleError: The bundle is damaged.
        CheckpointError: The checkpoint is damaged.
        MissingDependencyError: The ``hub`` extra is not installed.
    """
    path = as_path(path, "the model")
    if (
        not isinstance(repo, str) or "/" not in repo
    ):  # the Hub would create it, and find it under the owner's name only
        raise InputError(no_repository(repo))
    hub = library()
    kind = kind_of(path)
    check(kind, path, None)
    files = sorted(_files(kind, path))
    card = hub_card(repo, kind, path, licence).encode()
    with sentences(repo, revision):
        client = api(hub)
        client.create_repo(repo, private=private or None, exist_ok=True)
        info = client.model_info(repo, revision=revision)
        if private and info.private is False:
            raise InputError(
                f"{repo} is public, so nothing was pushed. Make it private on the Hub, or choose "
                "another name"
            )
        present = [file.rfilename for file in info.siblings or ()]
        operations: list[Any] = [
            hub.CommitOperationAdd(f"{kind}/{name}", str(path / name)) for name in files
        ]
        new = {operation.path_in_repo for operation in operations}
        operations += [
            hub.CommitOperationDelete(name)
            for name in present
            if name.startswith(f"{kind}/") and name not in new
        ]
        if _may_write_card(hub, repo, info.sha, present):
            operations.append(hub.CommitOperationAdd(_CARD, card))
        step(f"pushing to {repo}", 0, len(files))
        commit = client.create_commit(
            repo,
            operations,
            commit_message=message or f"Add the {kind} {path.name}",
            revision=revision,
            parent_commit=info.sha,
        )
        step(f"pushing to {repo}", len(files), len(files))
    size = sum((path / name).stat().st_size for name in files)
    return Transfer(repo, kind, str(commit.oid), path, len(files), size)


def _files(kind: Kind, path: Path) -> Iterator[str]:
    """Yield the files that belong to a model, and nothing that lies beside them."""
    if kind == "checkpoint":
        yield from _plain_files(path)
        return
    yield MANIFEST
    yield from {file.path for file in open_bundle(path).files}
    if is_file(path / SIGNATURES):
        yield SIGNATURES


def _plain_files(path: Path) -> Iterator[str]:
    for entry in path.rglob("*"):
        relative = entry.relative_to(path)
        if any(part.startswith(".") or is_litter(part) for part in relative.parts):
            continue
        name = relative.as_posix()
        if entry.is_symlink():
            raise InputError(f"expected plain files in {path}, found a link: {name}. Copy it there")
        if entry.is_file():
            yield name


def _may_write_card(hub: Any, repo: str, sha: str, present: Sequence[str]) -> bool:
    """Return True if README.md is missing or was written by push."""
    if _CARD not in present:
        return True
    stored = hub.hf_hub_download(repo, _CARD, revision=sha, endpoint=endpoint())
    return MARK in Path(stored).read_text("utf-8", errors="replace")
