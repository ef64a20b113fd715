"""Mutated recipes, cards of checkpoints and settings: untrusted text.

PYTHONPATH=tests/campaign python tests/campaign/recipes.py --count 2000
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from bundles import HOSTILE, _places
from common import Case, main

from fer_edge.shipped import DEFAULT_CHECKPOINT
from fer_edge.training.checkpoint import load_checkpoint
from fer_edge.training.config.recipe import RECIPE_DIR, load_recipe

_YAML = [
    "!!python/object/apply:os.system ['true']",
    "2001-99-99",
    "0b_",
    "!!int x",
    "!!binary x",
    "!!timestamp 99",
    "9" * 5000,
    "1e999",
    "[" * 2000,
    "{a: " * 500,
    "&a [*a]",
    "? x",
    "%TAG",
    "\t",
    "!!float .",
    "0o9",
    "~",
    "<<: 1",
    "- - - -",
    "'\\x00'",
    "0x" + "f" * 5000,
    ".nan",
]


def cases(rng: np.random.Generator, folder: Path) -> Iterator[Case]:
    recipes = [path.read_text("utf-8") for path in sorted(RECIPE_DIR.glob("*.yaml"))]
    card = json.loads((DEFAULT_CHECKPOINT / "card.json").read_bytes())
    checkpoint = folder / "checkpoint"
    shutil.copytree(DEFAULT_CHECKPOINT, checkpoint)
    load_checkpoint(checkpoint)  # the import of timm is no case's own time
    kinds = [_value, _value, _remove, _raw, _bomb, _bytes]
    while True:
        if rng.random() < 0.15:
            yield lambda: _card(rng, checkpoint, card)
            continue
        text = recipes[rng.integers(len(recipes))]
        made = kinds[rng.integers(len(kinds))](rng, text)

        def case(made: bytes = made) -> None:
            path = folder / "case.yaml"
            path.write_bytes(made)
            load_recipe(path)

        yield case


def _card(rng: np.random.Generator, checkpoint: Path, card: Any) -> None:
    tree = json.loads(json.dumps(card))
    facts = {key: value for key, value in tree.items() if key != "facts"}  # facts are free text
    parent, key = _pick(rng, facts)
    parent[key] = HOSTILE[rng.integers(len(HOSTILE))]
    (checkpoint / "card.json").write_bytes(
        json.dumps({**tree, **facts}).encode("utf-8", "surrogatepass")
    )
    load_checkpoint(checkpoint)


def _pick(rng: np.random.Generator, tree: Any) -> tuple[Any, Any]:
    places = list(_places(tree))
    return places[rng.integers(len(places))]


def _value(rng: np.random.Generator, text: str) -> bytes:
    tree = yaml.safe_load(text)
    parent, key = _pick(rng, tree)
    parent[key] = HOSTILE[rng.integers(len(HOSTILE))]
    return json.dumps(tree).encode("utf-8", "surrogatepass")


def _remove(rng: np.random.Generator, text: str) -> bytes:
    tree = yaml.safe_load(text)
    parent, key = _pick(rng, tree)
    del parent[key]
    return json.dumps(tree).encode()


def _raw(rng: np.random.Generator, text: str) -> bytes:
    """A line's value becomes YAML that is hard to read."""
    lines = [line for line in text.splitlines() if ": " in line]
    line = lines[rng.integers(len(lines))]
    hard = _YAML[rng.integers(len(_YAML))]
    return text.replace(line, f"{line.split(':')[0]}: {hard}").encode()


def _bomb(rng: np.random.Generator, text: str) -> bytes:
    """Aliases of aliases instead of a value: nine levels of ten are 10^9 items."""
    levels = int(rng.integers(3, 12))
    head = "a0: &a0 [x,x,x,x,x,x,x,x,x,x]\n"
    for i in range(1, levels):
        head += f"a{i}: &a{i} [{','.join([f'*a{i - 1}'] * 10)}]\n"
    line = next(line for line in text.splitlines() if ": " in line and not line.startswith("#"))
    return (
        (text.replace(line, f"{line.split(':')[0]}: *a{levels - 1}") + "\n" + head).encode()
        if (rng.random() < 0.5)
        else (head + text.replace(line, f"{line.split(':')[0]}: *a{levels - 1}")).encode()
    )


def _bytes(rng: np.random.Generator, text: str) -> bytes:
    changed = bytearray(text.encode())
    for _ in range(rng.integers(1, 10)):
        changed[rng.integers(len(changed))] = rng.integers(256)
    return bytes(changed)


if __name__ == "__main__":
    main(cases, 2_000)
