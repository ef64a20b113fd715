"""manifest_sha256 finds every change of the manifest, and a command writes it again."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

import fer_edge.reseal
from fer_edge.bundle import MANIFEST, open_bundle
from fer_edge.errors import BundleError, InputError
from fer_edge.manifest import SEAL, seal, sealed, today
from fer_edge.reseal import main, reseal

Refusal = Callable[[Path], str]


def change(bundle: Path, edit: Callable[[Any], object]) -> None:
    """Edit a manifest without a new seal."""
    content = json.loads((bundle / MANIFEST).read_text("utf-8"))
    edit(content)
    (bundle / MANIFEST).write_text(json.dumps(content), "utf-8")


def exchange(content: Any) -> None:
    labels = content["labels"]
    labels[3], labels[4] = labels[4], labels[3]


CHANGES: dict[str, Callable[[Any], object]] = {
    "two labels exchanged": exchange,
    "a label misspelt": lambda c: c["labels"].__setitem__(3, "happinuss"),
    "never unsure": lambda c: c.update(abstain_below=0.1),
    "another temperature": lambda c: c.update(temperature=2.0),
    "a need removed": lambda c: c["variants"][0].update(needs={"a": 1}),
    "parity removed": lambda c: c["variants"][0].update(unproven="x"),
    "provenance removed": lambda c: c.update(provenance={}),
    "an unknown key": lambda c: c.update(more=1),
    "another version": lambda c: c.update(version="9"),
    "another seal": lambda c: c.update({SEAL: "0" * 64}),
    "a seal of another type": lambda c: c.update({SEAL: 1}),
    "no seal": lambda c: c.pop(SEAL),
}


@pytest.mark.parametrize("name", CHANGES)
def test_a_changed_manifest_is_refused_as_damaged(
    fake_bundle: Path, name: str, refusal: Refusal
) -> None:
    change(fake_bundle, CHANGES[name])
    message = refusal(fake_bundle)
    assert "damaged" in message
    assert "Get the bundle again, or convert it again" in message


def test_form_and_order_of_the_json_do_not_matter(fake_bundle: Path) -> None:
    before = open_bundle(fake_bundle)
    content = json.loads((fake_bundle / MANIFEST).read_text("utf-8"))
    (fake_bundle / MANIFEST).write_text(
        json.dumps(dict(reversed(content.items())), ensure_ascii=False), "utf-8"
    )
    assert open_bundle(fake_bundle).labels == before.labels


def test_the_canonical_form_is_as_documented() -> None:
    """Computed once with sha256sum, so that other programs can follow the page."""
    assert seal({"b": [1, 0.5, None], "a": "é\n", SEAL: "x"}) == (
        "d0e1b3236090d05b17978577d202a248c911059bd64fc023cd56a2eee21b16bb"
    )
    assert sealed({"schema": 1, "a": 2}) == {"schema": 1, SEAL: seal({"schema": 1, "a": 2}), "a": 2}


def test_the_command_seals_an_edited_bundle(fake_bundle: Path) -> None:
    change(fake_bundle, lambda content: content.update(abstain_below=0.25))
    done = CliRunner().invoke(main, [str(fake_bundle), "--bundle-version", "2.1", "--name", "n"])
    assert done.exit_code == 0, done.output
    bundle = open_bundle(fake_bundle)
    assert (bundle.abstain_below, bundle.version, bundle.name) == (0.25, "2.1", "n")
    assert json.loads((fake_bundle / MANIFEST).read_text("utf-8"))[SEAL] in done.output


def test_the_command_leaves_a_bundle_that_it_cannot_seal(fake_bundle: Path) -> None:
    for text in ('{"schema": 1}', "[]", "{", '{"schema": NaN}'):
        (fake_bundle / MANIFEST).write_text(text)
        done = CliRunner().invoke(main, [str(fake_bundle)])
        assert done.exit_code == BundleError.exit_code
        assert done.output.startswith("reseal: ")
        assert (fake_bundle / MANIFEST).read_text() == text


@pytest.mark.parametrize("edit", [lambda c: c.update(labels=[]), lambda c: c["variants"].clear()])
def test_the_manifest_is_checked_before_it_is_written(
    fake_bundle: Path, edit: Callable[[Any], object], monkeypatch: pytest.MonkeyPatch
) -> None:
    change(fake_bundle, edit)
    monkeypatch.setattr(fer_edge.reseal, "write_file", _must_not_write)
    with pytest.raises(BundleError, match=r"bundle\.json"):
        reseal(fake_bundle)


def test_a_manifest_that_would_be_too_large_to_open_is_not_written(fake_bundle: Path) -> None:
    change(fake_bundle, lambda content: content["provenance"].update(notes=[1] * 900_000))
    before = (fake_bundle / MANIFEST).read_bytes()
    with pytest.raises(BundleError, match="4,194,304 are allowed"):
        reseal(fake_bundle)
    assert (fake_bundle / MANIFEST).read_bytes() == before


def test_a_bundle_whose_files_differ_is_not_sealed(
    fake_bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fer_edge.reseal, "write_file", _must_not_write)
    (fake_bundle / "fake-fp32" / "answers.json").write_bytes(b"{}")
    with pytest.raises(BundleError, match=r"answers\.json"):
        reseal(fake_bundle)


def _must_not_write(path: Path, data: bytes) -> None:
    raise AssertionError(f"wrote {path}")


def test_only_name_version_and_day_can_be_set(fake_bundle: Path) -> None:
    before = (fake_bundle / MANIFEST).read_bytes()
    with pytest.raises(InputError, match="changes of name, version and created, got 'foo'"):
        reseal(fake_bundle, foo="x")
    assert (fake_bundle / MANIFEST).read_bytes() == before


@pytest.mark.parametrize("name", ["none.fer", "a\0.fer", "a" * 300])
def test_a_missing_bundle_is_not_said_to_be_written(name: str, tmp_path: Path) -> None:
    with pytest.raises(BundleError, match=r"found none|cannot read"):
        reseal(tmp_path / name)


@pytest.mark.parametrize(("epoch", "day"), [("0", "1970-01-01"), ("1700000000", "2023-11-14")])
def test_source_date_epoch_sets_the_day(
    monkeypatch: pytest.MonkeyPatch, epoch: str, day: str
) -> None:
    monkeypatch.setenv("SOURCE_DATE_EPOCH", epoch)
    assert today() == day


@pytest.mark.parametrize("epoch", ["yesterday", "9" * 30, "1.5"])
def test_an_impossible_source_date_epoch_is_refused(
    monkeypatch: pytest.MonkeyPatch, epoch: str
) -> None:
    monkeypatch.setenv("SOURCE_DATE_EPOCH", epoch)
    with pytest.raises(InputError, match="SOURCE_DATE_EPOCH"):
        today()


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("name", "\x1b[2J"),
        ("name", "x" * 101),
        ("version", 1),
        ("created", "2026-13-01"),
        ("created", "20260101"),
        ("created", "yesterday"),
        ("version", None),
    ],
)
def test_odd_names_versions_and_days_are_refused(
    fake_bundle: Path,
    key: str,
    value: object,
    refusal: Refusal,
    put: Callable[[Path, str, object], None],
) -> None:
    put(fake_bundle, key, value)
    assert key in refusal(fake_bundle)
