"""A crash or a hang of an engine is a sentence, not the end of the command."""

from __future__ import annotations

import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from fer_edge import engine_trial
from fer_edge.backends.fake import write_fake_bundle
from fer_edge.bundle import open_bundle, write_bundle
from fer_edge.cli import main
from fer_edge.engine_trial import try_variants

TAKEN = (
    "fake/fp32: taken (not proven: it has no parity report); "
    "the fake engine, all on no chip: 1 layer in fp32"
)


def test_a_variant_that_runs_is_taken(fake_bundle: Path) -> None:
    assert try_variants(fake_bundle) == [TAKEN]


def test_a_crash_is_a_sentence(tmp_path: Path) -> None:
    (sentence,) = try_variants(write_fake_bundle(tmp_path / "x.fer", crash=True))
    assert sentence == "fake/fp32: its engine crashes on this machine (SIGABRT)"


def test_a_hang_is_a_sentence(tmp_path: Path) -> None:
    bundle = write_fake_bundle(tmp_path / "x.fer", latency_ms=600_000)
    (sentence,) = try_variants(bundle, timeout_s=5)
    assert sentence == "fake/fp32: its engine gave no answer within 5 s"


def test_a_failure_is_a_sentence(tmp_path: Path) -> None:
    (sentence,) = try_variants(write_fake_bundle(tmp_path / "x.fer", fail_after=0))
    assert "told to fail" in sentence


def test_the_others_are_tried_when_one_crashes(tmp_path: Path) -> None:
    crashing = open_bundle(write_fake_bundle(tmp_path / "x.fer", crash=True))
    plain = open_bundle(write_fake_bundle(tmp_path / "y.fer"))
    (data,) = plain.read(plain.variants[0]).values()
    file = replace(plain.variants[0].files[0], path="other/answers.json")
    other = replace(plain.variants[0], precision="int8", files=(file,), entry=file.path)
    contents = {**crashing.read(crashing.variants[0]), file.path: data}
    write_bundle(replace(crashing, variants=(*crashing.variants, other)), contents)
    first, second = try_variants(crashing.path)
    assert "SIGABRT" in first
    assert second.startswith("fake/int8: taken")


def test_inspect_survives_a_crash_and_ends_with_0(tmp_path: Path) -> None:
    bundle = write_fake_bundle(tmp_path / "x.fer", crash=True)
    result = CliRunner().invoke(main, ["inspect", str(bundle)])
    assert result.exit_code == 0
    assert "its engine crashes" in result.output


def test_code_in_the_current_folder_does_not_run(
    tmp_path: Path, fake_bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("cv2", "numpy", "json"):
        (tmp_path / f"{name}.py").write_text("open('PWNED', 'w')")
    monkeypatch.chdir(tmp_path)
    assert try_variants(fake_bundle) == [TAKEN]
    assert not (tmp_path / "PWNED").exists()


@pytest.mark.parametrize("output", [b"", b"fer_edge: ready\n", b"\xff\n"])
def test_a_child_without_an_answer_is_a_sentence(
    monkeypatch: pytest.MonkeyPatch, fake_bundle: Path, output: bytes
) -> None:
    def run(*_: Any, **__: Any) -> Any:
        return subprocess.CompletedProcess([], 3, output, b"")

    monkeypatch.setattr(engine_trial.subprocess, "run", run)
    (sentence,) = try_variants(fake_bundle)
    assert sentence.startswith("fake/fp32: ")
