"""Labels are matched by name, and dropped by any name that a data set has for them."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from fer_edge.errors import LabelError
from fer_edge.labels import EMOTIONS
from fer_edge.training.data.faces import load_faces


def loaded(spec: str, labels: tuple[str, ...] | None = EMOTIONS) -> tuple[Counter[str], list[str]]:
    said: list[str] = []
    faces = load_faces(spec, "train", labels, said.append)
    return Counter(face.label for face in faces), said


def test_a_label_that_no_model_knows_is_dropped(samples: Any, tmp_path: Path) -> None:
    path = samples.write_parquet(tmp_path / "f.parquet", ["happy", "other", "other", "sad", "?"])
    with pytest.raises(LabelError, match=r"unknown ones: '\?', 'other'"):
        loaded(str(path))
    with pytest.raises(LabelError, match=r"unknown ones: '\?'"):
        loaded(f"{path}@drop=other")
    labels, said = loaded(f"{path}@drop=other/sad/?")
    assert labels == {"happiness": 1}
    assert said == [f"{path}: left out 1 ?, 2 other, 1 sadness"]


def test_an_emotion_is_dropped_by_every_word_for_it(samples: Any, tmp_path: Path) -> None:
    path = samples.write_parquet(tmp_path / "f.parquet", ["Happy", "sad", "fear"])
    for word in ("joy", "happiness", "Happy", "joy/happy"):
        labels, said = loaded(f"{path}@drop={word}")
        assert labels == {"sadness": 1, "fear": 1}
        assert said == [f"{path}: left out 1 happiness"]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ("order=anger/fear/other,drop=other", "2 other"),
        ("order=anger/fear/other,drop=2", "2 2"),
        ("order=anger/fear,drop=2", "2 2"),
        ("order=anger/fear/sad,drop=sad", "2 sadness"),
        ("order=anger/fear/sad,drop=sadness", "2 sadness"),
    ],
)
def test_numbers_are_dropped_by_number_or_name(
    samples: Any, tmp_path: Path, options: str, said: str
) -> None:
    path = samples.write_parquet(tmp_path / "f.parquet", [0, 1, 2, 2])
    labels, sentences = loaded(f"{path}@{options}")
    assert labels == {"anger": 1, "fear": 1}
    assert sentences == [f"{path}: left out {said}"]


def test_a_name_that_nothing_has_is_reported(samples: Any, tmp_path: Path) -> None:
    path = samples.write_parquet(tmp_path / "f.parquet", ["happy", "sad"])
    labels, said = loaded(f"{path}@drop=contempt/neutrl")
    assert labels.total() == 2
    assert said == [f"{path}: no picture has the label neutrl of drop. Check its spelling"]


def test_votes_are_dropped_by_the_name_that_they_chose(samples: Any, tmp_path: Path) -> None:
    spec = samples.fer_plus(tmp_path / "set")  # the file's own labels say happy of everything
    whole, _ = loaded(spec, None)
    labels, _ = loaded(f"{spec},drop=happiness", None)
    assert labels == {name: count for name, count in whole.items() if name != "happiness"}
