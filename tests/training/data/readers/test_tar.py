"""Tar shards of WebDataset: pictures stay in them, and untrusted ones are bounded."""

from __future__ import annotations

import io
import json
import tarfile
from pathlib import Path
from typing import Any

import pytest

from fer_edge.errors import DataError
from fer_edge.training.data.dataset_spec import DatasetSpec
from fer_edge.training.data.faces import load_faces
from fer_edge.training.data.lazy_rows import LazyRow

Member = tuple[str, bytes]


def test_columns_come_from_json_and_the_picture_stays_in_the_shard(
    samples: Any, tmp_path: Path
) -> None:
    row = {"label": "happy", "subject": "anna", "clip": "c1", "gender": "f", "extra": [1]}
    path = samples.shard(
        tmp_path / "a.tar",
        ("set/1.json", json.dumps(row).encode()),
        ("set/1.jpg", samples.jpg("happy")),
        ("set/2.cls", b"sad\n"),
        ("set/2.left.png", samples.png("sad")),
        ("set/2.PNG", samples.png("sad")),
        ("set/2.txt", b"a caption"),
    )
    said: list[str] = []
    one, two = load_faces(path, say=said.append)
    assert (one.label, one.subject, one.clip) == ("happiness", "anna", "c1")
    assert one.name == f"{path}:set/1"
    assert (two.label, two.subject) == ("sadness", None)
    assert isinstance(one.source, LazyRow)
    assert one.source.read() == samples.jpg("happy")
    assert two.read().shape == (48, 48, 3)
    assert "1 .left.png" in said[0]
    assert "1 .txt" in said[0]
    told, _ = load_faces(DatasetSpec(str(path), columns=("gender",)), say=said.append)
    assert told.cells == {"gender": "f"}


def test_a_missing_subject_is_no_person(samples: Any, tmp_path: Path) -> None:
    members: list[Member] = []
    for i, subject in enumerate(("NaN", "null", "7.0", '"7 "')):
        text = f'{{"label": "sad", "subject": {subject}}}'
        members += [(f"{i}.json", text.encode()), (f"{i}.png", samples.png("sad"))]
    faces = load_faces(samples.shard(tmp_path / "a.tar", *members))
    assert [face.subject for face in faces] == [None, None, "7", "7"]


def test_equal_cells_of_other_types_keep_their_type(samples: Any, tmp_path: Path) -> None:
    """0 and 0.0 are equal; a vote may be either, a label is a whole number."""
    names = ("anger", "fear", "neutral", "sadness", "happiness", "surprise", "disgust")
    names += ("contempt", "unknown", "NF")
    members = []
    for i, vote in enumerate((0.0, 0, 1.0, 1)):
        row = {"label": i % 2, **dict.fromkeys((f"ferplus_{name}" for name in names), vote)}
        members += [(f"{i}.json", json.dumps(row).encode()), (f"{i}.png", samples.png("sad"))]
    faces = load_faces(f"{samples.shard(tmp_path / 'a.tar', *members)}@order=anger/fear")
    assert [face.label for face in faces] == ["anger", "fear", "anger", "fear"]
    assert [face.votes for face in faces] == [(0,) * 10, (0,) * 10, (1,) * 10, (1,) * 10]


def test_numbers_need_an_order(samples: Any, tmp_path: Path) -> None:
    path = samples.shard(tmp_path / "a.tar", ("1.png", samples.png("happy")), ("1.cls", b"3"))
    (face,) = load_faces(f"{path}@order=fer2013-csv")
    assert face.label == "happiness"


def test_names_of_any_length_and_alphabet(samples: Any, tmp_path: Path) -> None:
    key = "ü" * 200 + "/" + "x" * 150
    path = samples.shard(
        tmp_path / "a.tar", (f"{key}.png", samples.png("sad")), (f"{key}.cls", b"sad")
    )
    (face,) = load_faces(path)
    assert face.read().shape == (48, 48, 3)
    gnu = tmp_path / "b.tar"
    with tarfile.open(gnu, "w", format=tarfile.GNU_FORMAT) as tar:
        tar.addfile(one_of(tarfile.DIRTYPE, "./"))
        for name, data in ((f"./{key}.png", samples.png("sad")), (f"./{key}.cls", b"sad")):
            member = tarfile.TarInfo(name)
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    (face,) = load_faces(gnu)
    assert face.read().shape == (48, 48, 3)


def test_shards_with_a_part_in_their_name(samples: Any, tmp_path: Path) -> None:
    for part, name in (("train-000", "sad"), ("train-001", "happy"), ("val-000", "fear")):
        samples.shard(
            tmp_path / f"{part}.tar", ("1.png", samples.png(name)), ("1.cls", name.encode())
        )
    assert [face.label for face in load_faces(tmp_path, "train")] == ["sadness", "happiness"]
    assert [face.label for face in load_faces(tmp_path, "val")] == ["fear"]


def test_a_shard_that_changed_is_a_data_error(samples: Any, tmp_path: Path) -> None:
    path = samples.shard(tmp_path / "a.tar", ("1.png", samples.png("sad")), ("1.cls", b"sad"))
    (face,) = load_faces(path)
    path.write_bytes(bytes(path.stat().st_size))
    with pytest.raises(DataError, match="changed"):
        face.read()


# --- hostile shards ------------------------------------------------------------------------------


def one_of(kind: bytes, name: str = "1.png", target: str = "/etc/passwd") -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    member.type, member.linkname = kind, target
    return member


