"""The ROS 2 example, without ROS: images of messages, the topic, and what is published."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest

from fer_edge import InputError
from fer_edge.backends.fake import write_fake_bundle
from fer_edge.monitor import DriverMonitor, WholeFrame
from fer_edge.preprocess import Image


def message(image: Image, encoding: str = "bgr8", padding: int = 0, time_s: float = 1.5) -> Any:
    """Imitate a sensor_msgs/Image."""
    height, width = image.shape[:2]
    rows = image.reshape(height, -1)
    padded = np.concatenate([rows, np.full((height, padding), 9, np.uint8)], axis=1)
    stamp = SimpleNamespace(sec=int(time_s), nanosec=int(time_s % 1 * 1e9))
    return SimpleNamespace(
        height=height,
        width=width,
        encoding=encoding,
        step=padded.shape[1],
        data=padded.tobytes(),
        header=SimpleNamespace(stamp=stamp),
    )


@pytest.fixture
def node(example: Callable[[str], ModuleType]) -> ModuleType:
    return example("ros2_node")


def test_images_of_messages_are_bgr(node: ModuleType, face: Image) -> None:
    assert np.array_equal(node.image_of(message(face)), face)
    rgb = np.ascontiguousarray(face[:, :, ::-1])
    assert np.array_equal(node.image_of(message(rgb, "rgb8", padding=4)), face)
    grey = np.ascontiguousarray(face[:, :, 0])
    assert np.array_equal(node.image_of(message(grey, "mono8", padding=3)), grey)


@pytest.mark.parametrize(
    "change", [{"encoding": "bayer_rggb8"}, {"step": 3}, {"height": 1000}, {"data": b""}]
)
def test_messages_that_do_not_fit_are_refused(
    node: ModuleType, face: Image, change: dict[str, Any]
) -> None:
    image = message(face)
    vars(image).update(change)
    with pytest.raises(InputError):
        node.image_of(image)


def test_only_the_newest_image_is_kept(node: ModuleType, face: Image) -> None:
    topic = node.Topic(patience_s=0.01)
    topic.open()
    assert topic.read() is None
    for time_s in (1.0, 2.0, 3.5):
        topic.put(message(face, time_s=time_s))
    assert topic.read().time_s == 3.5
    assert topic.read() is None


def test_states_are_published_until_the_monitor_closes(
    node: ModuleType, face: Image, tmp_path: Path
) -> None:
    bundle = write_fake_bundle(tmp_path / "fake.fer", {"happiness": 0.9})
    topic, texts, enough = node.Topic(), [], threading.Event()
    rng = np.random.default_rng(0)

    def publish(text: str) -> None:
        texts.append(json.loads(text))
        if texts[-1]["driver"] and texts[-1]["driver"]["label"]:
            enough.set()

    with DriverMonitor(bundle, topic, detector=WholeFrame()) as monitor:
        worker = threading.Thread(target=node.watch, args=(monitor, publish), daemon=True)
        worker.start()
        for i in range(600):
            noisy = np.clip(face + rng.integers(0, 9, face.shape), 0, 255).astype(np.uint8)
            topic.put(message(noisy, time_s=10 + i / 20))
            if enough.wait(0.05):
                break
        monitor.close()
        worker.join(10)
    assert not worker.is_alive()
    assert texts[-1]["driver"]["label"] == "happiness"
    assert texts[-1]["health"]["status"] in ("ok", "degraded")
