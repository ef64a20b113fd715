"""Downloads are checked; datasets without one get instructions."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from fer_edge.errors import DataError
from fer_edge.training.data import fetch_dataset as module
from fer_edge.training.data.ferplus import read_votes
from fer_edge.training.data.fetch_dataset import HOW, fetch_dataset

HEAD = "Usage,Image name,neutral,happiness,surprise,sadness,anger,disgust,fear,contempt,unknown,NF"


def git(folder: Path, *arguments: str) -> str:
    identity = ["-c", "user.name=t", "-c", "user.email=t@example.org"]
    done = subprocess.run(
        ["git", *identity, *arguments], cwd=folder, check=True, capture_output=True, text=True
    )
    return done.stdout.strip()


@pytest.fixture
def repository(tmp_path: Path) -> tuple[str, str]:
    """A real repository in the form of FER+'s, and its commit."""
    folder = tmp_path / "FERPlus"
    folder.mkdir()
    rows = ["Training,fer0.png,8,0,0,0,0,0,0,0,0,2", "PublicTest,,0,0,0,0,0,0,0,0,0,10"]
    rows += ["PrivateTest,fer2.png,0,0,0,0,0,0,10,0,0,0"]
    (folder / "fer2013new.csv").write_text("\n".join([HEAD, *rows, ""]))
    git(folder, "init", "--quiet")
    git(folder, "config", "uploadpack.allowAnySHA1InWant", "true")
    git(folder, "add", ".")
    git(folder, "commit", "--quiet", "-m", "votes")
    return folder.as_uri(), git(folder, "rev-parse", "HEAD")


def test_the_votes_are_fetched_at_a_commit_and_counted(
    tmp_path: Path, repository: tuple[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "FERPLUS_ROWS", {"train": 1, "val": 1, "test": 1})
    said: list[str] = []
    url, commit = repository
    path = fetch_dataset("ferplus", tmp_path / "out", said.append, url=url, commit=commit)
    assert [part for part, _ in read_votes(path)] == ["train", "val", "test"]
    assert url in said[0]
    with pytest.raises(DataError, match="exists already"):
        fetch_dataset("ferplus", tmp_path / "out", said.append, url=url, commit=commit)


def test_a_repository_that_the_environment_names_is_left_alone(
    tmp_path: Path, repository: tuple[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Hooks of git run with such variables."""
    monkeypatch.setattr(module, "FERPLUS_ROWS", {"train": 1, "val": 1, "test": 1})
    mine = tmp_path / "mine"
    mine.mkdir()
    git(mine, "init", "--quiet")
    before = {path: path.read_bytes() for path in mine.rglob("*") if path.is_file()}
    for name, value in {
        "GIT_DIR": str(mine / ".git"),
        "GIT_WORK_TREE": str(mine),
        "GIT_INDEX_FILE": str(mine / ".git" / "index"),
        "GIT_OBJECT_DIRECTORY": str(mine / ".git" / "objects"),
        "GIT_CONFIG_PARAMETERS": "'core.worktree'='/nowhere'",
    }.items():
        monkeypatch.setenv(name, value)
    url, commit = repository
    fetch_dataset("ferplus", tmp_path / "out", print, url=url, commit=commit)
    assert {path: path.read_bytes() for path in mine.rglob("*") if path.is_file()} == before


def test_variables_of_the_network_reach_git(monkeypatch: pytest.MonkeyPatch) -> None:
    listed = subprocess.run(
        ["git", "rev-parse", "--local-env-vars"], capture_output=True, text=True
    )
    network = {"GIT_SSL_CAINFO": "/ca.pem", "GIT_SSH_COMMAND": "ssh -4", "https_proxy": "http://p"}
    for name, value in {**dict.fromkeys(listed.stdout.split(), "x"), **network}.items():
        monkeypatch.setenv(name, value)
    environment = module._environment()
    assert network.items() <= environment.items()
    left = set(listed.stdout.split()) & set(environment)
    assert all(name.startswith("GIT_CONFIG") for name in left)


def test_a_mirror_in_the_environment_is_used(
    tmp_path: Path, repository: tuple[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """CI sets proxies and mirrors in this way."""
    monkeypatch.setattr(module, "FERPLUS_ROWS", {"train": 1, "val": 1, "test": 1})
    mirrored = "https://nowhere.invalid/votes"
    monkeypatch.setenv("GIT_CONFIG_COUNT", "1")
    monkeypatch.setenv("GIT_CONFIG_KEY_0", f"url.{repository[0]}.insteadOf")
    monkeypatch.setenv("GIT_CONFIG_VALUE_0", mirrored)
    path = fetch_dataset("ferplus", tmp_path, print, url=mirrored, commit=repository[1])
    assert path.is_file()


def test_what_is_not_ferplus_is_not_kept(tmp_path: Path, repository: tuple[str, str]) -> None:
    url, commit = repository
    with pytest.raises(DataError, match="28709"):
        fetch_dataset("ferplus", tmp_path / "out", print, url=url, commit=commit)
    assert list((tmp_path / "out").iterdir()) == []


def test_another_commit_is_refused(tmp_path: Path, repository: tuple[str, str]) -> None:
    with pytest.raises(DataError, match=r"cannot download with git.*by hand"):
        fetch_dataset("ferplus", tmp_path / "out", print, url=repository[0], commit="0" * 39 + "1")


def test_a_host_that_does_not_answer_is_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="Check the network"):
        fetch_dataset("ferplus", tmp_path, print, url=(tmp_path / "nowhere").as_uri())


@pytest.mark.parametrize("name", sorted(HOW))
def test_the_others_are_explained(tmp_path: Path, name: str) -> None:
    with pytest.raises(DataError, match=r"http.*terms do not allow"):
        fetch_dataset(name, tmp_path, print)
    assert list(tmp_path.iterdir()) == []


def test_an_unknown_name_lists_the_known_ones(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="affectnet"):
        fetch_dataset("imagenet", tmp_path, print)
