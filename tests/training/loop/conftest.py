"""Helpers of the tests that train: what a run leaves, and how to kill it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet
import pytest
import torch

from fer_edge.training.config.schema import Augment, InCar


class Helpers:
    """Functions that several test files share; pytest imports no module of another test."""

    class KillError(Exception):
        """Raised by a step callback in the middle of a run."""

    @staticmethod
    def quiet(text: str) -> None:
        """Ignore a message."""

    @staticmethod
    def files(folder: Path) -> dict[str, bytes]:
        """Return the content of every file of a folder, by relative path."""
        paths = (path for path in folder.rglob("*") if path.is_file())
        return {path.relative_to(folder).as_posix(): path.read_bytes() for path in paths}

    @staticmethod
    def rows(run: Path) -> list[dict[str, Any]]:
        """Return the rows of metrics.jsonl without the time."""
        lines = (run / "metrics.jsonl").read_text("utf-8").splitlines()
        rows = [json.loads(line) for line in lines]
        return [{k: v for k, v in row.items() if k != "seconds"} for row in rows]

    @staticmethod
    def state(run: Path) -> dict[str, Any]:
        """Return the content of state.pt."""
        loaded = torch.load(run / "state.pt", weights_only=True)
        assert isinstance(loaded, dict)
        return loaded

    @classmethod
    def stop_in(cls, epoch: int) -> Callable[[str, int, int], None]:
        """Return a step callback that kills the run in the middle of an epoch."""

        def step(what: str, done: int, total: int) -> None:
            if what.startswith(f"epoch {epoch}/") and done == 2:
                raise cls.KillError

        return step

    @staticmethod
    def few_rows(few_faces: Path) -> list[Any]:
        """Return the rows of the training part of ``few_faces``."""
        table = pyarrow.parquet.read_table(few_faces / "faces-train.parquet")
        rows: list[Any] = table.to_pylist()
        return rows

    @staticmethod
    def write_parts(folder: Path, train_rows: list[Any], val_rows: list[Any]) -> Path:
        """Write rows as the parts of a data set; return its folder."""
        for split, part in (("train", train_rows), ("val", val_rows)):
            table = pyarrow.Table.from_pylist(part)
            pyarrow.parquet.write_table(table, folder / f"faces-{split}.parquet")
        return folder


@pytest.fixture(scope="session")
def helpers() -> type[Helpers]:
    return Helpers


@pytest.fixture(scope="session")
def every_augmentation() -> Augment:
    """All augmentations that a recipe can ask for, at once."""
    return Augment(
        incar=InCar(*[0.5] * 7),
        crop_px=44,
        resized_crop=0.7,
        rotate_deg=10,
        translate=0.1,
        scale=0.1,
        perspective=0.5,
        brightness=0.2,
        contrast=0.2,
        saturation=0.2,
        blur=0.5,
        randaugment=2,
        erase=0.5,
        mixup=0.2,
        cutmix=1.0,
    )
