"""Untrusted cards are checked before a network is built."""

from __future__ import annotations

import json
import os
import resource
from pathlib import Path
from typing import Any

import pytest

from fer_edge.errors import CheckpointError
from fer_edge.training.checkpoint import CARD, WEIGHTS, load_checkpoint, save_checkpoint

NAN, INF = float("nan"), float("inf")


@pytest.fixture
def folder(untrained: Any, tmp_path: Path) -> Path:
    save_checkpoint(untrained(), tmp_path / "best")
    return tmp_path / "best"


def edit(folder: Path, key: str, value: Any) -> None:
    content = json.loads((folder / CARD).read_text("utf-8"))
    part = content
    *sections, last = key.split(".")
    for section in sections:
        part = part[section]
    part[last] = value
    (folder / CARD).write_text(json.dumps(content), "utf-8")


SEVEN = ["anger", "disgust", "fear", "happiness", "neutral", "sadness"]
HOSTILE: list[tuple[str, Any]] = [
    *(("model.labels", labels) for labels in (
        ["a"] * 7, [""] * 7, [*SEVEN, "\n"], [*SEVEN, "\u202eevil"], [*SEVEN, "happy"], "surpris",
        [*SEVEN, "x" * 65], [*SEVEN, 7], [], None, [*SEVEN, "Anger"], [*SEVEN, " a"],
    )),
    *(("model.input.std", [std]) for std in (0, NAN, INF, -1, -0.0, 10**400, "1", True, None)),
    *(("model.input.mean", [mean]) for mean in (NAN, INF, 10**400, "1", None, [])),
    *(("model.input.size_px", size) for size in (-1, 0, 15, 1025, 10**9, 10**400, 48.5, "48", True,
                                                 NAN, None)),
    *(("model.dropout", dropout) for dropout in (NAN, 5, -1, 1, INF, 10**400, "0", None, True)),
    *(("model.neck", neck) for neck in (
        ["linear 999999999999"], ["linear \u00b2"], ["linear 0"], ["linear -1"], ["dropout nan"],
        ["dropout 1"], ["linear 8"] * 17, ["relu"] * 100_000, "relu", [None], ["x" * 10_000], {},
    )),
    *(("model.backbone_args", args) for args in (
        {"act_layer": "no_such"}, {"norm_layer": 5}, {"drop_rate": NAN},
        {"drop_path_rate": 10**400}, {"global_pool": "x" * 1000}, {"a": [[[[[1]]]]]},
        {"depth": 10**9}, {"": 1}, {"self": 1}, {"in_chans": 3}, {"num_classes": 9}, [], "x", None,
        {"block_fns": ["\n"]}, {"pretrained": True}, {"channels": [8] * 100}, {"layers": "abc"},
        {"features_only": True},
    )),
    *(("model.backbone", name) for name in (
        "", "x" * 100_000, "hf-hub:a/b", 7, None, "eva02_enormous_patch14_clip_224",
        "vit_giantopt_patch16_siglip_384", "../x", "test_vit",
    )),
    *((key, value) for key in ("temperature", "abstain_below")
      for value in (NAN, INF, 10**400, "x" * 10_000, [], True)),
    *(("schema", value) for value in (2, "1", None, [1], "x" * 10_000)),
]  # fmt: skip


@pytest.mark.parametrize(("key", "value"), HOSTILE, ids=lambda value: str(value)[:40])
def test_a_hostile_value_is_refused_in_a_sentence(folder: Path, key: str, value: Any) -> None:
    edit(folder, key, value)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(CheckpointError) as caught:
        load_checkpoint(folder)
    assert len(str(caught.value)) < 1200
    assert str(caught.value).isprintable()
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    assert grown < 300, f"{grown:.0f} MB"


def test_the_network_is_not_built_further_than_the_file_has_tensors(folder: Path) -> None:
    """A million blocks on the meta device need no memory, but hours."""
    edit(folder, "model.backbone", "test_vit")
    edit(folder, "model.backbone_args", {"img_size": 48, "depth": 999_999})
    edit(folder, "model.input.colour", "grey")
    with pytest.raises(CheckpointError, match="more parameters than the file"):
        load_checkpoint(folder)


@pytest.mark.parametrize(
    "text",
    ["[" * 200_000, '{"schema": ' * 100_000, '{"schema": 1, "facts": ' + "[" * 50 + "]" * 50 + "}",
     "{}", "null", "", "\x00", " " * (5 << 20), "9" * 5000],
    ids=lambda text: text[:10],
)  # fmt: skip
def test_a_card_that_is_no_card_is_refused(folder: Path, text: str) -> None:
    (folder / CARD).write_text(text, "utf-8")
    with pytest.raises(CheckpointError):
        load_checkpoint(folder)


@pytest.mark.parametrize("name", [CARD, WEIGHTS])
@pytest.mark.parametrize("kind", ["pipe", "folder"])
def test_only_files_are_opened(folder: Path, name: str, kind: str) -> None:
    (folder / name).unlink()
    if kind == "pipe":
        os.mkfifo(folder / name)
    else:
        (folder / name).mkdir()
    with pytest.raises(CheckpointError, match="expected a file"):
        load_checkpoint(folder)
