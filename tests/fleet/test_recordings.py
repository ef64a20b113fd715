"""MCAP files and ROS 2 bags: cameras, pictures, times, damage."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from fer_edge.fleet import DriveScorer, find_clips

mcap_writer = pytest.importorskip("mcap.writer")
rosbag2 = pytest.importorskip("rosbags.rosbag2")
typesys = pytest.importorskip("rosbags.typesys")

START = datetime(2026, 11, 25, 8, tzinfo=UTC)
START_NS = int(START.timestamp()) * 10**9
HZ, FRAMES = 10, 12
RNG = np.random.default_rng(0)
PICTURES = [RNG.integers(0, 256, (48, 64, 3), np.uint8) for _ in range(FRAMES)]
STORE = typesys.get_typestore(typesys.Stores.ROS2_HUMBLE)
PREFIX = "sensor_msgs/msg/"


def ros_message(kind: str, picture: np.ndarray, encoding: str = "bgr8") -> bytes:
    types = STORE.types
    stamp = types["builtin_interfaces/msg/Time"](0, 0)
    header = types["std_msgs/msg/Header"](stamp, "")
    if kind == "CompressedImage":
        png = cv2.imencode(".png", picture)[1].ravel()
        message = types[PREFIX + kind](header, "png", png)
    else:
        height, width = picture.shape[:2]
        step = picture[0].nbytes
        message = types[PREFIX + kind](
            header, height, width, encoding, 0, step, picture.ravel().view(np.uint8)
        )
    return bytes(STORE.serialize_cdr(message, PREFIX + kind))


def foxglove_json(picture: np.ndarray) -> bytes:
    png = cv2.imencode(".png", picture)[1].tobytes()
    return json.dumps({"format": "png", "data": base64.b64encode(png).decode()}).encode()


Topics = dict[str, tuple[str, str, bytes, list[bytes]]]


def write_mcap(path: Path, topics: Topics) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as file:
        writer = mcap_writer.Writer(file, chunk_size=4096)
        writer.start()
        for topic, (schema, encoding, definition, messages) in topics.items():
            number = writer.register_schema(schema, "ros2msg", definition)
            channel = writer.register_channel(topic, encoding, number)
            for count, message in enumerate(messages):
                writer.add_message(channel, START_NS + count * 10**9 // HZ, message, START_NS)
        writer.finish()
    return path


def scored(path: Path, scorer: DriveScorer, out: Path, rows: Any) -> tuple[list[Any], list[Any]]:
    reports = [scorer.score(clip, out) for clip in find_clips([path])]
    return reports, rows(out, "states")


@pytest.mark.parametrize("kind", ["Image", "CompressedImage"])
def test_pictures_of_ros_in_mcap_are_frames(
    kind: str, scorer: DriveScorer, tmp_path: Path, rows: Any
) -> None:
    messages = [ros_message(kind, picture) for picture in PICTURES]
    path = write_mcap(
        tmp_path / "tour/a.mcap",
        {"/cabin": (PREFIX + kind, "cdr", b"", messages), "/imu": ("x/Imu", "cdr", b"", [b"1"])},
    )
    (clip,) = find_clips([path.parent])
    assert (clip.drive, clip.name, clip.camera, clip.start) == ("tour", "a.mcap", "/cabin", START)
    (report,), found = scored(path, scorer, tmp_path / "out", rows)
    assert (report.status, report.tally["frames"]) == ("ok", FRAMES)
    found.sort(key=lambda row: row["frame"])
    assert [row["time_s"] for row in found] == pytest.approx(np.arange(FRAMES) / HZ)
    assert found[5]["time"] == datetime(2026, 11, 25, 8, 0, 0, 500_000, tzinfo=UTC)
    assert (found[-1]["box_w"], found[-1]["box_h"]) == (64, 48)
    assert found[-1]["camera"] == "/cabin"


def test_pictures_of_foxglove_in_json_are_frames(
    scorer: DriveScorer, tmp_path: Path, rows: Any
) -> None:
    messages = [foxglove_json(picture) for picture in PICTURES]
    path = write_mcap(
        tmp_path / "t/a.mcap", {"/c": ("foxglove.CompressedImage", "json", b"{}", messages)}
    )
    (report,), _ = scored(path, scorer, tmp_path / "out", rows)
    assert (report.status, report.tally["frames"]) == ("ok", FRAMES)


def test_pictures_of_foxglove_in_protobuf_are_frames(
    scorer: DriveScorer, tmp_path: Path, rows: Any
) -> None:
    descriptor_pb2 = pytest.importorskip("google.protobuf.descriptor_pb2")
    from google.protobuf import descriptor_pool, message_factory

    file = descriptor_pb2.FileDescriptorProto(name="a.proto", package="foxglove", syntax="proto3")
    message = file.message_type.add(name="CompressedImage")
    message.field.add(name="data", number=2, type=12, label=1)
    message.field.add(name="format", number=3, type=9, label=1)
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    name = "foxglove.CompressedImage"
    kind = message_factory.GetMessageClass(pool.FindMessageTypeByName(name))
    definition = descriptor_pb2.FileDescriptorSet(file=[file]).SerializeToString()
    messages = []
    for picture in PICTURES:
        jpeg = cv2.imencode(".jpg", picture)[1].tobytes()
        messages.append(kind(data=jpeg, format="jpeg").SerializeToString())
    path = write_mcap(tmp_path / "t/a.mcap", {"/c": (name, "protobuf", definition, messages)})
    (report,), _ = scored(path, scorer, tmp_path / "out", rows)
    assert (report.status, report.tally["frames"]) == ("ok", FRAMES)


def test_each_camera_of_a_recording_is_a_clip(
    scorer: DriveScorer, tmp_path: Path, rows: Any
) -> None:
    kind = PREFIX + "Image"
    messages = [ros_message("Image", picture) for picture in PICTURES]
    topics: Topics = dict.fromkeys(("/left", "/right"), (kind, "cdr", b"", messages))
    path = write_mcap(tmp_path / "t/a.mcap", topics)
    clips = find_clips([path])
    assert [clip.camera for clip in clips] == ["/left", "/right"]
    assert len({clip.key for clip in clips}) == 2
    (tmp_path / "t" / "m.csv").write_text("path,camera\na.mcap,/right\na.mcap,/no\na.mcap,\n")
    reports, _ = scored(tmp_path / "t" / "m.csv", scorer, tmp_path / "out", rows)
    errors = {(report.status, (report.error or "")[:40]) for report in reports}
    assert ("ok", "") in errors
    assert len([status for status, _ in errors if status == "failed"]) == 2


def test_a_ros2_bag_is_a_clip(scorer: DriveScorer, tmp_path: Path, rows: Any) -> None:
    folder = tmp_path / "tour" / "bag"
    folder.parent.mkdir()
    with rosbag2.Writer(folder, version=9) as writer:
        kind = PREFIX + "CompressedImage"
        connection = writer.add_connection("/cabin", kind, typestore=STORE)
        for count, picture in enumerate(PICTURES):
            message = ros_message("CompressedImage", picture)
            writer.write(connection, START_NS + count * 10**9 // HZ, message)
    (clip,) = find_clips([tmp_path])
    assert (clip.drive, clip.name, clip.camera, clip.start) == ("tour", "bag", "/cabin", START)
    assert find_clips([folder]) == [clip]
    (tmp_path / "again").symlink_to(folder)
    assert find_clips([tmp_path]) == [clip]  # as other linked folders are left out
    assert [one.name for one in find_clips([tmp_path / "again"])] == ["again"]
    (report,), found = scored(folder, scorer, tmp_path / "out", rows)
    assert (report.status, report.tally["frames"]) == ("ok", FRAMES)
    assert max(row["time_s"] for row in found) == pytest.approx((FRAMES - 1) / HZ)


@pytest.mark.parametrize("share", [0.0, 0.01, 0.3, 0.6, 0.97])
def test_a_recording_that_was_cut_off_gives_what_it_has(
    share: float, scorer: DriveScorer, tmp_path: Path, rows: Any
) -> None:
    messages = [ros_message("Image", picture) for picture in PICTURES]
    path = write_mcap(tmp_path / "t/a.mcap", {"/c": (PREFIX + "Image", "cdr", b"", messages)})
    data = path.read_bytes()
    path.write_bytes(data[: int(share * len(data))])
    (report,), found = scored(path, scorer, tmp_path / "out", rows)
    assert report.status == ("partial" if share > 0.2 else "failed")
    assert any(row["error"] for row in found)
    assert (report.tally["frames"] > 0) == (share > 0.2)


def test_messages_without_a_picture_are_frames_without_one(
    scorer: DriveScorer, tmp_path: Path, rows: Any
) -> None:
    messages = [ros_message("Image", picture) for picture in PICTURES]
    messages[3] = messages[3][:50]
    messages[4] = b""
    messages[5] = messages[5].replace(b"bgr8", b"what")
    path = write_mcap(tmp_path / "t/a.mcap", {"/c": (PREFIX + "Image", "cdr", b"", messages)})
    (report,), found = scored(path, scorer, tmp_path / "out", rows)
    assert report.tally["frames"] == FRAMES
    bad = {row["frame"] for row in found if row["health_causes"] == "not_a_frame"}
    assert bad == {3, 4, 5}


def test_a_bag_without_readable_metadata_is_an_error_row(
    scorer: DriveScorer, tmp_path: Path, rows: Any
) -> None:
    folder = tmp_path / "t" / "bag"
    folder.mkdir(parents=True)
    (folder / "metadata.yaml").write_text("a: [")
    (report,), _ = scored(folder, scorer, tmp_path / "out", rows)
    assert report.status == "failed"


def test_random_damage_never_stops_the_scorer(
    scorer: DriveScorer, tmp_path: Path, write_clip: Callable[..., Path], rows: Any
) -> None:
    messages = [ros_message("CompressedImage", picture) for picture in PICTURES]
    kind = PREFIX + "CompressedImage"
    whole = write_mcap(tmp_path / "t/a.mcap", {"/c": (kind, "cdr", b"", messages)}).read_bytes()
    rng = np.random.default_rng(1)
    for _ in range(25):
        data = np.frombuffer(whole, np.uint8).copy()
        places = rng.integers(0, len(data), rng.integers(1, 30))
        data[places] = rng.integers(0, 256, len(places))
        (tmp_path / "t/a.mcap").write_bytes(data.tobytes())
        for clip in find_clips([tmp_path / "t"]):
            assert scorer.score(clip, tmp_path / "out").status in ("ok", "partial", "failed")
