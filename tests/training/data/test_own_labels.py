"""User-defined labels are the names of the class folders."""

from __future__ import annotations

import shlex
from pathlib import Path

import cv2
import numpy as np
import pytest

from fer_edge.errors import DataError, LabelError
from fer_edge.training.config.recipe import load_recipe
from fer_edge.training.data.faces import load_faces
from fer_edge.training.data.own_labels import class_names, labels_for, own_labels, set_labels
from fer_edge.training.data.parts import load_parts


def folders(root: Path, *names: str) -> Path:
    for seed, name in enumerate(names):
        (root / name).mkdir(parents=True)
        pixels = np.random.default_rng(seed).integers(0, 256, (16, 16), np.uint8)
        cv2.imwrite(str(root / name / "1.png"), pixels)
    return root


@pytest.mark.parametrize(
    ("names", "labels"),
    [
        (["awake", "drowsy"], ("awake", "drowsy")),
        (["distracted", "drowsy", "neutral"], ("distracted", "drowsy", "neutral")),
        (["angry", "happy"], None),
        (["angry", "happy", "suprise"], None),
        ([], None),
    ],
)
def test_classes_are_labels_or_emotions(names: list[str], labels: tuple[str, ...] | None) -> None:
    assert own_labels(names) == labels


def test_labels_of_a_folder(tmp_path: Path) -> None:
    own = folders(tmp_path / "own", "drowsy", "awake")
    assert class_names(own) == ["awake", "drowsy"]
    assert labels_for(own) == ("awake", "drowsy")
    assert labels_for(folders(tmp_path / "some", "happy", "Sad")) == ("happiness", "sadness")
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="folder for each class"):
        labels_for(tmp_path / "empty")


def test_parts_take_them_unnamed(tmp_path: Path) -> None:
    said: list[str] = []
    parts, _ = load_parts(folders(tmp_path / "own", "drowsy", "awake"), None, said.append)
    assert {face.label for face in parts["train"]} == {"awake", "drowsy"}
    assert said == ["Labels, taken from the data: awake, drowsy"]


def test_a_misspelt_emotion_names_the_option(tmp_path: Path) -> None:
    data = folders(tmp_path / "bad", "angry", "happy", "suprise")
    with pytest.raises(LabelError, match="--labels 'angry,happy,suprise'"):
        load_parts(data, None, print)


def test_faces_of_other_labels_are_not_all_left_out(tmp_path: Path) -> None:
    data = folders(tmp_path / "some", "happy", "sad")
    with pytest.raises(LabelError, match=r"--set 'labels=\[happiness,sadness\]'"):
        load_faces(data, None, ("awake", "drowsy"))
    with pytest.raises(LabelError, match=r"'.*@drop=sadness'"):
        load_faces(data, None, ("awake", "happiness"))


def test_the_advised_option_is_read_back_as_the_labels() -> None:
    names = ("awake", "no", "On", "1", "a, b", "it's", "not sure", "été", "null", "1e3")
    option, value = shlex.split(set_labels(names))
    assert option == "--set"
    assert load_recipe("finetune", [value]).labels == names
    assert set_labels(["awake", "drowsy"]) == "--set 'labels=[awake,drowsy]'"
