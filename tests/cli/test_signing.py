"""``fer-edge keygen``, ``sign`` and ``verify``, and trusted keys of a Predictor."""

from __future__ import annotations

import copy
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from fer_edge import BundleError, InputError, Predictor, open_bundle
from fer_edge.backends.fake import write_fake_bundle
from fer_edge.manifest import sealed
from fer_edge.signing import SIGNATURES


@pytest.fixture
def keys(run: Any, tmp_path: Path) -> Callable[[str], tuple[Path, Path]]:
    """Makes a key pair with the command."""

    def make(name: str) -> tuple[Path, Path]:
        result = run("keygen", tmp_path / name)
        assert result.exit_code == 0, result.output
        return tmp_path / f"{name}.key", tmp_path / f"{name}.pub"

    return make


def change_manifest(bundle: Path) -> None:
    content = json.loads((bundle / "bundle.json").read_text("utf-8"))
    content["abstain_below"] = 0.25
    (bundle / "bundle.json").write_text(json.dumps(sealed(content)), "utf-8")


def change_file(bundle: Path) -> None:
    file = bundle / "fake-fp32/answers.json"
    file.write_bytes(file.read_bytes()[::-1])


def unsign(bundle: Path) -> None:
    (bundle / SIGNATURES).unlink()


def damage(bundle: Path) -> None:
    (bundle / SIGNATURES).write_text("[]")


def link(bundle: Path) -> None:
    shutil.move(bundle / SIGNATURES, bundle.parent / "elsewhere.json")
    (bundle / SIGNATURES).symlink_to(bundle.parent / "elsewhere.json")


def test_sign_and_verify(run: Any, keys: Any, fake_bundle: Path) -> None:
    key, public = keys("a")
    signed = run("sign", fake_bundle, "--key", key)
    assert signed.exit_code == 0, signed.output
    verified = run("verify", fake_bundle, "--trusted-key", public)
    assert verified.exit_code == 0, verified.output
    report = json.loads(run("verify", fake_bundle, "--trusted-key", public, "--json").stdout)
    assert report["signed_by"] in signed.output
    assert report["version"] == "0"
    assert report["signed_by"] in run("inspect", fake_bundle).output
    assert "nobody" in run("inspect").output
    assert json.loads(run("inspect", fake_bundle, "--json").stdout)["claims_signatures_of"]
    assert open_bundle(fake_bundle, [public]).signed_by == report["signed_by"]


@pytest.mark.parametrize("tamper", [change_manifest, change_file, unsign, damage, link])
def test_a_bundle_that_was_tampered_with_is_refused(
    run: Any, keys: Any, fake_bundle: Path, tamper: Callable[[Path], None]
) -> None:
    key, public = keys("a")
    run("sign", fake_bundle, "--key", key)
    tamper(fake_bundle)
    assert run("verify", fake_bundle, "--trusted-key", public).exit_code == 4
    with pytest.raises(BundleError):
        Predictor(fake_bundle, trusted_keys=[public])


def test_only_trusted_keys_count(run: Any, keys: Any, fake_bundle: Path) -> None:
    (key_a, pub_a), (key_b, pub_b) = keys("a"), keys("b")
    run("sign", fake_bundle, "--key", key_a)
    assert run("verify", fake_bundle, "--trusted-key", pub_b).exit_code == 4
    assert run("verify", fake_bundle, "--trusted-key", pub_b, "--trusted-key", pub_a).exit_code == 0
    run("sign", fake_bundle, "--key", key_b)  # the change from one key to the next
    for public in (pub_a, pub_b):
        assert run("verify", fake_bundle, "--trusted-key", public).exit_code == 0
    with pytest.raises(BundleError, match="not signed"):
        Predictor(trusted_keys=[pub_a])


def test_a_predictor_asks_for_the_keys_at_each_swap_and_in_each_copy(
    run: Any, keys: Any, fake_bundle: Path, tmp_path: Path
) -> None:
    key, public = keys("a")
    run("sign", fake_bundle, "--key", key)
    new = write_fake_bundle(tmp_path / "new.fer", {"fear": 1.0})
    with Predictor(fake_bundle, trusted_keys=[public]) as predictor:
        public.unlink()  # read once
        with pytest.raises(BundleError, match="not signed"):
            predictor.swap(new)
        assert predictor.bundle.path == fake_bundle
        run("sign", new, "--key", key)
        predictor.swap(new)
        with copy.deepcopy(predictor) as other:
            assert other.bundle.path == new
        unsign(new)
        with pytest.raises(BundleError, match="not signed"):
            copy.deepcopy(predictor)


def test_a_damaged_bundle_is_not_signed(run: Any, keys: Any, fake_bundle: Path) -> None:
    change_file(fake_bundle)
    assert run("sign", fake_bundle, "--key", keys("a")[0]).exit_code == 4
    assert not (fake_bundle / SIGNATURES).exists()


def test_a_new_manifest_has_no_old_signature(run: Any, keys: Any, fake_bundle: Path) -> None:
    run("sign", fake_bundle, "--key", keys("a")[0])
    write_fake_bundle(fake_bundle)
    assert not (fake_bundle / SIGNATURES).exists()


@pytest.mark.parametrize("trusted", [[], "a.pub", b"key", ["no-such.pub"], [b"key"]], ids=str)
def test_keys_that_are_none_are_an_input_error(fake_bundle: Path, trusted: Any) -> None:
    with pytest.raises(InputError):
        Predictor(fake_bundle, trusted_keys=trusted)


def test_wrong_keys_and_names_end_with_a_sentence(
    run: Any, keys: Any, fake_bundle: Path, tmp_path: Path
) -> None:
    key, public = keys("a")
    for arguments in (
        ["sign", fake_bundle, "--key", public],
        ["verify", fake_bundle, "--trusted-key", key],
        ["keygen", tmp_path / "a"],
        ["keygen", tmp_path / "no/such/folder/a"],
        ["sign", fake_bundle, "--key", tmp_path / "missing"],
    ):
        result = run(*arguments)
        assert result.exit_code == 3, result.output
        assert result.output.startswith("fer-edge: ")
