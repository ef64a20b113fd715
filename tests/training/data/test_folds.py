"""Folds as text."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from fer_edge.errors import DataError, InputError
from fer_edge.training.data.faces import LabelledFace, load_faces, pixel_hash
from fer_edge.training.data.folds import Fold, fold_of


def test_a_fold_reads_as_it_is_written() -> None:
    assert Fold.parse("1/3") == Fold(1, 3)
    assert str(Fold.parse("0/10")) == "0/10"


@pytest.mark.parametrize("text", ["3/3", "-1/3", "1", "a/b", "0/0", "0/101", "1/3/4", "٣/٤"])
def test_other_text_is_refused(text: str) -> None:
    with pytest.raises(InputError, match="expected a fold such as 0/3"):
        Fold.parse(text)


def folds(spec: str) -> list[list[str]]:
    """Hashes of the pictures outside each of seven folds, by ``without`` and by Fold."""
    path, at, options = spec.partition("@")
    every = load_faces(spec, "train", say=lambda _: None)
    left = []
    for number in range(7):
        fold = Fold(number, 7)
        left.append([pixel_hash(face) for face in fold.without(every, path)])
        if left[-1]:
            more = f"{options},without={fold}" if at else f"without={fold}"
            faces = load_faces(f"{path}@{more}", "train", say=lambda _: None)
            assert [pixel_hash(face) for face in faces] == left[-1]
    return left


@pytest.mark.filterwarnings("ignore:.*left out")
def test_folds_do_not_depend_on_how_the_path_is_written(
    samples: Any,
    tmp_path: Path,
    make: Callable[[Path], str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in ("here", "there"):
        (tmp_path / name).mkdir()
    spec = make(tmp_path / "here" / "fer2013")
    if spec.startswith("hf:"):
        pytest.skip("a name on the Hub is written in one way")
    monkeypatch.chdir(tmp_path / "here")
    one = folds(spec)
    inside = spec.removeprefix(f"{tmp_path}/here/")
    path, at, options = inside.partition("@")
    for other in (inside, f"./{inside}", f"../here/{inside}", f"../there/../here/{inside}"):
        assert folds(other) == one, other
    if Path(path).is_dir():
        assert folds(f"{path}/{at}{options}") == one
    (tmp_path / "there" / "link").symlink_to(tmp_path / "here")
    assert folds(f"{tmp_path}/there/link/{inside}") == one


def test_a_name_of_its_own_is_no_path(
    samples: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The list lies in a folder of the same name as the one that it names."""
    names = [f"set/{i}.png" for i in range(9)]
    for i, name in enumerate(names):
        samples.put(tmp_path / "set" / name, samples.noise_png(i))
    rows = ["path,label", *(f"{name},fear" for name in names)]
    (tmp_path / "set" / "list.csv").write_text("\n".join(rows))
    monkeypatch.chdir(tmp_path)
    for path in ("set/list.csv", str(tmp_path / "set" / "list.csv")):
        left = load_faces(f"{path}@without=0/3", say=lambda _: None)
        assert [face.name for face in left] == [name for name in names if fold_of(name, 3)]


def test_an_empty_fold_is_an_error() -> None:
    face = LabelledFace(b"", "", "one")
    other = next(i for i in range(3) if i != fold_of("one", 3))
    with pytest.raises(DataError, match=r"is empty\. Use fewer folds"):
        Fold(other, 3).of([face])
