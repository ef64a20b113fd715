"""CSV files of spreadsheets, Kaggle and other tools are read, or refused with the column."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from fer_edge.errors import DataError, LabelError
from fer_edge.training.data import bounds
from fer_edge.training.data.csv_text import records
from fer_edge.training.data.faces import load_faces


def table(samples: Any) -> str:
    rows = [samples.csv_row(i, i) for i in range(3)]
    return "\n".join(["emotion,pixels,Usage", *(",".join(map(str, row)) for row in rows)]) + "\n"


@pytest.mark.parametrize(
    "encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32"]
)
@pytest.mark.parametrize("separator", [",", ";", "\t"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_a_fer2013_file_is_read_as_any_tool_writes_it(
    samples: Any, tmp_path: Path, encoding: str, separator: str, end: str
) -> None:
    path = tmp_path / "fer2013.csv"
    path.write_bytes(table(samples).replace(",", separator).replace("\n", end).encode(encoding))
    assert [f.label for f in load_faces(path, "train")] == ["anger", "disgust", "fear"]


def test_excels_line_with_the_separator_is_no_header(samples: Any, tmp_path: Path) -> None:
    path = tmp_path / "fer2013.csv"
    path.write_text("sep=;\r\n" + table(samples).replace(",", ";"), "utf-8-sig")
    assert len(load_faces(path)) == 3


def test_a_mark_between_joined_files_is_no_part_of_a_cell(samples: Any, tmp_path: Path) -> None:
    path = tmp_path / "fer2013.csv"
    path.write_text("\ufeff" + table(samples).rstrip("\n") + "\ufeff\n", "utf-8")
    assert len(load_faces(path)) == 3


@pytest.mark.parametrize(
    ("header", "named"),
    [
        ("label,pixels,Usage", "column emotion.*'label'"),
        ("\u00e9motion,pixels,Usage", "column emotion"),
        ("pixels", "column emotion"),
        ("emotion,pixel,Usage", "emotion, pixels"),
        ("emotion,pixels,emotion", "'emotion' twice"),
    ],
)
def test_a_missing_or_doubled_column_is_named(
    samples: Any, tmp_path: Path, header: str, named: str
) -> None:
    with pytest.raises(DataError, match=named):
        load_faces(samples.write_csv(tmp_path / "f.csv", [samples.csv_row(0)], header))


@pytest.mark.parametrize("below", [None, "__MACOSX", ".ipynb_checkpoints", "fer2013"])
def test_kaggles_own_download_is_read(samples: Any, tmp_path: Path, below: str | None) -> None:
    samples.write_csv(tmp_path / "example_submission.csv", [(0,)], "emotion")
    samples.write_csv(tmp_path / "test.csv", [samples.csv_row(0)[1:2]], "pixels")
    samples.write_csv(tmp_path / "train.csv", [samples.csv_row(0)[:2]], "emotion,pixels")
    rows = [samples.csv_row(i, i) for i in range(3)]
    samples.write_csv(
        tmp_path / "icml_face_data.csv", [(a, c, b) for a, b, c in rows], "emotion, Usage, pixels"
    )
    if below:
        (tmp_path / below).mkdir()
        (tmp_path / below / "notes.txt").write_text("x")
    assert len(load_faces(tmp_path, "train")) == 3


def test_several_csv_files_that_fit_are_named(samples: Any, tmp_path: Path) -> None:
    for name in ("a.csv", "b.csv"):
        samples.write_csv(tmp_path / name, [samples.csv_row(0)])
    with pytest.raises(DataError, match=r"a\.csv, b\.csv.*Name one"):
        load_faces(tmp_path)


@pytest.mark.parametrize("column", ["path", "pth", "file", "filename"])
@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_a_list_is_read_as_any_tool_writes_it(
    samples: Any, tmp_path: Path, column: str, encoding: str
) -> None:
    samples.put(tmp_path / "a" / "1.png", samples.png("fear"))
    text = f"{column};label\na\\1.png;fear\n{tmp_path.resolve() / 'a' / '1.png'};fear\n"
    (tmp_path / "list.csv").write_text(text, encoding)
    faces = load_faces(tmp_path / "list.csv")
    assert [f.read().shape for f in faces] == [(48, 48, 3)] * 2


@pytest.mark.parametrize("name", ["/etc/passwd", "../outside.png", "a/..", "link.png", "x" * 5000])
def test_a_list_names_no_file_outside_its_folder(samples: Any, tmp_path: Path, name: str) -> None:
    folder = tmp_path / "set"
    samples.put(folder / "a" / "1.png", samples.png("fear"))
    samples.put(tmp_path / "outside.png", samples.png("fear"))
    (folder / "link.png").symlink_to(tmp_path / "outside.png")
    samples.write_csv(folder / "list.csv", [(name, "fear")], "path,label")
    with pytest.raises(DataError):
        load_faces(folder / "list.csv")


def test_numbers_as_spreadsheets_write_them_are_numbers(samples: Any, tmp_path: Path) -> None:
    samples.put(tmp_path / "1.png", samples.png("fear"))
    samples.write_csv(tmp_path / "list.csv", [("1.png", "2.0")], "path,label")
    (face,) = load_faces(f"{tmp_path / 'list.csv'}@order=fer2013-csv")
    assert face.label == "fear"


def test_affectnets_lists_may_have_a_mark(samples: Any, tmp_path: Path) -> None:
    root = Path(samples.affectnet_lists(tmp_path / "set"))
    path = root / "Manually_Annotated_file_lists" / "training.csv"
    before = [f.label for f in load_faces(root, "train", say=lambda text: None)]
    path.write_bytes(path.read_text("utf-8").encode("utf-8-sig"))
    assert [f.label for f in load_faces(root, "train", say=lambda text: None)] == before


@pytest.mark.parametrize("box", ["inf", "nan", "1e999", "-inf", ""])
def test_an_impossible_box_is_a_sentence(samples: Any, tmp_path: Path, box: str) -> None:
    root = Path(samples.affectnet_lists(tmp_path / "set"))
    path = root / "Manually_Annotated_file_lists" / "training.csv"
    path.write_text(path.read_text("utf-8").replace(",30,", f",{box},", 1), "utf-8")
    with pytest.raises(DataError, match="line 2"):
        load_faces(root, "train")


@pytest.mark.parametrize("text", ["a," * 100_000, "x" * 8_000_000, '"' + "a\n" * 1_000_000])
def test_a_table_without_sense_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "x.csv").write_text(text, "utf-8")
    with pytest.raises(DataError) as caught:
        load_faces(tmp_path / "x.csv")
    assert len(str(caught.value)) < 2000


def test_a_list_of_missing_files_is_refused_early(samples: Any, tmp_path: Path) -> None:
    path = samples.write_csv(
        tmp_path / "list.csv", [(f"{i}.png", "fear") for i in range(5_000)], "path,label"
    )
    with pytest.raises(DataError, match="none of the first 1,000 files"):
        load_faces(path)


def test_a_list_that_repeats_itself_is_refused_early(samples: Any, tmp_path: Path) -> None:
    samples.put(tmp_path / "1.png", samples.png("fear"))
    path = samples.write_csv(tmp_path / "list.csv", [("1.png", "fear")] * 20_000, "path,label")
    with pytest.raises(DataError, match="same 1 files in 10,000 rows"):
        load_faces(path)


def test_a_list_has_a_largest_number_of_rows(
    samples: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    samples.put(tmp_path / "a.png", samples.png("fear"))
    (tmp_path / "list.csv").write_text("path,label\n" + "a.png,fear\n" * 4)
    assert len(load_faces(tmp_path / "list.csv")) == 4
    monkeypatch.setattr(bounds, "MAX_ROWS", 4)
    with pytest.raises(DataError, match=r"at most 4 rows in .*list\.csv.*Divide the list"):
        load_faces(tmp_path / "list.csv")


def notes(samples: Any, folder: Path, notes: dict[int, str], count: int = 60) -> Path:
    """Write a list of files with a note for each; the note of row i is in line i + 1."""
    for i in range(1, count + 1):
        samples.put(folder / f"{i}.png", samples.png("fear"))
    rows = [(f"{i}.png", "fear", notes.get(i, "ok")) for i in range(1, count + 1)]
    return Path(samples.write_csv(folder / "list.csv", rows, "path,label,note"))


@pytest.mark.parametrize(
    "cells",
    [
        {2: '"wide'},
        {2: '"wide', 40: '"far'},
        {2: '"wide', 40: 'far"'},
        {2: '"wide', 10: '"far'},
        {2: '"wide', 10: '"far" "x"'},
    ],
)
def test_a_stray_quote_loses_no_face_silently(
    samples: Any, tmp_path: Path, cells: dict[int, str]
) -> None:
    with pytest.raises(DataError, match=r"list\.csv from line 3 on.*stray \""):
        load_faces(notes(samples, tmp_path, cells))


@pytest.mark.parametrize("end", ["", "\n", "\r\n", "\n\n"])
def test_a_quote_that_is_open_at_the_end_is_refused(tmp_path: Path, end: str) -> None:
    (tmp_path / "list.csv").write_bytes(f'path,label\na.png,fear\nb.png,"fear{end}'.encode())
    with pytest.raises(DataError, match=r"from line 3 on: a quoted cell does not end\."):
        list(records(tmp_path / "list.csv"))


@pytest.mark.parametrize(
    "row",
    ['"1.png" ,"fear"', '"1.png","fear" ', '1.png,fear,"big" smile', '"1.png" , "fear" ,"a"b'],
)
def test_a_quote_within_a_line_takes_no_face(samples: Any, tmp_path: Path, row: str) -> None:
    samples.put(tmp_path / "1.png", samples.png("fear"))
    (tmp_path / "list.csv").write_text(f"path,label,note\n{row}\n{row}", "utf-8")
    assert [face.label for face in load_faces(tmp_path / "list.csv")] == ["fear"] * 2


def test_quoted_cells_hold_separators_quotes_and_lines(samples: Any, tmp_path: Path) -> None:
    cells = {
        2: '"far, dark"',
        3: '"two\nlines\n"',
        4: '"a ""wide"" face"',
        5: '5" screen',
        6: '"wide" view',
    }
    path = notes(samples, tmp_path, cells)
    read = [row["note"] for _, row in records(path)]
    assert len(load_faces(path)) == 60
    assert read[1:6] == ["far, dark", "two\nlines\n", 'a "wide" face', '5" screen', "wide view"]


@pytest.mark.parametrize("above", ["sep=,\r\n", ""])
def test_a_line_is_that_of_an_editor(samples: Any, tmp_path: Path, above: str) -> None:
    """Blank lines count, and so do those inside a quoted cell."""
    path = tmp_path / "list.csv"
    samples.put(tmp_path / "1.png", samples.png("fear"))
    text = above + 'path,label,note\n\n1.png,fear,"two\nlines"\n\n\n1.png,hangry,\n'
    path.write_text(text, "utf-8")
    lines = [line for line, _ in records(path)]
    assert lines == [3 + bool(above), 7 + bool(above)]


@pytest.mark.parametrize("cell", ["", "  "])
def test_an_empty_label_is_named_by_file_and_line(samples: Any, tmp_path: Path, cell: str) -> None:
    samples.put(tmp_path / "1.png", samples.png("fear"))
    path = tmp_path / "list.csv"
    path.write_text(f"path,label\n1.png,fear\n\n1.png,{cell}\n", "utf-8")
    with pytest.raises(LabelError, match=r"list\.csv, line 4 has no label"):
        load_faces(path)
    assert len(load_faces(f"{path}@labels=none")) == 2


def test_a_cell_that_is_too_long_is_named_by_its_size(samples: Any, tmp_path: Path) -> None:
    pixels = " ".join(["128"] * 224**2)
    path = samples.write_csv(tmp_path / "f.csv", [samples.csv_row(0), (0, pixels, "Training")])
    with pytest.raises(DataError, match=r"line 3: expected 48x48 pixels.*Store larger") as error:
        load_faces(path)
    assert "stray" not in str(error.value)
