"""Damages of a bundle, for tests of programs that have to refuse it."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from fer_edge.manifest import sealed

Edit = Callable[[Path], object]
"""Change of the bundle in a folder."""


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
    "a short hash": edited(
        lambda content: [v["files"][0].update(sha256="ab") for v in content["variants"]]
    ),
}
