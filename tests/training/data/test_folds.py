"""Folds as text."""

from __future__ import annotations

import pytest

from fer_edge.errors import DataError, InputError
from fer_edge.training.data.faces import LabelledFace
from fer_edge.training.data.folds import Fold, fold_of


def test_a_fold_reads_as_it_is_written() -> None:
    assert Fold.parse("1/3") == Fold(1, 3)
    assert str(Fold.parse("0/10")) == "0/10"


@pytest.mark.parametrize("text", ["3/3", "-1/3", "1", "a/b", "0/0", "0/101", "1/3/4", "٣/٤"])
def test_other_text_is_refused(text: str) -> None:
    with pytest.raises(InputError, match="expected a fold such as 0/3"):
        Fold.parse(text)


def test_an_empty_fold_is_an_error() -> None:
    face = LabelledFace(b"", "", "one")
    other = next(i for i in range(3) if i != fold_of("one", 3))
    with pytest.raises(DataError, match=r"is empty\. Use fewer folds"):
        Fold(other, 3).of([face])
