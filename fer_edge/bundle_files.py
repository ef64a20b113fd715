"""Files of a bundle on disk, checked against its manifest."""

from __future__ import annotations

import difflib
import hashlib
import os
import shlex
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path

from fer_edge.errors import BundleError, next_step
from fer_edge.paths import is_litter
from fer_edge.plain_file import read_plain
from fer_edge.shipped import MODELS, is_shipped
from fer_edge.shown import shown

MANIFEST = "bundle.json"
MAX_MANIFEST_BYTES = 4 * 1024 * 1024
_CONVERT = "fer-edge convert CHECKPOINT --target openvino -o NAME.fer"
_MOST_ENTRIES = 10_000
"""Largest number of entries in a bundle's folder. ``fer-edge convert`` writes about 20."""
_MOST_DEPTH = 8
"""Deepest folder that is looked at. A bundle's folders are one level deep."""
_SHOWN_NAMES = 5
"""Largest number of unlisted files that a message names."""


@dataclass(frozen=True)
class BundleFile:
    """One listed file.

    Attributes:
        path: Path inside the bundle, ``folder/name``.
        sha256: SHA-256 of the content, in lower-case hexadecimal.
        bytes: Size in bytes.
    """

    path: str
    sha256: str
    bytes: int


def listed(path: str, data: bytes) -> BundleFile:
    """List a file with its size and SHA-256.

    Args:
        path: Path inside the bundle, ``folder/name``.
        data: Content of the file.
    """
    return BundleFile(path, hashlib.sha256(data).hexdigest(), len(data))


def read_manifest(root: Path) -> bytes:
    """Read a bundle's manifest. Raises BundleError if it is not a plain file of at most 4 MiB."""
    manifest = root / MANIFEST
    try:
        if not root.is_dir():
            raise _no_bundle(root)
        check_plain(manifest, root)
        if not manifest.is_file():
            raise _no_manifest(root)
        if manifest.stat().st_size > MAX_MANIFEST_BYTES:
            raise BundleError(
                f"expected a {MANIFEST} of at most 4 MiB in {root}. Copy the bundle again"
            )
        return read_plain(manifest, MAX_MANIFEST_BYTES)
    except OSError as error:
        raise BundleError(
            f"cannot read {manifest}: {error.strerror}. "
            f"{next_step(error, 'Check the path, or copy the bundle again')}"
        ) from error


def _no_bundle(root: Path) -> BundleError:
    if is_shipped(root):
        return BundleError(
            f"expected the model that ships with fer-edge at {root}, found none. A frozen program "
            "must collect it: pyinstaller --collect-data fer_edge (a zip cannot hold it). "
            "Elsewhere, install again: pip install --force-reinstall fer-edge"
        )
    if root.name == MANIFEST and root.exists():
        return BundleError(
            f"expected a bundle's folder, but {root} is a file in it. Name the folder {root.parent}"
        )
    if root.exists():
        return BundleError(
            f"expected a bundle's folder, but {root} is a file. Name a folder NAME.fer, or the "
            f"shipped model {' or '.join(MODELS)}"
        )
    is_bare = root.parent == Path()
    name = root.name.lower().removesuffix(".fer") if is_bare else ""
    near = difflib.get_close_matches(name, MODELS, n=1, cutoff=0.75)
    shipped = (
        f"For the model that ships with fer-edge, give the name {near[0]} alone"
        if near
        else f"Name the shipped model {' or '.join(MODELS)}"
    )
    return BundleError(
        f"expected a bundle folder at {root}, found none. {shipped}, or build a bundle: {_CONVERT}"
    )


def _no_manifest(root: Path) -> BundleError:
    if (root / "card.json").is_file():
        return BundleError(
            f"expected a bundle, but {root} is a checkpoint. Convert it: "
            f"{_CONVERT.replace('CHECKPOINT', shlex.quote(str(root)))}"
        )
    return BundleError(
        f"expected a bundle, but the folder {root} has no file {MANIFEST}. Name a folder "
        "NAME.fer, or copy the bundle again"
    )


def read_checked(root: Path, file: BundleFile) -> bytes:
    """Read a listed file.

    Raises BundleError if the file is missing or differs from its listing.
    """
    path = root / file.path
    try:
        size = path.stat().st_size
        data = read_plain(path, size) if size == file.bytes else b""
    except OSError as error:
        raise _unreadable(path, error) from error
    if size != file.bytes or hashlib.sha256(data).hexdigest() != file.sha256:
        raise BundleError(
            f"{path} is not the file that the bundle lists (size or SHA-256 differs). "
            "Copy the bundle again from where it was built"
        )
    return data


def _unreadable(path: Path | str, error: OSError) -> BundleError:
    advice = next_step(error, "Copy the bundle again")
    return BundleError(f"cannot read {path}: {error.strerror}. {advice}")


def check_plain(path: Path, bundle: Path) -> None:
    """Raise BundleError for a link, a device or a pipe."""
    if path.is_symlink():
        raise BundleError(
            f"{path} is a link, and a link can lead out of the bundle. Copy the bundle with what "
            f"its links point to: cp -rL {shlex.quote(str(bundle))} COPY.fer"
        )
    if path.exists() and not (path.is_file() or path.is_dir()):
        raise BundleError(
            f"{path} is a device or a pipe, and a bundle holds plain files. Delete it"
        )


def check_listing(root: Path, paths: Collection[str], optional: Collection[str] = ()) -> None:
    """Compare the files of a bundle with its listing.

    Litter of file managers, file servers and editors is passed over, and never read.

    Args:
        root: Folder of the bundle.
        paths: Path of each listed file.
        optional: Unlisted files that may be there.

    Raises:
        BundleError: A file is missing, is not listed, or is a link, a device or a pipe.
    """
    present: set[str] = set()
    try:
        for entry in _entries(root, paths):
            check_plain(entry, root)
            if entry.is_file():
                present.add(entry.relative_to(root).as_posix())
    except OSError as error:
        raise _unreadable(error.filename, error) from error
    if unlisted := sorted(present - {*paths, *optional}):
        names = ", ".join(
            name if name.isprintable() else shown(name) for name in unlisted[:_SHOWN_NAMES]
        )
        more = len(unlisted) - _SHOWN_NAMES
        raise BundleError(
            f"{root} holds files that it does not list: {names}"
            f"{f' and {more} more' if more > 0 else ''}. Delete them, or copy the bundle again"
        )
    if missing := sorted(set(paths) - present):
        raise BundleError(
            f"{root} lacks {', '.join(missing)}. Copy it again from where it was built"
        )


def _entries(root: Path, paths: Collection[str]) -> Iterator[Path]:
    """Yield every entry below a folder, without litter. Links are not followed."""

    def fail(error: OSError) -> None:
        raise error

    count = 0
    for folder, folders, files in os.walk(root, onerror=fail):
        if len(Path(folder).relative_to(root).parts) > _MOST_DEPTH:
            raise BundleError(
                f"{folder} is nested deeper than a bundle's folders. Delete it, or copy the bundle "
                "again"
            )
        folders[:] = [name for name in folders if not is_litter(name)]
        for name in (*folders, *files):
            count += 1
            if count > _MOST_ENTRIES:
                raise BundleError(
                    f"{root} holds more than {_MOST_ENTRIES:,} files. Copy the bundle again"
                )
            entry = Path(folder, name)
            if not is_litter(name) or entry.relative_to(root).as_posix() in paths:
                yield entry
