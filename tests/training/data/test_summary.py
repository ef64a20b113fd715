"""A summary's counts add up, and nothing broken is passed over."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import cv2
import numpy as np
import pyarrow
import pyarrow.parquet
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fer_edge.errors import DataError, MissingPartError
from fer_edge.labels import EMOTIONS
from fer_edge.shipped import FACES
from fer_edge.training.data.faces import load_faces, readable_faces
from fer_edge.training.data.summary import summarise, table

PARTS = st.dictionaries(
    st.sampled_from(["train", "val", "test"]),
    st.lists(st.tuples(st.integers(-1, 8), st.sampled_from(EMOTIONS)), min_size=1, max_size=12),
    min_size=1,
)
"""By part: (which picture, -1 a broken one; its label)."""


def png(seed: int, shape: tuple[int, int] = (16, 12)) -> bytes:
    pixels = np.random.default_rng(seed).integers(0, 256, shape, np.uint8)
    return cv2.imencode(".png", pixels)[1].tobytes()


def write(folder: Path, parts: dict[str, list[tuple[int, str]]]) -> Path:
    folder.mkdir()
    for part, rows in parts.items():
        images = [{"bytes": png(n) if n >= 0 else b"", "path": None} for n, _ in rows]
        columns = {"image": images, "label": [label for _, label in rows]}
        pyarrow.parquet.write_table(pyarrow.table(columns), folder / f"{part}.parquet")
    return folder


@given(PARTS)
def test_counts_add_up(
    tmp_path_factory: pytest.TempPathFactory, parts: dict[str, list[tuple[int, str]]]
) -> None:
    report = summarise(write(tmp_path_factory.mktemp("data") / "set", parts))
    assert set(report["parts"]) == set(parts) == set(report["sources"][0]["parts"])
    for part, rows in parts.items():
        own = report["parts"][part]
        readable = [number for number, _ in rows if number >= 0]
        assert own["faces"] == len(rows) == sum(own["per_class"].values())
        assert own["per_class"] == dict(Counter(label for _, label in rows))
        assert len(own["broken"]) == len(rows) - len(readable)
        assert own["duplicates"] == len(readable) - len(set(readable))
        expected = {"least": [12, 16], "median": [12, 16], "most": [12, 16]} if readable else {}
        assert own["sizes_px"] == expected
    for pair, count in report["duplicates_across"].items():
        one, other = ([n for n, _ in parts[name] if n >= 0] for name in pair.split("/"))
        assert count == sum(number in one for number in other)
    everything = {(n, label) for rows in parts.values() for n, label in rows if n >= 0}
    several = Counter(n for n, _ in everything)
    assert report["contradictory"] == sum(count > 1 for count in several.values())
    assert any(line.startswith("faces") for line in table(report))


def test_several_sources_are_counted_together_and_each(tmp_path: Path) -> None:
    one = write(tmp_path / "one", {"train": [(1, "fear")], "val": [(2, "fear")]})
    other = write(tmp_path / "other", {"val": [(1, "fear"), (3, "anger")]})
    report = summarise([one, other])
    assert [row["parts"] for row in report["sources"]] == [{"train": 1, "val": 1}, {"val": 2}]
    assert report["parts"]["val"]["faces"] == 3
    assert report["duplicates_across"] == {"train/val": 1}


def test_subjects_on_two_sides_are_named(tmp_path: Path) -> None:
    for part in ("train", "val"):
        (tmp_path / part).mkdir()
        for i, name in enumerate(("01_AN_mr_001", f"0{2 + (part == 'val')}_HA_mr_001")):
            (tmp_path / part / f"{name}.png").write_bytes(png(10 * i + (part == "val")))
    report = summarise(tmp_path)
    assert report["parts"]["train"]["subjects"] == 2
    assert report["subjects_across"] == {"train/val": ["kmu-fed:01"]}
    assert "subjects across train/val: kmu-fed:01" in table(report)


def test_near_duplicates_are_named_across_parts(tmp_path: Path) -> None:
    data = write(tmp_path / "d", {"train": [(1, "fear"), (2, "anger")], "val": [(2, "anger")]})
    report = summarise([data], near_duplicates=True)
    ((pair, copies),) = report["near_duplicates_across"].items()
    assert pair == "train/val"
    assert [copy["correlation"] for copy in copies] == [pytest.approx(1)]
    assert copies[0]["of"] != copies[0]["name"]
    assert "near duplicates across train/val: 1" in table(report)
    assert "near_duplicates_across" not in summarise([data])


def test_the_duplicates_of_fer2013_are_found(shared: Path) -> None:
    """As many as its description counts."""
    report = summarise(shared / "data" / "fer2013")
    assert [part["faces"] for part in report["parts"].values()] == [28_558, 3_579]
    assert report["duplicates_across"] == {"train/val": 279}
    assert all(part["broken"] == [] for part in report["parts"].values())


def test_a_source_without_any_part_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(DataError):
        summarise(tmp_path)
    with pytest.raises((DataError, MissingPartError), match="nowhere"):
        summarise(tmp_path / "nowhere")


# --- broken pictures -----------------------------------------------------------------------------


@pytest.fixture
def broken(tmp_path: Path) -> Path:
    """Class folders: one good picture, and four that no network should see."""
    folder = tmp_path / "set" / "fear"
    folder.mkdir(parents=True)
    (folder / "good.png").write_bytes(png(1))
    (folder / "empty.png").write_bytes(b"")
    (folder / "cut.png").write_bytes(png(2)[:60])
    (folder / "text.jpg").write_text("no picture")
    black = cv2.imencode(".png", np.zeros((16, 12), np.uint8))[1].tobytes()
    (folder / "blank.png").write_bytes(black)
    return folder.parent


def test_broken_pictures_are_an_error_that_names_them_all(broken: Path) -> None:
    said: list[str] = []
    with pytest.raises(DataError, match="4 of 5") as caught:
        readable_faces(load_faces(broken), "fail", said.append)
    assert all(name in str(caught.value) for name in ("empty", "cut", "text", "blank"))
    assert "--broken skip" in str(caught.value)


def test_broken_pictures_may_be_left_out_and_are_reported(broken: Path) -> None:
    said: list[str] = []
    faces, hashes = readable_faces(load_faces(broken), "skip", said.append)
    assert [Path(f.name).name for f in faces] == ["good.png"]
    assert len(hashes) == 1
    assert {name for name in ("empty", "cut", "text", "blank") if any(name in s for s in said)} == {
        *("empty", "cut", "text", "blank")
    }


def test_a_source_may_say_itself_that_they_are_left_out(broken: Path) -> None:
    with pytest.warns(UserWarning, match="Left out"):
        faces = load_faces(f"{broken}@broken=skip")
    assert len(faces) == 1


def test_summary_lists_them_whatever_the_source_says(broken: Path) -> None:
    for path in (str(broken), f"{broken}@broken=skip"):
        report = summarise(path)["parts"]["train"]
        assert report["faces"] == 5
        assert len(report["broken"]) == 4


def test_the_shipped_faces_are_sound() -> None:
    report = summarise(FACES)
    assert report["duplicates_across"] == {"train/val": 0}
    assert all(part["broken"] == [] for part in report["parts"].values())
