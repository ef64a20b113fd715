"""Kaggle's FER2013 and lists of files are read strictly."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fer_edge.errors import DataError
from fer_edge.training.data.faces import load_faces

KAGGLE = ["anger", "disgust", "fear", "happiness", "sadness", "surprise", "neutral"]
"""Meaning of 0..6 in the CSV, as Kaggle's page states it."""
PIXELS = " ".join(["0", "255"] * (48 * 48 // 2))


def test_csv_numbers_are_named_in_kaggles_order(samples: Any, tmp_path: Path) -> None:
    assert sorted(KAGGLE) != KAGGLE  # or this would prove nothing
    path = samples.write_csv(tmp_path / "fer2013.csv", [samples.csv_row(i, i) for i in range(7)])
    assert [f.label for f in load_faces(path)] == KAGGLE


def test_csv_pictures_are_the_pixels_of_their_row(samples: Any, tmp_path: Path) -> None:
    path = samples.write_csv(
        tmp_path / "fer2013.csv", [samples.csv_row(3, 11), samples.csv_row(6, 12)]
    )
    for found, seed in zip(load_faces(path), (11, 12), strict=True):
        assert np.array_equal(found.read(), np.repeat(samples.noise(seed)[..., None], 3, axis=2))


def test_csv_numbers_may_have_a_decimal_point(samples: Any, tmp_path: Path) -> None:
    path = samples.write_csv(
        tmp_path / "fer2013.csv", [samples.csv_row("3.0"), samples.csv_row("6.00", 1)]
    )
    assert [f.label for f in load_faces(path)] == ["happiness", "neutral"]


@pytest.mark.parametrize(
    ("pixels", "match"),
    [
        (PIXELS.replace("255", "244.0"), r"whole numbers from 0 to 255 as pixels, got '244\.0'"),
        ("1 " * 100, "expected 48x48 pixels, got 100 numbers"),
        ("", "expected 48x48 pixels, got 0 numbers"),
        (PIXELS + " 9" * 25, "expected 48x48 pixels, got 2,329 numbers"),
        ("7 " + "9" * 30, "whole numbers from 0 to 255 as pixels, got '999999"),
        ("9" * 30 + PIXELS[1:], "expected whole numbers from 0 to 255 as pixels"),
    ],
    ids=["float", "100", "none", "2329", "one huge", "huge"],
)
def test_csv_pixels_of_another_form_are_a_sentence(
    samples: Any, tmp_path: Path, pixels: str, match: str
) -> None:
    path = samples.write_csv(tmp_path / "fer2013.csv", [("3", pixels, "Training")])
    with pytest.raises(DataError, match=f"line 2: not a FER2013 row: .*{match}"):
        load_faces(path)


def test_csv_names_are_taken_as_names(samples: Any, tmp_path: Path) -> None:
    path = samples.write_csv(
        tmp_path / "fer2013.csv", [samples.csv_row("Happy"), samples.csv_row("sad", 1)]
    )
    assert [f.label for f in load_faces(path)] == ["happiness", "sadness"]


def test_csv_with_spaces_in_its_header_is_read(samples: Any, tmp_path: Path) -> None:
    row = samples.csv_row(0)
    path = samples.write_csv(
        tmp_path / "f.csv", [(row[0], row[2], row[1])], "emotion, Usage, pixels"
    )
    assert [f.label for f in load_faces(path, "train")] == ["anger"]


@pytest.mark.parametrize(
    ("usage", "split"), [("Training", "train"), ("PublicTest", "val"), ("PrivateTest", "test")]
)
def test_csv_usage_decides_the_split(samples: Any, tmp_path: Path, usage: str, split: str) -> None:
    usages = ["Training", "PublicTest", "PrivateTest"]
    path = samples.write_csv(
        tmp_path / "f.csv", [samples.csv_row(i, i, u) for i, u in enumerate(usages)]
    )
    assert [f.label for f in load_faces(path, split)] == [KAGGLE[usages.index(usage)]]
    assert len(load_faces(path)) == 3


@pytest.mark.parametrize(
    "row",
    [
        (7, PIXELS, "Training"),
        (-1, PIXELS, "Training"),
        ("hangry", PIXELS, "Training"),
        (0, "1 2 3", "Training"),
        (0, "1 2 x", "Training"),
        (0, " ".join(["256"] * 2304), "Training"),
        (0,),
    ],
    ids=["too high", "negative", "no emotion", "too few", "no number", "over 255", "short"],
)
def test_a_broken_csv_row_is_named_by_its_line(
    samples: Any, tmp_path: Path, row: tuple[object, ...]
) -> None:
    path = samples.write_csv(tmp_path / "f.csv", [samples.csv_row(0), samples.csv_row(1), row])
    with pytest.raises(DataError, match="line 4"):
        load_faces(path)


def test_a_csv_without_the_columns_is_refused(samples: Any, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="emotion, pixels"):
        load_faces(samples.write_csv(tmp_path / "f.csv", [(1, 2)], "label,image"))


def test_a_csv_that_is_no_text_is_a_data_error(samples: Any, tmp_path: Path) -> None:
    path = tmp_path / "f.csv"
    path.write_bytes(samples.noise_png(0))
    with pytest.raises(DataError, match=r"f\.csv"):
        load_faces(path)


def test_votes_are_taken_along_row_by_row(samples: Any, tmp_path: Path) -> None:
    path = samples.fer_plus(tmp_path / "set").split("@")[0]
    faces = load_faces(path, "train")
    assert [f.votes.index(8) for f in faces if f.votes] == list(range(8))
    assert {f.label for f in faces} == {"happiness"}


def test_votes_fit_their_rows_across_blank_lines(samples: Any, tmp_path: Path) -> None:
    path = Path(samples.fer_plus(tmp_path / "set").split("@")[0])
    expected = [face.votes for face in load_faces(path, "train")]
    for file in path.glob("*.csv"):
        head, *rest = file.read_text().splitlines()
        blank = [] if file.name == "fer2013new.csv" else ["", "", ""]
        file.write_text("\n".join([head, *blank, *rest]))
    assert [face.votes for face in load_faces(path, "train")] == expected


@pytest.mark.parametrize(("emotion", "words"), [("hangry", "hangry"), ("", "the row has no label")])
def test_a_bad_row_below_blank_lines_has_the_line_of_an_editor(
    samples: Any, tmp_path: Path, emotion: str, words: str
) -> None:
    rows = [samples.csv_row(0), (), (), (), samples.csv_row(1), (emotion, *samples.csv_row(0)[1:])]
    with pytest.raises(DataError, match=f"line 7: not a FER2013 row: .*{words}"):
        load_faces(samples.write_csv(tmp_path / "f.csv", rows))


def test_votes_about_another_file_are_refused(samples: Any, tmp_path: Path) -> None:
    path = Path(samples.fer_plus(tmp_path / "set").split("@")[0])
    votes = path / "fer2013new.csv"
    for change in (lambda t: t.replace("Training", "PublicTest", 1), lambda t: t[: len(t) // 2]):
        before = votes.read_text()
        votes.write_text(change(before))
        with pytest.raises(DataError, match=r"fer2013new\.csv"):
            load_faces(path, "train")
        votes.write_text(before)


def test_a_list_says_subject_clip_and_votes(samples: Any, tmp_path: Path) -> None:
    samples.put(tmp_path / "a.png", samples.png("fear"))
    columns = [
        "path",
        "label",
        "split",
        "subject",
        "clip",
        *(f"ferplus_{n}" for n in samples.FERPLUS),
    ]
    with (tmp_path / "list.csv").open("w", newline="") as file:
        csv.writer(file).writerows([columns, ["a.png", "fear", "val", "s1", "c1", *range(10)]])
    (face,) = load_faces(tmp_path / "list.csv", "val")
    assert (face.subject, face.clip, face.votes) == ("s1", "c1", tuple(range(10)))


@pytest.mark.parametrize("vote", ["-5", "1000001", "1" + "0" * 30, "9" * 5000])
def test_numbers_of_votes_are_bounded(samples: Any, tmp_path: Path, vote: str) -> None:
    samples.put(tmp_path / "a.png", samples.png("fear"))
    columns = ["path", "label", *(f"ferplus_{n}" for n in samples.FERPLUS)]
    with (tmp_path / "list.csv").open("w", newline="") as file:
        csv.writer(file).writerows([columns, ["a.png", "fear", *range(9), vote]])
    with pytest.raises(DataError, match=r"list\.csv, line 2"):
        load_faces(tmp_path / "list.csv")


@pytest.mark.parametrize("vote", ["-5", "1000001"])
def test_numbers_of_votes_beside_fer2013_are_bounded(
    samples: Any, tmp_path: Path, vote: str
) -> None:
    path = Path(samples.fer_plus(tmp_path / "set").split("@")[0])
    votes = path / "fer2013new.csv"
    head, first, *rest = votes.read_text().splitlines()
    changed = ",".join([*first.split(",")[:-1], vote])
    votes.write_text("\n".join([head, changed, *rest]))
    with pytest.raises(DataError, match=r"fer2013new\.csv, line 2.*Correct the number"):
        load_faces(path, "train")


@pytest.mark.parametrize("name", ["../outside.png", "/etc/passwd", "below/../../outside.png"])
def test_a_list_names_no_file_outside_its_folder(samples: Any, tmp_path: Path, name: str) -> None:
    samples.put(tmp_path / "outside.png", samples.png("fear"))
    samples.put(tmp_path / "set" / "list.csv", f"path,label\n{name},fear\n".encode())
    with pytest.raises(DataError, match="only files inside"):
        load_faces(tmp_path / "set" / "list.csv")


def test_spaces_at_the_end_of_a_cell_make_no_other_person(samples: Any, tmp_path: Path) -> None:
    for i in range(3):
        samples.put(tmp_path / f"{i}.png", samples.png("fear"))
    samples.put(tmp_path / "3.png ", samples.png("fear"))
    rows = [("0.png", "fear", "p1", "c1"), ("1.png ", "fear ", "p1 ", "c1 ")]
    rows += [("2.png", "fear", "nan", ""), ("3.png ", "fear", "", "<NA>")]
    path = samples.write_csv(tmp_path / "list.csv", rows, "path,label,subject,clip")
    faces = load_faces(path)
    assert [face.subject for face in faces] == ["p1", "p1", None, None]
    assert [face.clip for face in faces] == ["c1", "c1", None, None]
    assert [face.label for face in faces] == ["fear"] * 4
    assert [face.read().shape for face in faces] == [(48, 48, 3)] * 4
