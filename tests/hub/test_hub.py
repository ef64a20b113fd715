"""Push and pull with huggingface_hub's client against a stand-in of the Hub."""

from __future__ import annotations

import errno
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from hub_server import REPO, Hub

from fer_edge.bundle import open_bundle
from fer_edge.errors import BundleError, CheckpointError, InputError
from fer_edge.hub import kind_of, pull, push
from fer_edge.shipped import DEFAULT_CHECKPOINT
from fer_edge.signing import add_signature, new_key_pair, sign_manifest


def tree(folder: Path) -> dict[str, bytes]:
    files = (file for file in folder.rglob("*") if file.is_file())
    return {file.relative_to(folder).as_posix(): file.read_bytes() for file in files}


def test_a_bundle_comes_back_as_it_went(hub: Hub, fake_bundle: Path, tmp_path: Path) -> None:
    pushed = push(fake_bundle, REPO)
    pulled = pull(REPO, tmp_path / "back.fer")
    assert tree(tmp_path / "back.fer") == tree(fake_bundle)
    assert pushed.revision == pulled.revision == hub.sha
    assert (pulled.kind, pulled.files) == ("bundle", len(tree(fake_bundle)))
    assert open_bundle(tmp_path / "back.fer").labels


def test_what_other_programs_left_in_a_bundle_is_not_pushed(
    hub: Hub, fake_bundle: Path, tmp_path: Path
) -> None:
    whole = tree(fake_bundle)
    for name in ("Icon\r", "Thumbs.db", "bundle.json~", "bundle.json:Zone.Identifier"):
        (fake_bundle / name).write_bytes(b"x")
    push(str(fake_bundle), REPO)
    pull(REPO, tmp_path / "back.fer")
    assert tree(tmp_path / "back.fer") == whole


@pytest.mark.parametrize(("path", "repo"), [(None, REPO), (5, REPO), ("x.fer", None)])
def test_a_wrong_argument_is_a_sentence(path: Any, repo: Any) -> None:
    with pytest.raises(InputError, match="expected"):
        push(path, repo)


def test_what_is_no_path_is_named_in_the_sentence() -> None:
    for use in (kind_of, lambda model: push(model, REPO)):
        with pytest.raises(InputError, match="expected the model as a path, got 5"):
            use(5)  # type: ignore[arg-type]


@pytest.mark.slow
def test_a_checkpoint_comes_back_as_it_went(hub: Hub, tmp_path: Path) -> None:
    push(DEFAULT_CHECKPOINT, REPO, licence="cc-by-nc-4.0")
    assert any(request.startswith("PUT /lfs/") for request in hub.requests)
    assert pull(REPO, tmp_path / "back").kind == "checkpoint"
    assert tree(tmp_path / "back") == tree(DEFAULT_CHECKPOINT)
    hub.change["checkpoint/model.safetensors"] = bytes(
        len(hub.files["checkpoint/model.safetensors"])
    )
    shutil.rmtree(tmp_path / "cache")
    with pytest.raises(CheckpointError, match="is not the file that the Hub states"):
        pull(REPO, tmp_path / "other")
    head = yaml.safe_load(hub.files["README.md"].split(b"---")[1])
    held_out = json.loads((DEFAULT_CHECKPOINT / "card.json").read_text())["held_out"]
    values = {m["type"]: m["value"] for m in head["model-index"][0]["results"][0]["metrics"]}
    assert values["accuracy"] == round(held_out["accuracy"], 4)
    assert head["license"] == "cc-by-nc-4.0"
    assert head["datasets"] == ["fer2013"]
    assert "checkpoint" in head["tags"]


def test_a_push_without_an_owner_creates_nothing(hub: Hub, fake_bundle: Path) -> None:
    with pytest.raises(InputError, match="like OWNER/NAME, got 'driver'"):
        push(fake_bundle, "driver")
    assert hub.requests == []


def test_a_push_to_a_revision_that_is_not_there_names_it(hub: Hub, fake_bundle: Path) -> None:
    push(fake_bundle, REPO)
    with pytest.raises(InputError, match="no revision 'v9'"):
        push(fake_bundle, REPO, revision="v9")


