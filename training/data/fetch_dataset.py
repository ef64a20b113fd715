"""Data sets from their owners: downloaded where the terms allow it, else how to get them."""

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
"""A commit's name is the checksum of everything in it, and git checks it on arrival."""
FERPLUS_ROWS = {"train": 28_709, "val": 3_589, "test": 3_589}
"""Training, PublicTest and PrivateTest rows of FER2013, as its challenge counted them."""

HOW = {
    "fer2013": (
        "FER2013 may be had from Kaggle by those who accept the challenge's rules: "
        "https://www.kaggle.com/c/challenges-in-representation-learning-facial-expression-"
        "recognition-challenge/data. Put fer2013.csv into a folder, and beside it what "
        "'fer-edge data fetch ferplus' gets"
    ),
    "affectnet": (
        "AffectNet is for research only, and lab managers or professors ask for it with a signed "
        "agreement: http://mohammadmahoor.com/affectnet/"
    ),
    "raf-db": (
        "RAF-DB is for non-commercial research only, and its owners are asked for it: "
        "http://www.whdeng.cn/raf/model1.html"
    ),
    "kmu-fed": (
        "KMU-FED is free for academic research only, from its owner's page: "
        "https://cvpr.kmu.ac.kr/KMU-FED.htm"
    ),
}
"""What cannot be downloaded for somebody else, and how to get it."""
NAMES = ("ferplus", *HOW)


def fetch_dataset(
    name: str,
    folder: Path,
    say: Say,
    *,
    url: str = FERPLUS_URL,
    commit: str = FERPLUS_COMMIT,
) -> Path:
    """Download a data set into ``folder``; gives the file.

    Only FER+'s votes (MIT) may be downloaded by a program: with git, at one commit. Raises
    DataError for every other name, with how to get it, and if the download fails or is not it.
    """
    if name in HOW:
        raise DataError(
            f"{HOW[name]}. It is not downloaded here, because its terms do not allow it"
        )
    if name not in NAMES:
        raise DataError(f"expected one of {', '.join(NAMES)}, got {name!r}")
    out = folder / FILE
    if out.exists():
        raise DataError(f"{out} exists already. Remove it first")
    say(f"Downloading {FILE} from {url} (MIT, Microsoft) at commit {commit[:12]}")
    data = _git_file(url, commit, FILE)
    try:
        fill_file(out, lambda path: _checked(path, data))
    except OSError as error:
        raise DataError(f"cannot write {out}: {error.strerror or error}") from error
    return out


def _checked(path: Path, data: bytes) -> None:
    path.write_bytes(data)
    rows = Counter(part for part, _ in read_votes(path))
    if rows != FERPLUS_ROWS:
        raise DataError(f"expected FER+'s votes for {FERPLUS_ROWS}, the download has {dict(rows)}")


def _git_file(url: str, commit: str, name: str) -> bytes:
    """One file of a repository at a commit."""
    with tempfile.TemporaryDirectory() as folder:
        _git(folder, "init", "--quiet", "--bare")
        _git(folder, "fetch", "--quiet", "--depth", "1", url, commit)
        return _git(folder, "cat-file", "blob", f"{commit}:{name}")


def _git(folder: str, *arguments: str) -> bytes:
    try:
        done = subprocess.run(
            ["git", *arguments],
            cwd=folder,
            capture_output=True,
            check=True,
            timeout=300,
            env={**os.environ, "GIT_TERMINAL_PROMPT": "0"},
        )
    except FileNotFoundError as error:
        raise DataError("git is needed to download and check FER+, and is not installed") from error
    except subprocess.TimeoutExpired as error:
        raise DataError("the download took longer than five minutes. Try again") from error
    except subprocess.CalledProcessError as error:
        why = error.stderr.decode("utf-8", "replace").strip().splitlines()
        raise DataError(
            f"cannot download with git: {why[-1] if why else error}. It needs the network; or get "
            f"{FILE} by hand from {FERPLUS_URL}"
        ) from error
    return done.stdout
