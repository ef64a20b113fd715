"""Manifests: columns, and rows that are refused."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from fer_edge import InputError
from fer_edge.fleet import find_clips, read_manifest


def write(path: Path, *lines: str) -> Path:
    path.write_text("\n".join(lines) + "\n", "utf-8")
    return path


def test_a_row_of_a_csv_is_a_clip(tmp_path: Path) -> None:
    header = "path,drive,camera,start_time,speed_kmh,weather"
    file = write(
        tmp_path / "m.csv",
        header,
        "sub/a.mp4,tour 1,cabin,2026-11-25T08:30:00+01:00,52.5,rain",
        "sub/b.mp4,,,,,",
    )
    first, second = find_clips([file])[::-1]
    assert (first.drive, first.name, first.camera) == ("tour 1", "sub/a.mp4", "cabin")
    assert first.start == datetime(2026, 11, 25, 7, 30, tzinfo=UTC)
    assert first.speed_kmh == 52.5
    assert Path(first.path) == (tmp_path / "sub/a.mp4").resolve()
    assert (second.drive, second.camera, second.start, second.speed_kmh) == (
        "sub",
        None,
        None,
        None,
    )


def test_parquet_reads_like_csv(tmp_path: Path) -> None:
    table = pa.table(
        {
            "path": ["a.mp4", "b.mp4"],
            "start": [datetime(2026, 1, 1, tzinfo=UTC), None],
            "speed_kmh": [float("nan"), 30.0],
        }
    )
    pq.write_table(table, tmp_path / "m.parquet")
    clips = read_manifest(tmp_path / "m.parquet")
    assert [clip.start for clip in clips] == [datetime(2026, 1, 1, tzinfo=UTC), None]
    assert [clip.speed_kmh for clip in clips] == [None, 30.0]
    assert {clip.drive for clip in clips} == {"root"}


def test_columns_of_pandas_are_read_as_they_look(tmp_path: Path) -> None:
    nan = float("nan")
    table = pa.table(
        {
            "path": ["a.mp4", "b.mp4"],
            "drive": [12.0, nan],
            "start": pa.array([1764145800123456789, None], pa.timestamp("ns", "Europe/Berlin")),
        }
    )
    pq.write_table(table, tmp_path / "m.parquet")
    first, second = read_manifest(tmp_path / "m.parquet")
    assert (first.drive, second.drive) == ("12", "root")
    assert first.start == datetime(2025, 11, 26, 8, 30, 0, 123456, tzinfo=UTC)
    assert type(first.start) is datetime


@pytest.mark.parametrize("value", [b"a.mp4", ["a.mp4"], 1.5, True])
def test_a_path_that_is_no_text_is_refused(tmp_path: Path, value: object) -> None:
    pq.write_table(pa.table({"path": pa.array([value])}), tmp_path / "m.parquet")
    with pytest.raises(InputError, match="expected path as text"):
        read_manifest(tmp_path / "m.parquet")


def test_a_refused_manifest_is_named_once(tmp_path: Path) -> None:
    file = write(tmp_path / "m.csv", "path;drive", "a.mp4;x")
    with pytest.raises(InputError, match=r"^expected a column path in .* separated by commas"):
        find_clips([file])


def test_the_root_may_be_another_folder(tmp_path: Path) -> None:
    file = write(tmp_path / "m.csv", "path", str(tmp_path / "far" / "a.mp4"))
    (clip,) = read_manifest(file, root=tmp_path / "far")
    assert clip.path.endswith("far/a.mp4")
    with pytest.raises(InputError, match="outside"):
        read_manifest(file, root=tmp_path / "other")


@pytest.mark.parametrize(
    "row",
    [
        "../a.mp4,,",
        "link/../a.mp4,,",
        "sub/../ok.mp4,,",
        "/etc/passwd,,",
        "link/a.mp4,,",
        "s3://bucket/a.mp4,,",
        ",,",
        "a.mp4,yesterday,",
        "a.mp4,0001-01-01,",
        "a.mp4,9999-12-31T23:59:59-12:00,",
        "a.mp4,,-1",
        "a.mp4,,1e400",
        "a.mp4,,nan",
        "a.mp4,,1001",
        "a.mp4,,fast",
        "ok.mp4,,",
        "a.mp4,,5,surplus",
        "a\0.mp4,,",
    ],
)
def test_a_row_that_is_wrong_is_refused_with_its_number(tmp_path: Path, row: str) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "link").symlink_to(tmp_path)
    file = write(tmp_path / "in" / "m.csv", "path,start,speed_kmh", "ok.mp4,,", row)
    with pytest.raises(InputError, match=r"row 3|NUL"):
        read_manifest(file)


@pytest.mark.parametrize(
    "text", ["", "drive\na", "path,path\na,b", "path\n", 'path\n"a', "path,start,start_time\na,,"]
)
def test_a_table_that_is_none_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "m.csv").write_text(text)
    with pytest.raises(InputError):
        read_manifest(tmp_path / "m.csv")


@pytest.mark.parametrize("name", ["m.csv", "m.parquet"])
def test_bytes_that_are_no_table_are_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(bytes(range(256)))
    with pytest.raises(InputError):
        read_manifest(tmp_path / name)


@pytest.mark.parametrize("path", [None, 5, b"x"])
def test_an_argument_that_is_no_path_is_a_sentence(path: Any) -> None:
    with pytest.raises(InputError, match="expected the manifest as a path"):
        read_manifest(path)