def test_one_repository_holds_both(hub: Hub, fake_bundle: Path, tmp_path: Path) -> None:
    push(fake_bundle, REPO)
    push(DEFAULT_CHECKPOINT, REPO)
    assert pull(REPO, tmp_path / "x.fer").kind == "bundle"
    assert pull(REPO, tmp_path / "x", kind="checkpoint").kind == "checkpoint"


def test_a_push_is_one_commit_that_replaces_the_older_files(hub: Hub, fake_bundle: Path) -> None:
    hub.commit({"notes.txt": b"mine", "bundle/old.onnx": b"old"})
    push(fake_bundle, REPO, message="Second")
    assert len(hub.commits) == 2
    assert hub.messages == ["Second"]
    assert "bundle/old.onnx" not in hub.files
    assert hub.files["notes.txt"] == b"mine"


def test_a_card_of_ones_own_stays(hub: Hub, fake_bundle: Path) -> None:
    hub.commit({"README.md": b"# My own words"})
    push(fake_bundle, REPO)
    assert hub.files["README.md"] == b"# My own words"


def test_a_card_of_push_is_replaced(hub: Hub, fake_bundle: Path) -> None:
    push(fake_bundle, REPO, licence="mit")
    push(fake_bundle, REPO, licence="My licence: [v1]\n---")
    head = yaml.safe_load(hub.files["README.md"].split(b"\n---\n")[0])
    assert head["license"] == "other"
    assert head["license_name"] == "My licence: [v1]\n---"


def test_an_older_commit_is_pulled_by_its_name(hub: Hub, fake_bundle: Path, tmp_path: Path) -> None:
    first = push(fake_bundle, REPO).revision
    hub.commit({"bundle/bundle.json": b"{}"})
    assert pull(REPO, tmp_path / "x.fer", revision=first).revision == first
    with pytest.raises(BundleError, match=f"nothing was written.*{REPO} at {hub.sha[:12]}"):
        pull(REPO, tmp_path / "x.fer")
    assert tree(tmp_path / "x.fer") == tree(fake_bundle), "the older one stays"
    assert {p.name for p in tmp_path.glob(".*")} == set()


def test_a_damaged_bundle_is_not_pushed(hub: Hub, fake_bundle: Path) -> None:
    (fake_bundle / "fake-fp32" / "answers.json").write_bytes(b"{}")
    with pytest.raises(BundleError):
        push(fake_bundle, REPO)
    assert hub.requests == []


def test_a_key_that_cannot_be_read_is_told_before_the_hub_is_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")  # nobody listens
    with pytest.raises(InputError, match=r"fleet\.pub"):
        pull(REPO, tmp_path / "x.fer", trusted_keys=[tmp_path / "fleet.pub"])


def test_only_a_trusted_signature_is_accepted(hub: Hub, fake_bundle: Path, tmp_path: Path) -> None:
    for name in ("fleet", "other"):
        new_key_pair(tmp_path / f"{name}.key", tmp_path / f"{name}.pub")
    push(fake_bundle, REPO)
    with pytest.raises(BundleError, match="not signed"):
        pull(REPO, tmp_path / "x.fer", trusted_keys=[tmp_path / "fleet.pub"])
    manifest = (fake_bundle / "bundle.json").read_bytes()
    add_signature(fake_bundle, sign_manifest(manifest, tmp_path / "fleet.key"))
    push(fake_bundle, REPO)
    with pytest.raises(BundleError, match="is signed by"):
        pull(REPO, tmp_path / "x.fer", trusted_keys=[tmp_path / "other.pub"])
    assert not (tmp_path / "x.fer").exists()
    assert pull(REPO, tmp_path / "x.fer", trusted_keys=[tmp_path / "fleet.pub"]).signed_by


def test_a_file_that_is_not_the_stated_one_is_refused(
    hub: Hub, fake_bundle: Path, tmp_path: Path
) -> None:
    push(fake_bundle, REPO)
    name = next(name for name in hub.files if name.endswith("answers.json"))
    hub.change[name] = b"x" * len(hub.files[name])
    with pytest.raises(BundleError, match="is not the file that the Hub states"):
        pull(REPO, tmp_path / "x.fer")
    assert not (tmp_path / "x.fer").exists()


