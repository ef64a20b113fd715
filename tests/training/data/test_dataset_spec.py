"""Options of a data set are parsed strictly."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from fer_edge.errors import DataError, LabelError
from fer_edge.training.data.dataset_spec import DatasetSpec, as_label


def test_options_stand_behind_an_at() -> None:
    source = DatasetSpec.parse("a@b/set@labels=ferplus,drop=contempt/fear,broken=skip")
    assert source == DatasetSpec("a@b/set", "ferplus", None, ("contempt", "fear"), None, "skip")
    assert source.described == "set@labels=ferplus,drop=contempt/fear,broken=skip"
    assert DatasetSpec.parse(source.text) == source
    assert source.located().path == str(Path.cwd() / "a@b/set")
    assert DatasetSpec.parse("user@host").path == "user@host"
    assert DatasetSpec.parse("/home/me/fer2013").described == "fer2013"


def test_a_path_that_is_there_is_a_path(tmp_path: Path) -> None:
    path = tmp_path / "set@labels=ferplus"
    path.mkdir()
    assert DatasetSpec.parse(path) == DatasetSpec(str(path))


def test_a_path_longer_than_a_file_name_has_options_too() -> None:
    assert DatasetSpec.parse("a" * 300 + "@labels=none") == DatasetSpec("a" * 300, "none")


@pytest.mark.parametrize("text", ["", "@labels=none"])
def test_an_empty_path_is_not_the_current_folder(text: str) -> None:
    with pytest.raises(DataError, match="expected a data set's path, got"):
        DatasetSpec.parse(text)


@pytest.mark.parametrize(
    "options", ["label=x", "labels=votes", "broken=maybe", "colour=hsv", "order="]
)
def test_an_unknown_option_is_named(options: str) -> None:
    with pytest.raises(DataError, match=options.split("=")[0]):
        DatasetSpec.parse(f"set@{options}")


@pytest.mark.parametrize("value", [2, 2.0, "2", "2.0", " 2 ", b"2"])
def test_a_whole_number_is_a_label_in_any_form(value: Any) -> None:
    assert as_label(value, "here") == 2


@pytest.mark.parametrize("value", [None, float("nan")])
def test_a_missing_label_is_called_missing(value: Any) -> None:
    with pytest.raises(LabelError, match=r"row 7 has no label\. Write one, or remove the row"):
        as_label(value, "faces.parquet, row 7")


@pytest.mark.parametrize("value", [0.5, float("inf"), 1e300, True, [1]])
def test_other_types_are_no_labels(value: Any) -> None:
    with pytest.raises(LabelError, match="expected a label name or number in here"):
        as_label(value, "here")
