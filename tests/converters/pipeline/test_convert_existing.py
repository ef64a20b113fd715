"""A bundle that exists gains variants and is never harmed."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from fer_edge import Predictor, open_bundle
from fer_edge.converters.pipeline import convert as module
from fer_edge.converters.pipeline.build_variant import BuiltVariant
from fer_edge.converters.pipeline.convert import convert
from fer_edge.converters.pipeline.face_samples import FaceSamples
from fer_edge.errors import BundleError, InputError
from fer_edge.labels import EMOTIONS
from fer_edge.manifest import sealed
from fer_edge.shipped import FACES
from fer_edge.training.checkpoint import CARD
from fer_edge.verdict import UNDECIDED

ALLOWED = 0.1
"""As the bundle in conftest."""


def quiet(_: str) -> None:
    pass


def content(folder: Path) -> dict[str, bytes]:
    """Every file below a folder."""
    found = (path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in found}


# --- a bundle that is there ----------------------------------------------------------------------


@pytest.mark.slow
def test_variants_are_added_and_the_others_keep_every_byte(
    checkpoint: Path, bundle: Path, gate: FaceSamples
) -> None:
    before, old = content(bundle), open_bundle(bundle)
    added = convert(checkpoint, ["openvino"], bundle, ["fp32"], say=quiet)
    assert {v.name for v in added.variants} == {
        "onnxruntime/fp32",
        "onnxruntime/int8",
        "openvino/fp32",
    }
    after = content(bundle)
    del before["bundle.json"]
    assert {path: after[path] for path in before} == before
    for variant in old.variants:
        assert added.variant(variant.target, variant.precision) == variant
    for variant in added.variants:
        with Predictor(bundle, variant.target, variant.precision) as predictor:
            assert len(predictor.predict_batch(gate.images[:3])) == 3


def test_a_variant_converted_again_replaces_itself_alone(checkpoint: Path, bundle: Path) -> None:
    again = convert(checkpoint, ["onnxruntime"], bundle, ["fp32"], say=quiet)
    assert sorted(v.name for v in again.variants) == ["onnxruntime/fp32", "onnxruntime/int8"]
    assert again.variant("onnxruntime", "fp32").parity.allowed_drop is None
    assert again.variant("onnxruntime", "int8").parity.allowed_drop == ALLOWED


def test_a_variant_that_another_conversion_wrote_meanwhile_stays(
    checkpoint: Path, tmp_path: Path
) -> None:
    out = tmp_path / "both.fer"
    others: list[str] = []

    def convert_another(sentence: str) -> None:
        if sentence.startswith("Exporting") and not others:
            others.append(sentence)
            convert(checkpoint, ["openvino"], out, ["fp32"], name="first", say=quiet)

    convert(checkpoint, ["onnxruntime"], out, ["fp32"], version="2", say=convert_another)
    both = open_bundle(out)
    assert {variant.name for variant in both.variants} == {"openvino/fp32", "onnxruntime/fp32"}
    assert (both.name, both.version) == ("first", "2")
    assert [path.name for path in tmp_path.iterdir()] == ["both.fer"]


def test_the_name_is_the_folders_stem_and_the_day_can_be_fixed(
    checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "0")
    made = convert(checkpoint, ["onnxruntime"], tmp_path / "driver.fer", ["fp32"], say=quiet)
    assert (made.name, made.version, made.created) == ("driver", "0", "1970-01-01")
    with pytest.raises(InputError, match="printable"):
        convert(checkpoint, ["onnxruntime"], tmp_path / "x.fer", name="\x1b[2J", say=quiet)


def edited(checkpoint: Path, to: Path, **changes: Any) -> Path:
    """The same weights with something else in their card."""
    shutil.copytree(checkpoint, to)
    card = json.loads((to / CARD).read_text("utf-8"))
    for key, value in changes.items():
        where = {"labels": card["model"], "mean": card["model"]["input"]}.get(key, card)
        where[key] = value
    (to / CARD).write_text(json.dumps(card), "utf-8")
    return to


@pytest.mark.parametrize(
    "changes",
    [
        {"temperature": 3.5},
        {"abstain_below": 0.9},
        {"labels": list(reversed(EMOTIONS))},
        {"mean": [0.2]},
    ],
    ids=str,
)
def test_the_same_weights_with_another_card_are_another_checkpoint(
    checkpoint: Path, bundle: Path, tmp_path: Path, changes: dict[str, Any]
) -> None:
    """Temperature, labels and mean are built into the variants that are there already."""
    other, before = edited(checkpoint, tmp_path / "other", **changes), content(bundle)
    with pytest.raises(BundleError, match="another checkpoint"):
        convert(other, ["onnxruntime"], bundle, ["fp32"], say=quiet)
    assert content(bundle) == before


def test_another_checkpoint_leaves_the_bundle_alone(
    checkpoint: Path, bundle: Path, tmp_path: Path
) -> None:
    manifest = json.loads((bundle / "bundle.json").read_text("utf-8"))
    manifest["provenance"]["checkpoint_sha256"] = "0" * 64
    (bundle / "bundle.json").write_text(json.dumps(sealed(manifest)), "utf-8")
    before = content(tmp_path)
    with pytest.raises(BundleError, match="another checkpoint"):
        convert(checkpoint, ["onnxruntime"], bundle, ["fp32"], say=quiet)
    assert content(tmp_path) == before


def test_a_damaged_bundle_is_not_added_to(checkpoint: Path, bundle: Path) -> None:
    (bundle / "onnxruntime-int8" / "model.onnx").write_bytes(b"damaged")
    with pytest.raises(BundleError, match="onnxruntime-int8"):
        convert(checkpoint, ["onnxruntime"], bundle, ["fp32"], say=quiet)


def without_verdict(build_and_verify: Callable[..., Any]) -> Callable[..., list[BuiltVariant]]:
    """Verification whose faces are too few for int8, and whose figure is beyond the limit."""

    def verified(*arguments: Any) -> list[BuiltVariant]:
        built = build_and_verify(*arguments)
        for i, each in enumerate(built):
            if each.variant.precision == "int8":
                judgement = replace(each.variant.parity.judgement, verdict=UNDECIDED)
                parity = replace(
                    each.variant.parity, judgement=judgement, failures=("97 % are kept",)
                )
                built[i] = replace(each, variant=replace(each.variant, parity=parity))
        return built

    return verified


@pytest.mark.usefixtures("two_recipes")
@pytest.mark.parametrize("reason", ["no verdict", "slower"])
def test_a_variant_that_is_left_out_and_has_not_failed_stays(
    checkpoint: Path, bundle: Path, monkeypatch: pytest.MonkeyPatch, reason: str
) -> None:
    old = open_bundle(bundle).variant("onnxruntime", "int8")
    if reason == "slower":

        def int8_is_slower(sessions: Mapping[str, Any], face: Any) -> dict[str, float]:
            return {name: 1.0 + name.endswith("int8") for name in sessions}

        monkeypatch.setattr(module, "single_face_p50_ms", int8_is_slower)
    else:
        monkeypatch.setattr(module, "build_and_verify", without_verdict(module.build_and_verify))
    precision = "auto" if reason == "slower" else "all"
    said: list[str] = []
    made = convert(
        checkpoint,
        ["onnxruntime"],
        bundle,
        [precision],
        allow_drop=ALLOWED,
        say=said.append,
    )
    assert made.variant("onnxruntime", "int8") == old
    assert made.read(old)
    assert "onnxruntime/int8" not in made.provenance["refused"]
    assert any(text.startswith(f"Kept the earlier onnxruntime/int8 in {bundle}") for text in said)
    new = convert(
        checkpoint,
        ["onnxruntime"],
        bundle.with_name("new.fer"),
        [precision],
        allow_drop=ALLOWED,
        say=quiet,
    )
    assert "onnxruntime/int8" in new.provenance["refused"]


# --- killed --------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="Windows has no SIGKILL")
@pytest.mark.parametrize("moment", ["converting", "writing"])
def test_a_kill_leaves_a_bundle_that_can_be_read(
    checkpoint: Path, bundle: Path, moment: str
) -> None:
    before = content(bundle)
    command = [
        sys.executable,
        "-m",
        "fer_edge.cli",
        "convert",
        str(checkpoint),
        "-o",
        str(bundle),
    ]
    command += ["--target", "onnxruntime", "--precision", "fp32"]
    running = subprocess.Popen(
        command,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )
    assert running.stderr is not None
    try:
        for line in running.stderr:
            if line.startswith(b"Exporting"):
                break
        if moment == "writing":
            deadline = time.monotonic() + 300
            while running.poll() is None and time.monotonic() < deadline:
                if any(path.suffix == ".tmp" for path in bundle.parent.iterdir()):
                    break
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.kill(running.pid, signal.SIGKILL)
        running.stderr.close()
    assert running.wait() == -signal.SIGKILL
    found = open_bundle(bundle)
    assert {v.name for v in found.variants} == {"onnxruntime/fp32", "onnxruntime/int8"}
    assert content(bundle) == before or moment == "writing"
    with Predictor(bundle) as predictor:
        assert predictor(FACES / "happiness.png").label in EMOTIONS
