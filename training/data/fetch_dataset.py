"""Downloads of data sets, or instructions where terms forbid them."""

from __future__ import annotations

import os
import subprocess
import tempfile
from collections import Counter
from pathlib import Path

from fer_edge.atomic import fill_file
from fer_edge.errors import DataError
from fer_edge.progress import Say
from fer_edge.training.data.ferplus import FILE, read_votes

FERPLUS_URL = "https://github.com/microsoft/FERPlus"
FERPLUS_COMMIT = "8ad5426c7b69e86e78afccb42c5f516850f52a28"
"""Commit to download. Its name is a checksum of its content, which git verifies."""
FERPLUS_ROWS = {"train": 28_709, "val": 3_589, "test": 3_589}
"""Rows of FER2013 by part: Training, PublicTest and PrivateTest of its challenge."""

HOW = {
    "fer2013": (
        "Get FER2013 from Kaggle after accepting the challenge's rules: "
        "https://www.kaggle.com/c/challenges-in-representation-learning-facial-expression-"
        "recognition-challenge/data. Put fer2013.csv into a folder, and add the FER+ votes with "
        "'fer-edge data fetch ferplus -o FOLDER'"
    ),
    "affectnet": (
        "AffectNet is for research only; a lab manager or professor requests it with a signed "
        "agreement: http://mohammadmahoor.com/affectnet/"
    ),
    "raf-db": (
        "RAF-DB is for non-commercial research only; request it from its owners: "
        "http://www.whdeng.cn/raf/model1.html"
    ),
    "kmu-fed": (
        "KMU-FED is free for academic research only; download it from its owner's page: "
        "https://cvpr.kmu.ac.kr/KMU-FED.htm"
    ),
}
"""Instructions for data sets that their owners alone give out, by name."""
_OF_A_REPOSITORY = {
    *("GIT_ALTERNATE_OBJECT_DIRECTORIES", "GIT_COMMON_DIR", "GIT_DIR", "GIT_GRAFT_FILE"),
    "GIT_IMPLICIT_WORK_TREE",
    *("GIT_INDEX_FILE", "GIT_INTERNAL_SUPER_PREFIX", "GIT_NAMESPACE", "GIT_NO_REPLACE_OBJECTS"),
    *("GIT_OBJECT_DIRECTORY", "GIT_PREFIX", "GIT_REPLACE_REF_BASE", "GIT_SHALLOW_FILE"),
    "GIT_WORK_TREE",
}
"""Variables that name the user's repository, as ``git rev-parse --local-env-vars`` lists them.

The settings in ``GIT_CONFIG_*`` stay: a proxy or a mirror of a CI may be among them.
"""
NAMES = ("ferplus", *HOW)
"""All names that ``fetch_dataset`` accepts."""


def fetch_dataset(
    name: str,
    folder: Path,
    say: Say,
    *,
    url: str = FERPLUS_URL,
    commit: str = FERPLUS_COMMIT,
) -> Path:
    """Download a data set, or explain how to get it.

    Only FER+'s votes (MIT) may be downloaded by a program: with git, at one commit.

    Args:
        name: One of NAMES.
        folder: Folder for the file.
        say: Reports the download.
        url: Git repository of FER+.
        commit: Commit of the repository.

    Returns:
        The downloaded file.

    Raises:
        DataError: The terms do not allow a download (the message explains how to get the data
            set), the download fails, or its content is wrong.
    """
    if name in HOW:
        raise DataError(
            f"{HOW[name]}. fer-edge does not download it, because its terms do not allow it"
        )
    if name not in NAMES:
        raise DataError(f"expected one of {', '.join(NAMES)}, got {name!r}")
    out = folder / FILE
    if out.exists():
        raise DataError(f"{out} exists already. Remove it first")
    say(f"Downloading {FILE} from {url} (MIT, Microsoft) at commit {commit[:12]}")
    data = _git_file(url, commit, FILE)
    try:
        fill_file(out, lambda path: _write_checked(path, data))
    except OSError as error:
        raise DataError(
            f"cannot write {out}: {error.strerror or error}. Choose another folder"
        ) from error
    return out


def _write_checked(path: Path, data: bytes) -> None:
    path.write_bytes(data)
    rows = Counter(part for part, _ in read_votes(path))
    if rows != FERPLUS_ROWS:
        raise DataError(f"expected FER+'s votes for {FERPLUS_ROWS}, the download has {dict(rows)}")


def _git_file(url: str, commit: str, name: str) -> bytes:
    """Return one file of a repository at a commit."""
    with tempfile.TemporaryDirectory() as folder:
        _git(folder, "init", "--quiet", "--bare")
        _git(folder, "fetch", "--quiet", "--depth", "1", url, commit)
        return _git(folder, "cat-file", "blob", f"{commit}:{name}")


def _environment() -> dict[str, str]:
    """Return the variables for git: those for the network, none of another repository.

    Hooks and some CI set ``GIT_DIR``, and ``git init`` would change that repository.
    """
    kept = {key: value for key, value in os.environ.items() if key not in _OF_A_REPOSITORY}
    return {**kept, "GIT_TERMINAL_PROMPT": "0"}


def _git(folder: str, *arguments: str) -> bytes:
    try:
        done = subprocess.run(
            ["git", *arguments],
            cwd=folder,
            capture_output=True,
            check=True,
            timeout=300,
            env=_environment(),
        )
    except FileNotFoundError as error:
        raise DataError("git is not installed: install it to download FER+") from error
    except subprocess.TimeoutExpired as error:
        raise DataError("the download took longer than five minutes. Try again") from error
    except subprocess.CalledProcessError as error:
        why = error.stderr.decode("utf-8", "replace").strip().splitlines()
        raise DataError(
            f"cannot download with git: {why[-1] if why else error}. Check the network, or get "
            f"{FILE} by hand from {FERPLUS_URL}"
        ) from error
    return done.stdout
