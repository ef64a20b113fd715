"""Damages of a bundle, for tests of programs that have to refuse it."""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from fer_edge.manifest import SEAL, sealed

Edit = Callable[[Path], object]
"""Change of the bundle in a folder."""
DIGITS = sys.get_int_max_str_digits()


def edited(change: Callable[[Any], object], *, seal: bool = True) -> Edit:
    """Change the manifest, and seal it again unless the seal is to be broken."""

    def apply(bundle: Path) -> None:
        content = json.loads((bundle / "bundle.json").read_text("utf-8"))
        change(content)
        content = sealed(content) if seal else content
        (bundle / "bundle.json").write_text(json.dumps(content), "utf-8")

    return apply


def replaced(old: str, new: str) -> Edit:
    def apply(bundle: Path) -> None:
        text = (bundle / "bundle.json").read_text("utf-8")
        assert old in text
        (bundle / "bundle.json").write_text(text.replace(old, new, 1), "utf-8")

    return apply


def digits(old: str, new: str, zeros: int) -> Edit:
    """Replace a value by one with so many zeros, and seal it again."""

    def apply(bundle: Path) -> None:
        replaced(old, f"{new}@")(bundle)
        path = bundle / "bundle.json"
        short, long = path.read_text("utf-8").split("@"), "0" * zeros
        sys.set_int_max_str_digits(0)
        try:
            seal = sealed(json.loads(long.join(short)))[SEAL]
        finally:
            sys.set_int_max_str_digits(DIGITS)
        path.write_text(
            re.sub(f'"{SEAL}": "[0-9a-f]*"', f'"{SEAL}": "{seal}"', long.join(short)), "utf-8"
        )

    return apply


def in_litter(bundle: Path) -> None:
    """Move the graph into a folder that is passed over."""
    model_of(bundle).parent.rename(bundle / "desktop.ini")
    set_path("desktop.ini/model.onnx")(bundle)


def model_of(bundle: Path) -> Path:
    return next(bundle.glob("graph-*/model.onnx"))