@pytest.mark.parametrize(
    "name",
    ["../../evil", "bundle/../../evil", "/etc/evil", "bundle//x", "bundle/..", "C:evil",
     "bundle\\..\\evil", "bundle/\x00x", "bundle/nul:stream", "./x"],
)  # fmt: skip
def test_a_name_that_leads_out_is_refused(
    hub: Hub, fake_bundle: Path, tmp_path: Path, name: str
) -> None:
    push(fake_bundle, REPO)
    hub.stated = [name]
    requests = len(hub.requests)
    with pytest.raises(BundleError, match="leads out of its folder"):
        pull(REPO, tmp_path / "x.fer")
    assert len(hub.requests) == requests + 1, "no file was fetched"
    assert not (tmp_path / "x.fer").exists()


@pytest.mark.parametrize(
    ("pattern", "status", "headers", "words"),
    [
        ("GET /api", 401, {}, "private.*hf auth login"),
        ("GET /api", 401, {"X_Error_Code": "RepoNotFound"}, "private.*hf auth login"),
        ("GET /api", 403, {"X_Error_Code": "GatedRepo"}, "gated.*terms"),
        ("GET /api", 404, {"X_Error_Code": "RepoNotFound"}, "Check its name|no such repository"),
        ("GET /api", 404, {"X_Error_Code": "RevisionNotFound"}, "no revision"),
        ("GET /api", 429, {}, "Wait some minutes|answered 429"),
        ("resolve", 404, {"X_Error_Code": "EntryNotFound"}, "is missing on the Hub"),
        ("GET .*resolve", 416, {}, "Clear the cache"),
        ("GET .*resolve", 403, {}, "does not let you"),
    ],
)
def test_an_answer_of_the_hub_is_a_sentence(
    hub: Hub,
    fake_bundle: Path,
    tmp_path: Path,
    pattern: str,
    status: int,
    headers: dict[str, str],
    words: str,
) -> None:
    push(fake_bundle, REPO)
    hub.status[pattern], hub.headers = status, headers
    with pytest.raises(InputError, match=words):
        pull(REPO, tmp_path / "x.fer")
    assert not (tmp_path / "x.fer").exists()


