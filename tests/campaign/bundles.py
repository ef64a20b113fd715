"""Mutated bundles: opened, inspected and run.

Half of the changed manifests get a new manifest_sha256, as an attacker would write it: their
meaning may differ, but nothing may end in a foreign error or in escape sequences. The engine's
part of inspect runs in this process, to keep thousands of bundles cheap.

python -m pytest tests/campaign -m slow        a few thousand of each campaign
PYTHONPATH=tests/campaign python tests/campaign/bundles.py --count 10000
"""

from __future__ import annotations

import contextlib
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from click.testing import CliRunner
from common import CHANGED, REFUSED, Case, main

from fer_edge import FerEdgeError, Predictor, engine_trial, open_bundle
from fer_edge.backends.fake import write_fake_bundle
from fer_edge.bundle import Bundle
from fer_edge.cli import main as command
from fer_edge.manifest import sealed
from fer_edge.shipped import DEFAULT_BUNDLE

HOSTILE: list[Any] = [
    None,
    True,
    False,
    0,
    -1,
    1e308,
    -0.0,
    2**63,
    "",
    "a",
    "\n",
    "\u0000",
    "../x",
    "/etc/passwd",
    [],
    {},
    [[]],
    {"a": 1},
    "x" * 10_000,
    [1] * 1000,
    "\ud800",
    "\u202eevil",
    "\x1b[2J",
    1.5,
]


def _choices(bundle: Path) -> list[str]:
    """Decide about the variants as inspect's child does, in this process."""
    try:
        with Predictor(bundle) as predictor:
            return [str(choice) for choice in predictor.explain()]
    except FerEdgeError as error:
        return [str(error)]


def cases(rng: np.random.Generator, folder: Path) -> Iterator[Case]:
    engine_trial.try_variants = lambda bundle, timeout_s=0: _choices(bundle)
    whole = _with_every_key(write_fake_bundle(folder / "whole.fer"))
    meaning = _meaning(open_bundle(whole))
    manifest = (whole / "bundle.json").read_bytes()
    model = next(p for p in sorted(whole.rglob("*")) if p.is_file() and p.name != "bundle.json")
    content = json.loads(manifest)
    while True:
        kind = rng.choice(
            ["bytes", "bytes", "value", "value", "remove", "double", "model", "files"]
        )

        resealed = bool(rng.integers(2))

        def case(kind: str = str(kind), resealed: bool = resealed) -> str | None:
            bundle = folder / "case.fer"
            shutil.rmtree(bundle, ignore_errors=True)
            shutil.copytree(whole, bundle)
            target = bundle / model.relative_to(whole)
            if kind == "model":
                target.write_bytes(_flipped(rng, target.read_bytes()))
            elif kind == "files":
                _disturb(rng, bundle, target)
            else:
                data = _mutated(rng, kind, manifest, content)
                if resealed and kind in ("value", "remove"):
                    data = _resealed(data)
                (bundle / "bundle.json").write_bytes(data)
            outcome = _use(bundle, meaning)
            return None if resealed and outcome == CHANGED else outcome

        yield case


def _with_every_key(bundle: Path) -> Path:
    """Add the shipped model's provenance, parity and speed, so that every key is mutated."""
    content = json.loads((bundle / "bundle.json").read_bytes())
    shipped = json.loads((DEFAULT_BUNDLE / "bundle.json").read_bytes())
    content["provenance"] = shipped["provenance"]
    for key in ("parity", "speed", "tools"):
        content["variants"][0][key] = shipped["variants"][0][key]
    content["variants"][0]["needs"] = {"capability": "BF16", "engines": {"sm_86": {"path": "x"}}}
    (bundle / "bundle.json").write_text(json.dumps(sealed(content)))
    return bundle


def _use(bundle: Path, meaning: Any) -> str | None:
    opened = open_bundle(bundle)
    for more in ([], ["--json"]):
        done = CliRunner().invoke(command, ["inspect", str(bundle), *more])
        if done.exception is not None and not isinstance(done.exception, SystemExit):
            raise done.exception
        if "\x1b" in done.output:
            return f"{CHANGED}: escape sequences on the terminal"
    try:
        return CHANGED if _meaning(opened) != meaning else None
    except FerEdgeError:
        return REFUSED


def _meaning(bundle: Bundle) -> Any:
    """Everything in a bundle that decides an answer."""
    variants = [(v.target, v.precision, v.entry, v.files, dict(v.needs)) for v in bundle.variants]
    return (
        bundle.labels,
        bundle.crop,
        bundle.temperature,
        bundle.abstain_below,
        bundle.embedding_dim,
        variants,
    )


def _flipped(rng: np.random.Generator, data: bytes) -> bytes:
    changed = bytearray(data)
    for _ in range(rng.integers(1, 5)):
        changed[rng.integers(len(changed))] = rng.integers(256)
    return bytes(changed) if bytes(changed) != data else data + b"x"


def _mutated(rng: np.random.Generator, kind: str, manifest: bytes, content: Any) -> bytes:
    if kind == "bytes":
        return _flipped(rng, manifest)
    tree = json.loads(json.dumps(content))
    places = list(_places(tree))
    parent, key = places[rng.integers(len(places))]
    if kind == "remove":
        del parent[key]
    elif kind == "double":
        text = json.dumps(tree)
        name = json.dumps(key) if isinstance(key, str) else '"schema"'
        return text.replace(f"{name}:", f"{name}: 7, {name}:", 1).encode()
    else:
        parent[key] = HOSTILE[rng.integers(len(HOSTILE))]
    return json.dumps(tree).encode("utf-8", "surrogatepass")


def _resealed(data: bytes) -> bytes:
    with contextlib.suppress(ValueError, AttributeError):
        return json.dumps(sealed(json.loads(data))).encode()
    return data


def _places(tree: Any) -> Iterator[tuple[Any, Any]]:
    items = tree.items() if isinstance(tree, dict) else enumerate(tree)
    for key, value in items:
        yield tree, key
        if isinstance(value, dict | list):
            yield from _places(value)


def _disturb(rng: np.random.Generator, bundle: Path, model: Path) -> None:
    kind = rng.integers(6)
    if kind == 0:
        model.unlink()
    elif kind == 1:
        (bundle / "more.txt").write_text("x")
    elif kind == 2:
        model.rename(model.with_name("other.bin"))
    elif kind == 3:
        model.write_bytes(model.read_bytes()[:-1] or b"x")
    elif kind == 4:
        data = model.read_bytes()
        model.unlink()
        (bundle.parent / "outside").write_bytes(data)
        model.symlink_to(bundle.parent / "outside")
    else:
        (bundle / "bundle.json").write_bytes(b"[" * int(rng.integers(1, 200_000)))


if __name__ == "__main__":
    main(cases, 10_000)