def flip(bundle: Path) -> None:
    data = bytearray(model_of(bundle).read_bytes())
    data[len(data) // 2] ^= 1
    model_of(bundle).write_bytes(data)


def cut(bundle: Path) -> None:
    os.truncate(model_of(bundle), model_of(bundle).stat().st_size - 1)


def link(bundle: Path) -> None:
    moved = model_of(bundle).replace(bundle.parent / "outside.onnx")
    next(bundle.glob("graph-*")).joinpath("model.onnx").symlink_to(moved)


def link_folder(bundle: Path) -> None:
    folder = model_of(bundle).parent
    folder.symlink_to(folder.rename(bundle.parent / "outside"))


def set_path(path: str) -> Edit:
    def change(content: Any) -> None:
        for variant in content["variants"]:
            variant["files"][0]["path"] = variant["entry"] = path

    return edited(change)


DAMAGES: dict[str, Edit] = {
    "a flipped bit": flip,
    "a cut file": cut,
    "a missing file": lambda bundle: model_of(bundle).unlink(),
    "a link": link,
    "a linked folder": link_folder,
    "a pipe": lambda bundle: os.mkfifo(bundle / "pipe"),
    "an unlisted file": lambda bundle: (bundle / "more.bin").write_bytes(b"1"),
    "no manifest": lambda bundle: (bundle / "bundle.json").unlink(),
    "an empty manifest": lambda bundle: (bundle / "bundle.json").write_bytes(b""),
    "half a manifest": lambda bundle: os.truncate(bundle / "bundle.json", 3000),
    "more after the manifest": lambda bundle: (bundle / "bundle.json").open("a").write("{}"),
    "no UTF-8": lambda bundle: (bundle / "bundle.json").write_bytes(b'{"schema": "\xed\xa0\x80"}'),
    "a repeated key": replaced('"schema": 1,', '"schema": 1, "schema": 1,'),
    "NaN": replaced('"margin": 0.1', '"margin": NaN'),
    "an infinity": replaced('"margin": 0.1', '"margin": 1e999'),
    "half a surrogate pair": replaced('"name": "default"', r'"name": "\ud800"'),
    "too deep": replaced('"name": "default"', f'"name": {"[" * 40}{"]" * 40}'),
    "much too deep": replaced('"name": "default"', f'"name": {"[" * 99_000}'),
    "no object": lambda bundle: (bundle / "bundle.json").write_bytes(b"[1]"),
    "exchanged labels": edited(lambda content: content["labels"].reverse(), seal=False),
    "another margin": edited(lambda content: content["crop"].update(margin=0.2), seal=False),
    "no seal": edited(lambda content: content.pop("manifest_sha256"), seal=False),
    "another schema": edited(lambda content: content.update(schema=2)),
    "schema true": edited(lambda content: content.update(schema=True)),
    "another kernel": edited(lambda content: content["crop"].update(kernel="area")),
    "no size": edited(lambda content: content["crop"].update(size_px=0)),
    "half a size": edited(lambda content: content["crop"].update(size_px=128.0)),
    "another input": edited(lambda content: content["input"].update(colour="rgb")),
    "another output": edited(lambda content: content.update(embedding_dim=9)),
    "a label twice": edited(lambda content: content["labels"].__setitem__(1, "anger")),
    "a label less": edited(lambda content: content["labels"].pop()),
    "a path outside": set_path("../outside.onnx"),
    "an absolute path": set_path("/etc/passwd"),
    "a deep path": set_path("a/b/c"),
    "an unlisted entry": edited(lambda content: content["variants"][0].update(entry="a/b")),
    "no temperature": edited(lambda content: content.pop("temperature")),
    "a temperature of 0": edited(lambda content: content.update(temperature=0)),
    "no provenance": edited(lambda content: content.pop("provenance")),
    "a name of two lines": edited(lambda content: content.update(name="a\nb")),
    "a long version": edited(lambda content: content.update(version="1" * 101)),
    "a day that is none": edited(lambda content: content.update(created="2026-02-29")),
    "no label": edited(lambda content: content.update(labels=[])),
    "an empty label": edited(lambda content: content["labels"].__setitem__(0, "")),
    "a label of control characters": edited(
        lambda content: content["labels"].__setitem__(0, "\x1b[31m")
    ),
    "an invisible label": edited(lambda content: content["labels"].__setitem__(0, "a\u200bb")),
    "a label with a space": edited(lambda content: content["labels"].__setitem__(0, "rage ")),
    "a long label": edited(lambda content: content["labels"].__setitem__(0, "é" * 65)),
    "a label of another spelling": edited(
        lambda content: content["labels"].__setitem__(3, "Happy")
    ),
    "a label in capitals": edited(lambda content: content["labels"].__setitem__(3, "Happiness")),
    "two labels that differ in case": edited(
        lambda content: content["labels"].__setitem__(slice(2), ["tired", "Tired"])
    ),
    "no variant": edited(lambda content: content.update(variants=[])),
    "a variant twice": edited(lambda content: content["variants"].append(content["variants"][0])),
    "needs in a list": edited(lambda content: content["variants"][1].update(needs=[])),
    "needs of control characters": edited(
        lambda content: content["variants"][1].update(needs={"a": [{"\x7f": 1}]})
    ),
    "no batch": edited(lambda content: content["variants"][1].pop("batch")),
    "an empty batch": edited(lambda content: content["variants"][1]["batch"].update(min=2, max=1)),
    "a tool without a version": edited(
        lambda content: content["variants"][1]["tools"].update(onnx=None)
    ),
    "no parity": edited(lambda content: content["variants"][1].pop("parity")),
    "proven and unproven": edited(lambda content: content["variants"][1].update(unproven="both")),
    "a huge margin": digits('"margin": 0.1', '"margin": 1', 400),
    "a huge threshold": digits('"abstain_below": 0.63', '"abstain_below": 1', 400),
    "a margin of 5,000 digits": digits('"margin": 0.1', '"margin": 1', 5000),
    "brackets in a text": edited(lambda content: content["provenance"].update(a="[" * 100_000)),
    "an unknown key of familiarity": edited(lambda content: content["familiarity"].update(a=1)),
    "an unknown key of a file of familiarity": edited(
        lambda content: content["familiarity"]["file"].update(a=1)
    ),
    "half a face": edited(lambda content: content["familiarity"].update(faces=0.5)),
    "too many faces": edited(lambda content: content["familiarity"].update(faces=2**53 + 1)),
    "an unknown key of recalibration": edited(
        lambda content: content.update(recalibration={"temperature": 1, "a": 1})
    ),
    "folders in folders": lambda bundle: (bundle / "a/b/c/d/e/f/g/h/i").mkdir(parents=True),
    "many folders": lambda bundle: [(bundle / f"d{i}").mkdir() for i in range(10_001)],
    "a file in a folder of litter": in_litter,
    "a short hash": edited(
        lambda content: [v["files"][0].update(sha256="ab") for v in content["variants"]]
    ),
}
