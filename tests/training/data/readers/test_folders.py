"""Class folders, KMU-FED, RAF-DB and AffectNet."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fer_edge.errors import DataError, LabelError, MissingPartError
from fer_edge.labels import EMOTIONS
from fer_edge.training.data.faces import load_faces


def test_class_folders_are_named_by_their_folder(samples: Any, tmp_path: Path) -> None:
    faces = load_faces(samples.write_classes(tmp_path / "faces", per_class=2))
    assert Counter(f.label for f in faces) == dict.fromkeys(EMOTIONS, 2)
    assert {f.label for f in faces if "/happy/" in Path(f.name).as_posix()} == {"happiness"}


def test_files_that_are_no_pictures_are_passed_over(samples: Any, tmp_path: Path) -> None:
    folder = samples.write_classes(tmp_path / "faces")
    (folder / "happy" / "notes.txt").write_text("not a face")
    assert len(load_faces(folder)) == 7


def test_an_unknown_folder_name_is_named(samples: Any, tmp_path: Path) -> None:
    folder = samples.write_classes(tmp_path / "faces")
    (folder / "hangry").mkdir()
    (folder / "hangry" / "1.png").write_bytes(samples.noise_png(0))
    with pytest.raises(LabelError, match="hangry"):
        load_faces(folder)


def test_affectnets_other_labels_are_left_out_and_counted(samples: Any, tmp_path: Path) -> None:
    said: list[str] = []
    faces = load_faces(samples.affectnet_lists(tmp_path / "set"), "train", say=said.append)
    assert len(faces) == 8
    assert re.search("left out 3 without an agreed expression", said[0])


def test_kmu_fed_says_subject_and_clip_by_number_and_not_by_spelling(
    samples: Any, tmp_path: Path
) -> None:
    for name in ("01_AN_mr_001", "1_AN_mr_001", "01_HA_mr_001", "12_AN_zz_020"):
        samples.put(tmp_path / f"{name}.jpg", samples.jpg("anger"))
    faces = {Path(f.name).stem: f for f in load_faces(tmp_path)}
    assert faces["01_AN_mr_001"].subject == faces["1_AN_mr_001"].subject
    assert faces["01_AN_mr_001"].clip == faces["1_AN_mr_001"].clip
    assert faces["01_AN_mr_001"].clip != faces["01_HA_mr_001"].clip
    assert len({f.subject for f in faces.values()}) == 2


def test_a_foreign_name_among_kmu_feds_is_refused(samples: Any, tmp_path: Path) -> None:
    samples.put(tmp_path / "01_AN_mr_001.jpg", samples.jpg("anger"))
    samples.put(tmp_path / "01_NE_mr_001.jpg", samples.jpg("neutral"))
    with pytest.raises(DataError, match="01_NE_mr_001"):
        load_faces(tmp_path)


def test_raf_db_has_a_test_part_and_no_val(samples: Any, tmp_path: Path) -> None:
    path = samples.raf_db(tmp_path / "set")
    assert [f.label for f in load_faces(path, "test")] == ["surprise"]
    with pytest.raises(MissingPartError, match="test, train"):
        load_faces(path, "val")


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-16-le", "utf-16-be"])
def test_raf_dbs_list_is_read_as_any_editor_saves_it(
    samples: Any, tmp_path: Path, encoding: str
) -> None:
    path = samples.raf_db(tmp_path / "set")
    expected = [face.label for face in load_faces(path, "train")]
    (note,) = (tmp_path / "set").rglob("list_patition_label.txt")
    note.write_bytes(note.read_text().encode(encoding))
    assert [face.label for face in load_faces(path, "train")] == expected


def test_numbers_with_a_point_are_read_in_every_list(samples: Any, tmp_path: Path) -> None:
    """pandas writes a column of whole numbers with gaps as 3.0."""
    raf, affect = samples.raf_db(tmp_path / "raf"), samples.affectnet_lists(tmp_path / "affect")
    expected = [[face.label for face in load_faces(path, "train")] for path in (raf, affect)]
    (note,) = (tmp_path / "raf").rglob("list_patition_label.txt")
    note.write_text(note.read_text().replace("\n", ".0\n"))
    (table,) = (tmp_path / "affect").rglob("training.csv")
    table.write_text(re.sub(r"(;2,[0-9]+),", r"\1.0,", table.read_text()))
    assert ".0,0,0" in table.read_text()
    assert [[face.label for face in load_faces(p, "train")] for p in (raf, affect)] == expected
    sets = samples.affectnet_sets(tmp_path / "sets")
    labels = [face.label for face in load_faces(sets, "train")]
    for stored in (tmp_path / "sets").rglob("*_exp.npy"):
        np.save(stored, np.float64(np.load(stored).item()))
    assert [face.label for face in load_faces(sets, "train")] == labels


@pytest.mark.parametrize("number", ["3.5", "x", "1e0"])
def test_a_number_that_is_not_whole_is_named_by_its_line(
    samples: Any, tmp_path: Path, number: str
) -> None:
    path = samples.raf_db(tmp_path / "set")
    (note,) = (tmp_path / "set").rglob("list_patition_label.txt")
    note.write_text(note.read_text().replace(".jpg 2", f".jpg {number}"))
    with pytest.raises(DataError, match=f"line 2: expected a whole number, got '{number}'"):
        load_faces(path, "train")
