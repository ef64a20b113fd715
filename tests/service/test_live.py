"""Live frames: the newest is answered, persons are followed, bad ones cost only themselves."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from starlette.testclient import WebSocketDenialResponse
from starlette.websockets import WebSocketDisconnect

from fer_edge.service.limits import ServiceLimits


def jpegs(clip: Path, most: int) -> list[bytes]:
    capture = cv2.VideoCapture(str(clip))
    frames = []
    while len(frames) < most and (read := capture.read())[0]:
        frames.append(cv2.imencode(".jpg", read[1])[1].tobytes())
    return frames


def noise(seed: int) -> bytes:
    pixels = np.random.default_rng(seed).integers(0, 256, (64, 64, 3), np.uint8)
    return cv2.imencode(".png", pixels)[1].tobytes()


def test_a_person_is_followed_through_a_clip(with_yunet: Any, shared: Path) -> None:
    """Stream time is the clock's, so the frames are sent at about the pace of a webcam."""
    seen = []
    with with_yunet.live() as socket:
        for number, frame in enumerate(jpegs(shared / "data/video/single_face.mp4", 24), 1):
            socket.send_bytes(frame)
            answer = socket.receive_json()
            assert (answer["frame"], answer["dropped"]) == (number, 0)
            assert answer["health"] == "ok"
            seen.append(answer["faces"])
            time.sleep(0.03)
    assert seen[0] == []  # one detection may be a false alarm
    persons = {face["person"] for faces in seen for face in faces}
    assert persons == {1}
    first = seen[1][0]
    assert first["uncertain"] is True  # a first impression is not a state yet
    assert first["cause"] == "new"
    last = seen[-1][0]
    assert last["label"] == last["emotion"]  # the name that POST /predict/ has published
    assert last["label"] in ("happiness", "neutral")
    assert last["confidence"] == pytest.approx(last["probabilities"][last["label"]])
    assert last["since_s"] >= 0


def test_the_newest_frame_wins(make: Any) -> None:
    client = make(latency_ms=400)
    with client.live() as socket:
        for number in range(12):
            socket.send_bytes(noise(number))
        answers = [socket.receive_json()]
        while answers[-1]["frame"] < 12:
            answers.append(socket.receive_json())
    numbers = [answer["frame"] for answer in answers]
    assert numbers == sorted(set(numbers))
    assert answers[-1]["dropped"] == 12 - len(answers) > 0
    text = client.get("/metrics").text
    assert f'fer_edge_live_frames_total{{outcome="dropped"}} {12 - len(answers)}.0' in text


def test_a_frame_that_is_no_picture_costs_only_itself(client: Any) -> None:
    with client.live() as socket:
        for bad in (b"", b"nonsense", noise(1)[:50]):
            socket.send_bytes(bad)
            assert set(socket.receive_json()) == {"frame", "error"}
        socket.send_bytes(noise(2))
        assert socket.receive_json()["frame"] == 4


def test_an_engine_that_fails_is_told_and_the_connection_stays(make: Any) -> None:
    with make(fail_after=0).live() as socket:
        answers = []
        for number in range(4):
            socket.send_bytes(noise(number))
            answers.append(socket.receive_json())
    assert "error" not in answers[0]  # nobody is known yet, so no engine is asked
    assert "log" in answers[-1]["error"]


def test_text_ends_the_connection(client: Any) -> None:
    with client.live() as socket:
        socket.send_text("file:///etc/passwd")
        assert "binary" in socket.receive_json()["error"]
        with pytest.raises(WebSocketDisconnect) as ended:
            socket.receive_json()
    assert ended.value.code == 1003


def test_a_connection_without_frames_ends(make: Any) -> None:
    client = make(limits=ServiceLimits(live_idle_s=0.1))
    with client.live() as socket, pytest.raises(WebSocketDisconnect) as ended:
        socket.receive_json()
    assert ended.value.code == 1000


def test_only_so_many_connections_are_live(make: Any) -> None:
    client = make(limits=ServiceLimits(live=2))
    with client.live(), client.live():
        with pytest.raises(WebSocketDenialResponse) as refusal:
            client.live().__enter__()
        assert refusal.value.status_code == 503
        assert refusal.value.headers["retry-after"] == "5"
    with client.live() as socket:
        socket.send_bytes(noise(1))
        assert socket.receive_json()["frame"] == 1


def test_two_connections_have_their_own_persons(client: Any) -> None:
    with client.live() as one, client.live() as other:
        for number in range(3):
            one.send_bytes(noise(number))
            people = one.receive_json()["faces"]
        other.send_bytes(noise(9))
        assert [face["person"] for face in people] == [1]
        assert other.receive_json()["faces"] == []


def test_without_an_upgrade_live_says_what_it_expects(client: Any) -> None:
    response = client.get("/live")
    assert response.status_code == 426
    assert "WebSocket" in response.json()["error"]
