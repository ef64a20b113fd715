"""A class without faces is said before a network is trained without it."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from fer_edge.errors import DataError
from fer_edge.labels import EMOTIONS
from fer_edge.training.config.schema import Recipe
from fer_edge.training.data.holdout import Holdout, split_data
from fer_edge.training.data.parts import class_warning
from fer_edge.training.data.summary import summarise, table


def test_a_warning_names_every_class_without_faces(samples: Any) -> None:
    faces = [samples.face(i, label) for i, label in enumerate(EMOTIONS)]
    assert class_warning(faces, EMOTIONS) == ""
    assert class_warning(faces[1:], EMOTIONS).startswith("No face of anger. ")
    assert "all faces are surprise" in class_warning(faces[6:], EMOTIONS)


@pytest.mark.parametrize("kept", [["happy"], ["happy", "sad"]])
def test_train_and_summary_say_so(
    samples: Any, recipe: Recipe, tmp_path: Path, kept: list[str]
) -> None:
    folder = samples.write_classes(tmp_path / "faces", per_class=4)
    for name in set(samples.FOLDERS) - set(kept):
        shutil.rmtree(folder / name)
        (folder / name).mkdir()
    said: list[str] = []
    split_data(folder, recipe.labels, Holdout.of(recipe), lambda *_: None, said.append)
    assert "No face of anger, disgust, fear" in said[0]
    lines = "\n".join(table(summarise(folder)))
    assert "warning: no face of anger, disgust, fear" in lines
    assert ("warning: all faces are happiness" in lines) == (len(kept) == 1)


def test_a_set_of_broken_pictures_is_a_sentence(
    samples: Any, recipe: Recipe, tmp_path: Path
) -> None:
    samples.put(tmp_path / "happy" / "0.png", b"no picture")
    with pytest.raises(DataError, match="can be read"):
        split_data(
            f"{tmp_path}@broken=skip",
            recipe.labels,
            Holdout.of(recipe),
            lambda *_: None,
        )