def test_a_private_repository_opens_with_the_token(
    hub: Hub, fake_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    push(fake_bundle, REPO)
    hub.token = "hf_secret"
    with pytest.raises(InputError, match="private") as refused:
        pull(REPO, tmp_path / "x.fer")
    monkeypatch.setenv("HF_TOKEN", "hf_wrong")
    with pytest.raises(InputError) as refused:
        push(fake_bundle, REPO)
    assert "hf_wrong" not in str(refused.value)
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    assert pull(REPO, tmp_path / "x.fer").files


def test_without_a_network_is_a_sentence(
    hub: Hub, fake_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    for call in (lambda: pull(REPO, tmp_path / "x.fer"), lambda: push(fake_bundle, REPO)):
        with pytest.raises(
            InputError, match=r"cannot reach the Hub at http://127.0.0.1:9.*network"
        ):
            call()


@pytest.mark.parametrize("repo", ["a/b/c", "..", "a b", "", "-x", "../x"])
def test_a_name_that_is_no_repository_is_a_sentence(hub: Hub, tmp_path: Path, repo: str) -> None:
    with pytest.raises(InputError, match=r"OWNER/NAME|no repository"):
        pull(repo, tmp_path / "x.fer")


def test_another_repository_holds_no_model(hub: Hub, tmp_path: Path) -> None:
    hub.commit({"config.json": b"{}", "README.md": b""})
    with pytest.raises(InputError, match="holds no bundle or checkpoint"):
        pull(REPO, tmp_path / "x.fer")


def test_a_folder_of_something_else_is_not_replaced(
    hub: Hub, fake_bundle: Path, tmp_path: Path
) -> None:
    push(fake_bundle, REPO)
    (tmp_path / "home.fer").mkdir()
    (tmp_path / "home.fer" / "letter.txt").write_text("dear")
    with pytest.raises(InputError, match="is not a bundle"):
        pull(REPO, tmp_path / "home.fer")
    with pytest.raises(InputError, match=r"ends in \.fer"):
        pull(REPO, tmp_path / "home")


def test_a_download_that_was_cut_off_goes_on(hub: Hub, fake_bundle: Path, tmp_path: Path) -> None:
    push(fake_bundle, REPO)
    name = next(name for name in hub.files if name.endswith("answers.json"))
    whole = hub.files[name]
    hub.change[name] = whole[: len(whole) // 2]
    with pytest.raises((InputError, BundleError), match=r"cut off|states"):
        pull(REPO, tmp_path / "x.fer")
    hub.change.clear()
    shutil.rmtree(tmp_path / "cache", ignore_errors=True)
    assert pull(REPO, tmp_path / "x.fer").files


def test_the_commands_print_the_commit(
    hub: Hub, fake_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from click.testing import CliRunner

    from fer_edge.cli import main

    def run(*arguments: Any) -> Any:
        return CliRunner().invoke(main, [str(argument) for argument in arguments])

    pushed = run("push", fake_bundle, REPO)
    assert pushed.exit_code == 0, pushed.output
    assert hub.sha in pushed.stdout
    pulled = run("pull", REPO, "-o", tmp_path / "x.fer", "--json")
    assert json.loads(pulled.stdout)["revision"] == hub.sha
    assert run("pull", REPO, "-o", tmp_path / "y.fer", "--revision", "0" * 40).exit_code == 3


def test_a_process_takes_the_address_from_its_environment(
    hub: Hub, fake_bundle: Path, tmp_path: Path
) -> None:
    more = {"HF_ENDPOINT": hub.url, "HF_HUB_DISABLE_XET": "1", "HF_HOME": str(tmp_path / "home")}
    for line in (["push", fake_bundle, REPO], ["pull", REPO, "-o", tmp_path / "x.fer", "--quiet"]):
        done = subprocess.run(
            [sys.executable, "-m", "fer_edge", *map(str, line)],
            env={**os.environ, **more},
            capture_output=True,
            text=True,
            check=False,
            timeout=100,
        )
        assert done.returncode == 0, done.stderr
    assert tree(tmp_path / "x.fer") == tree(fake_bundle)


def test_private_does_not_push_to_a_public_repository(hub: Hub, fake_bundle: Path) -> None:
    push(fake_bundle, REPO, private=True)
    assert hub.is_private
    push(fake_bundle, REPO, private=True)
    hub.is_private = False
    before = hub.sha
    with pytest.raises(InputError, match=r"is public, so nothing was pushed\. Make it private"):
        push(fake_bundle, REPO, private=True)
    assert hub.sha == before


def test_hidden_folders_are_not_pushed(hub: Hub, tmp_path: Path) -> None:
    shutil.copytree(DEFAULT_CHECKPOINT, tmp_path / "mine")
    for hidden in (".git/config", ".ipynb_checkpoints/n.ipynb"):
        (tmp_path / "mine" / hidden).parent.mkdir()
        (tmp_path / "mine" / hidden).write_text("secret")
    (tmp_path / "mine" / ".git" / "link").symlink_to(tmp_path)
    push(tmp_path / "mine", REPO)
    assert not [name for name in hub.files if "/." in name]
    assert b"fer-edge[hub,convert]" in hub.files["README.md"]


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EACCES])
def test_a_disk_that_fails_is_not_the_network(
    hub: Hub, fake_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    push(fake_bundle, REPO)

    def fail(*_: Any, **__: Any) -> None:
        raise OSError(number, os.strerror(number), "/cache/file")

    monkeypatch.setattr("huggingface_hub.hf_hub_download", fail)
    with pytest.raises(InputError, match=r"cannot use /cache/file: .*HF_HOME") as refused:
        pull(REPO, tmp_path / "x.fer")
    assert "network" not in str(refused.value)