@pytest.mark.parametrize(
    "member",
    [
        one_of(tarfile.SYMTYPE),
        one_of(tarfile.LNKTYPE),
        one_of(tarfile.FIFOTYPE),
        one_of(tarfile.CHRTYPE),
        one_of(tarfile.REGTYPE, "../1.png"),
        one_of(tarfile.REGTYPE, "/1.png"),
        one_of(tarfile.REGTYPE, "x" * 5000 + ".png"),
    ],
    ids=lambda member: f"{member.type!r} {member.name[:8]}",
)
def test_links_devices_and_names_outside_are_refused(
    samples: Any, tmp_path: Path, member: tarfile.TarInfo
) -> None:
    with tarfile.open(tmp_path / "x.tar", "w") as tar:
        tar.addfile(member)
    samples.refused_cheaply(tmp_path / "x.tar", "is a link or device|names inside")


def header(name: str, size: int, kind: bytes = tarfile.REGTYPE) -> bytes:
    member = tarfile.TarInfo(name)
    member.size, member.type = size, kind
    return member.tobuf(tarfile.GNU_FORMAT)


@pytest.mark.parametrize("size", [-1, -512, -(1 << 40), 1 << 20, 1 << 62])
def test_a_size_beyond_the_file_is_refused(samples: Any, tmp_path: Path, size: int) -> None:
    path = tmp_path / "x.tar"
    path.write_bytes(header("1.png", size) + bytes(4096))
    samples.refused_cheaply(path, r"x\.tar")


@pytest.mark.parametrize("kind", [tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.GNUTYPE_LONGNAME])
def test_an_extended_header_of_a_gigabyte_is_refused(
    samples: Any, tmp_path: Path, kind: bytes
) -> None:
    path = tmp_path / "x.tar"
    with path.open("wb") as file:
        file.write(header("x", 1 << 30, kind))
        file.truncate((1 << 30) + 2048)  # takes no room on disk
    samples.refused_cheaply(path, "64 KiB")


def test_a_chain_of_extended_headers_is_refused(samples: Any, tmp_path: Path) -> None:
    path = tmp_path / "x.tar"
    path.write_bytes(
        (header("x", 20, tarfile.XHDTYPE) + b"20 comment=aaaaaaaa\n" + bytes(492)) * 5000
    )
    samples.refused_cheaply(path, r"x\.tar")


def test_a_size_that_only_the_extended_header_states(samples: Any, tmp_path: Path) -> None:
    member = tarfile.TarInfo("1.png")
    member.size, member.pax_headers = 100, {"size": "600"}
    path = tmp_path / "x.tar"
    path.write_bytes(member.tobuf(tarfile.PAX_FORMAT) + bytes(4096))
    samples.refused_cheaply(path, "two sizes")


@pytest.mark.parametrize(
    ("members", "match"),
    [
        ([("1.cls", b"sad")], "no picture beside"),
        ([("1.jpg.png", b"x"), ("1.cls", b"sad")], r"picture '1\.jpg\.png' does not count"),
        ([("1.png", b"x")], "columns image and label"),
        ([("1.png", b"x"), ("1.jpg", b"x"), ("1.cls", b"sad")], "one picture"),
        ([("1.png", b"x"), ("1.json", b"[" * 60_000)], "JSON"),
        ([("1.png", b"x"), ("1.json", b"[1]")], "an object"),
        ([("1.png", b"x"), ("1.json", b'{"label": {"a": 1}}')], "name or number"),
        ([("1.png", b"x"), ("1.cls", bytes(100_000))], "at most 64 KiB"),
        (
            [
                ("1.png", b"x"),
                ("1.json", json.dumps({f"ferplus_{i}": 1 for i in range(99)}).encode()),
            ],
            "64 columns",
        ),
        ([], "no faces|empty"),
    ],
)
def test_members_that_make_no_sample_are_sentences(
    samples: Any, tmp_path: Path, members: list[Member], match: str
) -> None:
    samples.refused_cheaply(samples.shard(tmp_path / "x.tar", *members), match)


def test_a_shard_that_was_cut_at_a_member_is_refused(samples: Any, tmp_path: Path) -> None:
    path = samples.shard(tmp_path / "x.tar", ("1.png", samples.png("sad")), ("1.cls", b"sad"))
    whole = path.read_bytes()
    with tarfile.open(path) as tar:
        end = [member.offset for member in tar][-1] + 4 * 512  # extended header, header, label
    for damaged in (whole[:end], whole[:end] + b"x" * 512 + whole[end + 512 :]):
        path.write_bytes(damaged)
        samples.refused_cheaply(path, "cut off or damaged")


def test_a_label_may_begin_with_a_byte_order_mark(samples: Any, tmp_path: Path) -> None:
    label = ("1.cls", "happy\r\n".encode("utf-8-sig"))
    path = samples.shard(tmp_path / "x.tar", ("1.png", samples.png("happy")), label)
    assert [face.label for face in load_faces(path)] == ["happiness"]


@pytest.mark.parametrize("blocks", [0, 2, 40])
def test_what_follows_the_end_mark_is_refused_if_it_is_no_padding(
    samples: Any, tmp_path: Path, blocks: int
) -> None:
    one = samples.shard(tmp_path / "1.tar", ("1.png", samples.png("sad")), ("1.cls", b"sad"))
    two = samples.shard(tmp_path / "2.tar", ("2.png", samples.png("fear")), ("2.cls", b"fear"))
    whole, padding = one.read_bytes(), bytes(blocks * 512)
    one.write_bytes(whole + padding)
    assert len(load_faces(one)) == 1
    for more in (two.read_bytes(), b"x" * 2000):
        one.write_bytes(whole + padding + more)
        samples.refused_cheaply(one, "goes on after its end mark")


def test_a_compressed_shard_says_so(samples: Any, tmp_path: Path) -> None:
    path = tmp_path / "x.tar"
    with tarfile.open(path, "w:gz") as tar:
        tar.addfile(tarfile.TarInfo("1.png"))
    samples.refused_cheaply(path, "without compression")
